//! `interval * number` and `interval / number`, as PostgreSQL's `interval_mul` and `interval_div`: what is left of months
//! becomes days (30 of them a month), what is left of days becomes time.

use super::typed_function::{Overload, Type, Value, typed};
use crate::error::QueryError;
use arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::datatypes::IntervalMonthDayNanoType;
use arrow::datatypes::{DataType, DurationMicrosecondType, Float64Type, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::sqlparser::ast::BinaryOperator;
use datafusion::logical_expr::{
    Between, ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::sync::{Arc, LazyLock};
use whence_schema::tables::timestamp_type;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAY: f64 = 86_400.0;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Scale {
    divide: bool,
    signature: Signature,
}

static SCALE: LazyLock<[Arc<ScalarUDF>; 2]> = LazyLock::new(|| {
    [false, true]
        .map(|divide| Arc::new(ScalarUDF::from(Scale { divide, signature: Signature::any(2, Volatility::Immutable) })))
});

impl ScalarUDFImpl for Scale {
    fn name(&self) -> &str {
        if self.divide { "interval_div" } else { "interval_mul" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let intervals = intervals(&args.args[0].to_array(rows)?)?;
        let factors = cast(&args.args[1].to_array(rows)?, &DataType::Float64)?;
        let pairs = intervals.iter().zip(factors.as_primitive::<Float64Type>());
        let scaled = pairs.map(|pair| match pair {
            (Some(_), Some(0.0)) if self.divide => Err(arrow::error::ArrowError::DivideByZero.into()),
            (Some(interval), Some(factor)) => {
                let factor = if self.divide { 1.0 / factor } else { factor };
                let problem = || QueryError::InvalidText { problem: "interval out of range".to_owned() };
                scaled(interval, factor).map(Some).ok_or_else(|| problem().into())
            }
            _ => Ok(None),
        });
        let result = scaled.collect::<Result<IntervalMonthDayNanoArray>>()?;
        match all_scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(Arc::new(result))),
        }
    }
}

pub(super) fn intervals(array: &ArrayRef) -> Result<IntervalMonthDayNanoArray> {
    if let DataType::Duration(_) = array.data_type() {
        let durations = cast(array, &DataType::Duration(TimeUnit::Microsecond))?;
        let durations = durations.as_primitive::<DurationMicrosecondType>().iter();
        const MICROS: i64 = 86_400_000_000;
        return Ok(durations
            .map(|micros| {
                let micros = micros?;
                Some(IntervalMonthDayNano::new(0, i32::try_from(micros / MICROS).ok()?, micros % MICROS * 1_000))
            })
            .collect());
    }
    Ok(cast(array, &INTERVAL)?.as_primitive::<IntervalMonthDayNanoType>().clone())
}

/// `interval * factor`; `None` if it has no such value.
fn scaled(interval: IntervalMonthDayNano, factor: f64) -> Option<IntervalMonthDayNano> {
    let whole = |value: f64| (value.is_finite() && value.abs() <= f64::from(i32::MAX)).then_some(value.trunc() as i32);
    // To microseconds, as PostgreSQL does, so that 0.1 is not a little less.
    let rounded = |value: f64| (value * 1e6).round_ties_even() / 1e6;
    let (months, days) = (f64::from(interval.months) * factor, f64::from(interval.days) * factor);
    let (whole_months, whole_days) = (whole(months)?, whole(days)?);
    let days_of_months = rounded((months - f64::from(whole_months)) * 30.0);
    let part = whole(days_of_months)?;
    let mut seconds = rounded((days - f64::from(whole_days) + days_of_months - f64::from(part)) * DAY);
    let mut days = whole_days.checked_add(part)?;
    if seconds.abs() >= DAY {
        let more = whole(seconds / DAY)?;
        days = days.checked_add(more)?;
        seconds -= f64::from(more) * DAY;
    }
    let micros = ((interval.nanoseconds / 1_000) as f64 * factor + seconds * 1e6).round_ties_even();
    let nanos = micros * 1_000.0;
    (nanos.is_finite() && nanos.abs() < 9.2e18).then(|| IntervalMonthDayNano::new(whole_months, days, nanos as i64))
}

/// How long an interval is, in microseconds, a day being 24 hours and a month 30 days: what intervals are compared by.
fn length(interval: IntervalMonthDayNano) -> i64 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    let micros = days * 86_400_000_000 + i128::from(interval.nanoseconds / 1_000);
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

static LENGTH: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    const OF_INTERVAL: &[Overload] = &[Overload {
        takes: &[Type::Interval],
        gives: Type::Integer,
        call: |inputs| match inputs {
            [Value::Interval(interval)] => Ok(Value::Integer(length(*interval))),
            other => internal_err!("the length of {other:?}"),
        },
    }];
    Arc::new(typed("interval_length", OF_INTERVAL, &[]))
});

