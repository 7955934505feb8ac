//! Numbers from the sketch of a row of metrics: quantiles, and what follows from count, sum and squared distances.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;
use whence_schema::sketch::Sketch;

/// `approx_percentile(quantile, sketch)`, as in TimescaleDB's toolkit.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ApproxPercentile {
    signature: Signature,
}

impl Default for ApproxPercentile {
    fn default() -> Self {
        let types = vec![DataType::Float64, DataType::Binary];
        Self { signature: Signature::exact(types, Volatility::Immutable) }
    }
}

/// `approx_percentile(quantile, sketch)` as an expression.
pub(crate) fn quantile(sketch: Expr, quantile: f64) -> Expr {
    ScalarUDF::from(ApproxPercentile::default()).call(vec![datafusion::prelude::lit(quantile), sketch])
}

impl ScalarUDFImpl for ApproxPercentile {
    fn name(&self) -> &str {
        "approx_percentile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(ScalarValue::Float64(quantile)) = &args.args[0] else {
            return exec_err!("approx_percentile: the quantile must be the same for all rows");
        };
        let sketches = cast(&args.args[1].to_array(args.number_rows)?, &DataType::Binary)?;
        let Some(quantile) = quantile.filter(|q| (0.0..=1.0).contains(q)) else {
            return exec_err!("approx_percentile: the quantile is a number from 0 to 1");
        };
        let values: Float64Array = sketches
            .as_binary::<i32>()
            .iter()
            .map(|bytes| bytes.and_then(Sketch::decode).and_then(|sketch| sketch.quantile(quantile)))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

/// Population standard deviation from `count` and the sum of squared distances `m2`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Deviation {
    signature: Signature,
}

/// Population standard deviation as an expression.
pub(crate) fn deviation(count: Expr, m2: Expr) -> Expr {
    let types = vec![DataType::Int64, DataType::Float64];
    ScalarUDF::from(Deviation { signature: Signature::exact(types, Volatility::Immutable) }).call(vec![count, m2])
}

impl ScalarUDFImpl for Deviation {
    fn name(&self) -> &str {
        "deviation_of_moments"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns: Vec<ArrayRef> =
            args.args.iter().map(|value| value.to_array(args.number_rows)).collect::<Result<_>>()?;
        let (count, m2) = (columns[0].as_primitive::<Int64Type>(), columns[1].as_primitive::<Float64Type>());
        let values: Float64Array = (0..args.number_rows)
            .map(|row| {
                let n = if count.is_valid(row) { count.value(row) } else { 0 };
                (n > 0 && m2.is_valid(row)).then(|| (m2.value(row) / n as f64).max(0.0).sqrt())
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}
