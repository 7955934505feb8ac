//! Ordered-set aggregates that the engine lacks: `percentile_disc`, `percentile_cont` of several fractions, `mode`.
//! They stand in SQL as `percentile_disc(f) WITHIN GROUP (ORDER BY x)`; [`crate::dialect`] turns that into a call with
//! the values first and the direction last.

use crate::error::QueryError;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, UInt32Array, new_empty_array};
use arrow::compute::{SortOptions, cast, concat, sort, take};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// `percentile_disc(x, fraction | fractions, descending)`.
    Discrete,
    /// `percentile_cont_of_array(x, fractions, descending)`.
    Continuous,
    /// `mode(x, descending)`.
    Mode,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderedSet {
    kind: Kind,
    signature: Signature,
}

/// The aggregates.
pub(crate) fn functions() -> Vec<AggregateUDF> {
    [Kind::Discrete, Kind::Continuous, Kind::Mode]
        .map(|kind| AggregateUDF::from(OrderedSet { kind, signature: Signature::user_defined(Volatility::Immutable) }))
        .into()
}

const FRACTIONS: fn() -> DataType = || DataType::new_list(DataType::Float64, true);

impl OrderedSet {
    fn item_type(&self, values: &DataType) -> DataType {
        if self.kind == Kind::Continuous { DataType::Float64 } else { values.clone() }
    }
}