fn length_of(interval: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(LENGTH.clone(), vec![interval]))
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// A literal text beside an interval is one, too.
fn as_interval(side: Expr, data_type: &DataType) -> Option<Expr> {
    match &side {
        _ if is_interval(data_type) => Some(side),
        Expr::Literal(value, _) => {
            let text = crate::dialect::with_units(value.try_as_str()??);
            Some(datafusion::prelude::cast(datafusion::prelude::lit(text), INTERVAL))
        }
        _ => None,
    }
}

/// Comparisons of intervals as comparisons of their lengths: the engine compares months, then days, then time.
fn compared(expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
    let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
        return Ok(PlannerResult::Original(expr));
    };
    if !is_interval(&left) && !is_interval(&right) {
        return Ok(PlannerResult::Original(expr));
    }
    let sides = (as_interval(expr.left.clone(), &left), as_interval(expr.right.clone(), &right));
    let (Some(left), Some(right)) = sides else { return Ok(PlannerResult::Original(expr)) };
    Ok(PlannerResult::Original(RawBinaryExpr { op: expr.op, left: length_of(left), right: length_of(right) }))
}

/// `interval BETWEEN interval AND interval`, by lengths.
pub(super) fn between(between: Between, schema: &DFSchema) -> Result<Between> {
    if !between.expr.get_type(schema).is_ok_and(|data_type| is_interval(&data_type)) {
        return Ok(between);
    }
    let Between { expr, negated, low, high } = between;
    let bound = |bound: Expr| {
        let data_type = bound.get_type(schema)?;
        Ok::<_, DataFusionError>(as_interval(bound.clone(), &data_type).map_or(bound, length_of))
    };
    let (low, high) = (Box::new(bound(*low)?), Box::new(bound(*high)?));
    Ok(Between { expr: Box::new(length_of(*expr)), negated, low, high })
}

/// `extract(epoch FROM interval)`: a year has 365.25 days, a month 30. The engine counts a year as 12 months.
static EPOCH: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    const OF_INTERVAL: &[Overload] = &[Overload {
        takes: &[Type::Interval],
        gives: Type::Float,
        call: |inputs| match inputs {
            [Value::Interval(interval)] => {
                let (years, months) = (interval.months / 12, interval.months % 12);
                let days = f64::from(years) * 365.25 + f64::from(months) * 30.0 + f64::from(interval.days);
                Ok(Value::Float(days * DAY + (interval.nanoseconds / 1_000) as f64 / 1e6))
            }
            other => internal_err!("seconds of {other:?}"),
        },
    }];
    Arc::new(typed("interval_epoch", OF_INTERVAL, &[]))
});

/// Parts of times that the engine counts in another way: seconds of an interval, seconds with their fraction, and days
/// cut to a unit, which are times with a zone.
#[derive(Debug)]
pub(crate) struct PartsOfTimes;

