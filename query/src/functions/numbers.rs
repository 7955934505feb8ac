//! Functions of numbers that the engine lacks, or that go on where PostgreSQL's end with an error.

use super::typed_function::{Overload, Type, Value, typed};
use crate::error::QueryError;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ScalarUDF;

/// The functions.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    use Type::{Boolean, Date, Float, Integer, Interval, SmallInteger, Timestamp, TimestampTz};
    const WIDTH_BUCKET: &[Overload] =
        &[Overload { takes: &[Float, Float, Float, Integer], gives: SmallInteger, call: width_bucket }];
    const LN: &[Overload] =
        &[Overload { takes: &[Float], gives: Float, call: |inputs| logarithm(inputs, "ln", f64::ln) }];
    const LOG: &[Overload] = &[
        Overload { takes: &[Float], gives: Float, call: |inputs| logarithm(inputs, "log", f64::log10) },
        Overload { takes: &[Float, Float], gives: Float, call: log_to_base },
    ];
    const LOG10: &[Overload] =
        &[Overload { takes: &[Float], gives: Float, call: |inputs| logarithm(inputs, "log10", f64::log10) }];
    const IS_FINITE: &[Overload] = &[
        Overload { takes: &[TimestampTz], gives: Boolean, call: is_finite },
        Overload { takes: &[Timestamp], gives: Boolean, call: is_finite },
        Overload { takes: &[Date], gives: Boolean, call: is_finite },
        Overload { takes: &[Interval], gives: Boolean, call: is_finite },
    ];
    vec![
        typed("width_bucket", WIDTH_BUCKET, &[]),
        typed("ln", LN, &[]),
        typed("log", LOG, &[]),
        typed("log10", LOG10, &[]),
        typed("isfinite", IS_FINITE, &[]),
    ]
}

/// Which of `count` buckets of one width between two bounds a number is in; 0 and `count + 1` are those outside.
fn width_bucket(inputs: &[Value]) -> Result<Value> {
    let [Value::Float(operand), Value::Float(low), Value::Float(high), Value::Integer(count)] = inputs else {
        return internal_err!("width_bucket of {inputs:?}");
    };
    let invalid = |position, problem: &str| QueryError::InvalidArgument {
        function: "width_bucket",
        position,
        problem: problem.to_owned(),
    };
    if *count <= 0 || i32::try_from(*count).is_ok_and(|count| count == i32::MAX) || *count > i64::from(i32::MAX) {
        return Err(invalid(4, "the count must be greater than zero, and a whole number of four bytes").into());
    }
    if operand.is_nan() || !low.is_finite() || !high.is_finite() {
        return Err(invalid(1, "the operand must be a number, and the bounds must be finite").into());
    }
    if low == high {
        return Err(invalid(3, "the lower bound cannot equal the upper bound").into());
    }
    let part = (operand - low) / (high - low);
    Ok(Value::Integer(if part < 0.0 {
        0
    } else if part >= 1.0 {
        count + 1
    } else {
        (part * *count as f64).floor() as i64 + 1
    }))
}

fn positive(number: f64, function: &'static str, position: usize) -> Result<f64, QueryError> {
    let sign = if number == 0.0 { "zero" } else { "a negative number" };
    match number <= 0.0 {
        true => {
            Err(QueryError::InvalidArgument { function, position, problem: format!("cannot take logarithm of {sign}") })
        }
        false => Ok(number),
    }
}

fn logarithm(inputs: &[Value], function: &'static str, of: fn(f64) -> f64) -> Result<Value> {
    match inputs {
        [Value::Float(number)] => Ok(Value::Float(of(positive(*number, function, 1)?))),
        other => internal_err!("{function} of {other:?}"),
    }
}

fn log_to_base(inputs: &[Value]) -> Result<Value> {
    let [Value::Float(base), Value::Float(number)] = inputs else { return internal_err!("log of {inputs:?}") };
    let (base, number) = (positive(*base, "log", 1)?, positive(*number, "log", 2)?);
    if base == 1.0 {
        return Err(QueryError::DivisionByZero.into());
    }
    // Of powers of the base a whole number.
    let logarithm = number.ln() / base.ln();
    let nearest = logarithm.round();
    Ok(Value::Float(if base.powf(nearest) == number { nearest } else { logarithm }))
}

fn is_finite(inputs: &[Value]) -> Result<Value> {
    Ok(Value::Boolean(match inputs {
        [Value::Micros(micros)] => !matches!(*micros, i64::MAX | i64::MIN),
        [Value::Days(days)] => !matches!(*days, i32::MAX | i32::MIN),
        _ => true,
    }))
}