impl AggregateUDFImpl for OrderedSet {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Discrete => "percentile_disc",
            Kind::Continuous => "percentile_cont_of_array",
            Kind::Mode => "mode",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.kind, arg_types) {
            (Kind::Mode, [values, DataType::Boolean]) => Ok(vec![values.clone(), DataType::Boolean]),
            (Kind::Discrete | Kind::Continuous, [values, fractions, DataType::Boolean]) => {
                let values = match self.kind {
                    Kind::Continuous if !values.is_numeric() && !values.is_null() => {
                        let what = format!("percentile_cont of {values} (use percentile_disc)");
                        return Err(QueryError::NotSupported { what }.into());
                    }
                    Kind::Continuous => DataType::Float64,
                    _ => values.clone(),
                };
                let fractions = if matches!(fractions, DataType::List(_) | DataType::LargeList(_)) {
                    FRACTIONS()
                } else {
                    DataType::Float64
                };
                Ok(vec![values, fractions, DataType::Boolean])
            }
            _ => plan_err!("No function matches {} without WITHIN GROUP (ORDER BY ...)", self.name()),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let item = self.item_type(&arg_types[0]);
        Ok(match arg_types.get(1) {
            Some(DataType::List(_)) => DataType::new_list(item, true),
            _ => item,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let values = args.input_fields[0].data_type().clone();
        Ok(vec![Arc::new(Field::new(format!("{}[values]", args.name), DataType::new_list(values, true), true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let fractions = match self.kind {
            Kind::Mode => None,
            _ => Some(constant(&args.exprs[1])?),
        };
        let descending = match constant(&args.exprs[args.exprs.len() - 1])? {
            ScalarValue::Boolean(Some(descending)) => descending,
            _ => false,
        };
        Ok(Box::new(Values {
            kind: self.kind,
            data_type: args.expr_fields[0].data_type().clone(),
            result: args.return_field.data_type().clone(),
            fractions,
            descending,
            batches: Vec::new(),
        }))
    }
}

/// The value of an argument that is the same for all rows.
pub(crate) fn constant(expression: &Arc<dyn PhysicalExpr>) -> Result<ScalarValue> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(arrow::datatypes::Schema::empty()), Vec::new(), &options)?;
    match expression.evaluate(&row) {
        Ok(value) => ScalarValue::try_from_array(&value.into_array(1)?, 0),
        Err(_) => exec_err!("argument {expression} must be the same for all rows"),
    }
}

#[derive(Debug)]
struct Values {
    kind: Kind,
    data_type: DataType,
    result: DataType,
    fractions: Option<ScalarValue>,
    descending: bool,
    batches: Vec<ArrayRef>,
}

impl Values {
    fn sorted(&self) -> Result<ArrayRef> {
        let all = self.all()?;
        let options = SortOptions { descending: self.descending, nulls_first: false };
        let sorted = sort(&all, Some(options))?;
        Ok(sorted.slice(0, sorted.len() - sorted.null_count()))
    }

    fn all(&self) -> Result<ArrayRef> {
        let batches: Vec<&dyn Array> = self.batches.iter().map(AsRef::as_ref).collect();
        Ok(if batches.is_empty() { new_empty_array(&self.data_type) } else { concat(&batches)? })
    }

    /// The values at `fractions` of the way through `sorted`.
    fn percentiles(&self, sorted: &ArrayRef, fractions: &[Option<f64>]) -> Result<ArrayRef> {
        let count = sorted.len();
        for fraction in fractions.iter().flatten() {
            if !(0.0..=1.0).contains(fraction) {
                return exec_err!("percentile value {fraction} is not between 0 and 1");
            }
        }
        let present = |fraction: &Option<f64>| fraction.filter(|_| count > 0);
        if self.kind == Kind::Discrete {
            let index = |fraction: &Option<f64>| {
                present(fraction).map(|fraction| ((fraction * count as f64).ceil() as u32).saturating_sub(1))
            };
            let indices: UInt32Array = fractions.iter().map(index).collect();
            return Ok(take(sorted, &indices, None)?);
        }
        let values = sorted.as_primitive::<Float64Type>();
        let between = |fraction: &Option<f64>| {
            present(fraction).map(|fraction| {
                let at = fraction * (count - 1) as f64;
                let (low, high) = (values.value(at.floor() as usize), values.value(at.ceil() as usize));
                low + (at - at.floor()) * (high - low)
            })
        };
        let result: Float64Array = fractions.iter().map(between).collect();
        Ok(Arc::new(result))
    }

    /// The most frequent value; of several, the first.
    fn mode(&self, sorted: &ArrayRef) -> Result<ScalarValue> {
        let starts = arrow::compute::partition(std::slice::from_ref(sorted))?.ranges();
        let most = starts.iter().map(|range| range.len()).max().unwrap_or(0);
        match starts.iter().find(|range| range.len() == most) {
            Some(range) if most > 0 => ScalarValue::try_from_array(sorted, range.start),
            _ => ScalarValue::try_from(&self.data_type),
        }
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some(values) = values.first().filter(|values| values.null_count() < values.len()) {
            // A slice would keep the whole batch in memory.
            let all = UInt32Array::from_iter_values(0..u32::try_from(values.len()).unwrap_or(u32::MAX));
            self.batches.push(take(values, &all, None)?);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first() else { return Ok(()) };
        for list in lists.as_list::<i32>().iter().flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![SingleRowListArrayBuilder::new(self.all()?).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sorted = self.sorted()?;
        let Some(fractions) = &self.fractions else { return self.mode(&sorted) };
        if fractions.is_null() {
            return ScalarValue::try_from(&self.result);
        }
        match fractions {
            ScalarValue::List(list) => {
                let list = cast(&list.value(0), &DataType::Float64)?;
                let fractions: Vec<_> = list.as_primitive::<Float64Type>().iter().collect();
                if sorted.is_empty() {
                    return ScalarValue::try_from(&self.result);
                }
                let result = self.percentiles(&sorted, &fractions)?;
                Ok(SingleRowListArrayBuilder::new(result).build_list_scalar())
            }
            ScalarValue::Float64(fraction) => ScalarValue::try_from_array(&self.percentiles(&sorted, &[*fraction])?, 0),
            other => exec_err!("{other} is no fraction"),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.batches.iter().map(|batch| batch.get_array_memory_size()).sum::<usize>()
    }
}