impl FunctionRewrite for PartsOfTimes {
    fn name(&self) -> &str {
        "parts_of_times"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Expr::ScalarFunction(call) = expr else { return Ok(Transformed::no(expr)) };
        let [Expr::Literal(part, _), time] = call.args.as_slice() else {
            return Ok(Transformed::no(Expr::ScalarFunction(call)));
        };
        let (name, of) = (call.func.name(), time.get_type(schema));
        let part = part.try_as_str().flatten().unwrap_or_default().to_lowercase();
        let micros_per = match part.as_str() {
            "second" | "seconds" | "sec" | "s" => Some(1e6),
            "millisecond" | "milliseconds" | "ms" => Some(1e3),
            _ => None,
        };
        match (name, of, micros_per) {
            ("date_part", Ok(DataType::Interval(_)), _) if part == "epoch" => {
                let function = ScalarFunction::new_udf(EPOCH.clone(), vec![time.clone()]);
                Ok(Transformed::yes(Expr::ScalarFunction(function)))
            }
            ("date_part", Ok(DataType::Timestamp(..) | DataType::Time64(_)), Some(micros_per)) => {
                let args = vec![datafusion::prelude::lit("microsecond"), time.clone()];
                let micros = Expr::ScalarFunction(ScalarFunction::new_udf(call.func.clone(), args));
                let micros = datafusion::prelude::cast(micros, DataType::Float64);
                Ok(Transformed::yes(micros / datafusion::prelude::lit(micros_per)))
            }
            ("date_trunc", Ok(DataType::Date32), _) => {
                let day = datafusion::prelude::cast(time.clone(), timestamp_type());
                let args = vec![datafusion::prelude::lit(part), day];
                Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(call.func.clone(), args))))
            }
            _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
        }
    }
}

/// Plans the operators, and sums of a day and an interval.
#[derive(Debug)]
pub(crate) struct IntervalArithmetic;

impl ExprPlanner for IntervalArithmetic {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{Divide, Minus, Multiply, Plus};
        if is_comparison(&expr.op) {
            return compared(expr, schema);
        }
        if !matches!(expr.op, Multiply | Divide | Plus | Minus) {
            return Ok(PlannerResult::Original(expr));
        }
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        if matches!(expr.op, Plus | Minus) {
            // A day and an interval are a time, not a day.
            let RawBinaryExpr { op, left: left_side, right: right_side } = expr;
            let time = |day: Expr| datafusion::prelude::cast(day, DataType::Timestamp(TimeUnit::Microsecond, None));
            let (left_side, right_side) = match (&left, &right) {
                (DataType::Date32, other) if is_interval(other) => (time(left_side), right_side),
                (other, DataType::Date32) if is_interval(other) => (left_side, time(right_side)),
                _ => (left_side, right_side),
            };
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left: left_side, right: right_side }));
        }
        let divide = expr.op == BinaryOperator::Divide;
        let (interval, factor) = match (is_interval(&left), is_interval(&right)) {
            (true, false) if right.is_numeric() => (expr.left, expr.right),
            (false, true) if left.is_numeric() && !divide => (expr.right, expr.left),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let function = SCALE[usize::from(divide)].clone();
        let call = ScalarFunction::new_udf(function, vec![interval, factor]);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_scaled_as_in_postgresql() {
        let hour = 3_600_000_000_000;
        for ((months, days, nanos), factor, expected) in [
            ((0, 1, 0), 5.0, (0, 5, 0)),
            ((1, 0, 0), 0.5, (0, 15, 0)),
            ((0, 1, 0), 0.5, (0, 0, 12 * hour)),
            ((1, 1, 2 * hour), -2.0, (-2, -2, -4 * hour)),
            ((0, 0, hour), 0.1, (0, 0, hour / 10)),
        ] {
            let (m, d, n) = expected;
            let result = scaled(IntervalMonthDayNano::new(months, days, nanos), factor);
            assert_eq!(result, Some(IntervalMonthDayNano::new(m, d, n)));
        }
        assert_eq!(scaled(IntervalMonthDayNano::new(1, 0, 0), f64::INFINITY), None);
    }
}
