//! `histogram(value, min, max, buckets)`, as in TimescaleDB.

use super::ordered_set::constant;
use crate::error::QueryError;
use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Buckets of a histogram.
const MAX_BUCKETS: i64 = 10_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct HistogramOf {
    signature: Signature,
}

/// The aggregate.
pub(crate) fn histogram() -> AggregateUDF {
    let number = || DataType::Float64;
    let types = vec![number(), number(), number(), DataType::Int64];
    AggregateUDF::from(HistogramOf { signature: Signature::exact(types, Volatility::Immutable) })
}

impl AggregateUDFImpl for HistogramOf {
    fn name(&self) -> &str {
        "histogram"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(DataType::Int32, true))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let counts = DataType::new_list(DataType::Int64, true);
        Ok(vec![Arc::new(Field::new(format!("{}[counts]", args.name), counts, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let problem = |position: usize, problem: &str| QueryError::InvalidArgument {
            function: "histogram",
            position,
            problem: problem.to_owned(),
        };
        let number = |position: usize| -> Result<f64> {
            match constant(&args.exprs[position])? {
                ScalarValue::Float64(Some(number)) if number.is_finite() => Ok(number),
                _ => Err(problem(position + 1, "it must be a number").into()),
            }
        };
        let (min, max) = (number(1)?, number(2)?);
        let buckets = match constant(&args.exprs[3])? {
            ScalarValue::Int64(Some(buckets @ 1..=MAX_BUCKETS)) => usize::try_from(buckets).unwrap_or(1),
            _ => return Err(problem(4, "it must be a number from 1 to 10000").into()),
        };
        if min >= max {
            return Err(problem(3, "it must be greater than the second").into());
        }
        Ok(Box::new(Histogram { min, max, counts: vec![0; buckets + 2], any: false }))
    }
}

/// Values below `min`, in each bucket, and from `max` on.
#[derive(Debug)]
struct Histogram {
    min: f64,
    max: f64,
    counts: Vec<i64>,
    any: bool,
}

impl Histogram {
    /// `width_bucket` of PostgreSQL.
    fn bucket(&self, value: f64) -> usize {
        let buckets = self.counts.len() - 2;
        if value < self.min {
            0
        } else if value >= self.max || value.is_nan() {
            buckets + 1
        } else {
            let part = (value - self.min) / (self.max - self.min) * buckets as f64;
            (part as usize).min(buckets - 1) + 1
        }
    }
}

impl Accumulator for Histogram {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Float64Type>().iter().flatten() {
            self.any = true;
            let bucket = self.bucket(value);
            self.counts[bucket] += 1;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for counts in states[0].as_list::<i32>().iter().flatten() {
            let counts = counts.as_primitive::<Int64Type>();
            if counts.len() != self.counts.len() {
                return exec_err!("parts of a histogram have {} and {} buckets", counts.len(), self.counts.len());
            }
            self.any = true;
            for (count, more) in self.counts.iter_mut().zip(counts.values()) {
                *count += more;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        if !self.any {
            return Ok(vec![ScalarValue::try_from(DataType::new_list(DataType::Int64, true))?]);
        }
        let counts = Int64Array::from(self.counts.clone());
        Ok(vec![SingleRowListArrayBuilder::new(Arc::new(counts)).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if !self.any {
            return ScalarValue::try_from(DataType::new_list(DataType::Int32, true));
        }
        let counts = self.counts.iter().map(|count| i32::try_from(*count).unwrap_or(i32::MAX));
        let counts = Int32Array::from_iter_values(counts);
        Ok(SingleRowListArrayBuilder::new(Arc::new(counts)).build_list_scalar())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<i64>()
    }
}
