//! `time_bucket(width, time [, zone] [, origin] [, offset])`, as in TimescaleDB; the arithmetic is in
//! [`super::bucket`]. A condition on a bucket becomes one on the time, so that it reaches the files.

use super::bucket::Buckets;
use super::is_text;
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowTimestampType, DataType, Int64Type, IntervalUnit, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::ops::Range;
use std::sync::Arc;
use whence_schema::tables::timestamp_type;

/// `time_bucket`, or `time_bucket_gapfill`, which the planner finds by its name and fills.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimeBucket {
    name: &'static str,
    signature: Signature,
}

/// Name of the function whose buckets are filled up.
pub(crate) const GAP_FILL: &str = "time_bucket_gapfill";

impl TimeBucket {
    /// `time_bucket`.
    pub(crate) fn plain() -> Self {
        Self { name: "time_bucket", signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// `time_bucket_gapfill`, without start and finish.
    pub(crate) fn filling() -> Self {
        Self { name: GAP_FILL, signature: Signature::user_defined(Volatility::Stable) }
    }
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [_, time, ..] => Ok(time.clone()),
            _ => plan_err!("time_bucket needs a width and a time"),
        }
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let ([width, time] | [width, time, _] | [width, time, _, _] | [width, time, _, _, _]) = arg_types else {
            return plan_err!("No function matches time_bucket with {} arguments", arg_types.len());
        };
        if width.is_integer() && time.is_integer() {
            return Ok(vec![DataType::Int64; arg_types.len()]);
        }
        let width = match width {
            text if is_text(text) => text.clone(),
            DataType::Interval(_) | DataType::Duration(_) | DataType::Null => {
                DataType::Interval(IntervalUnit::MonthDayNano)
            }
            other => return plan_err!("No function matches time_bucket({other}, ..): the width is an interval"),
        };
        let time = match time {
            DataType::Timestamp(..) => time.clone(),
            DataType::Date32 | DataType::Date64 | DataType::Null => timestamp_type(),
            text if is_text(text) => timestamp_type(),
            other => return plan_err!("No function matches time_bucket(.., {other}): the time is a timestamp"),
        };
        let mut types = vec![width, time];
        for other in &arg_types[2..] {
            types.push(match other {
                text if is_text(text) => text.clone(),
                DataType::Null => DataType::Utf8,
                DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
                _ => DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::from("UTC"))),
            });
        }
        Ok(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.name == GAP_FILL {
            let what = "time_bucket_gapfill that is not one of the columns of GROUP BY".to_owned();
            return Err(crate::QueryError::NotSupported { what }.into());
        }
        let time = args.args[1].to_array(args.number_rows)?;
        let ColumnarValue::Scalar(width) = &args.args[0] else {
            return exec_err!("time_bucket: the width must be the same for all rows");
        };
        if width.is_null() {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(time.data_type())?));
        }
        if let ScalarValue::Int64(Some(width)) = width {
            let offset = args.args.get(2).map(integer).transpose()?.unwrap_or(0);
            return integers(&time, *width, offset);
        }
        let mut others = Vec::new();
        for other in &args.args[2..] {
            match other {
                ColumnarValue::Scalar(other) => others.push(other.clone()),
                ColumnarValue::Array(_) => {
                    return exec_err!("{}: zone, origin and offset must be the same for all rows", self.name);
                }
            }
        }
        let buckets = Buckets::of(width, &others)?;
        let result = match time.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => bucket::<TimestampSecondType>(&time, &buckets),
            DataType::Timestamp(TimeUnit::Millisecond, _) => bucket::<TimestampMillisecondType>(&time, &buckets),
            DataType::Timestamp(TimeUnit::Microsecond, _) => bucket::<TimestampMicrosecondType>(&time, &buckets),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => bucket::<TimestampNanosecondType>(&time, &buckets),
            other => return exec_err!("time_bucket of {other}"),
        };
        match &args.args[1] {
            ColumnarValue::Scalar(_) => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            ColumnarValue::Array(_) => Ok(ColumnarValue::Array(result)),
        }
    }

    /// Times whose bucket starts at a given time. If no bucket starts there, the next one's start stands for both ends:
    /// none is equal, and all comparisons come out right.
    fn preimage(&self, args: &[Expr], value: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        let [Expr::Literal(width, _), time, others @ ..] = args else { return Ok(PreimageResult::None) };
        if self.name == GAP_FILL {
            return Ok(PreimageResult::None);
        }
        let others = others.iter().map(|other| match other {
            Expr::Literal(other, _) => Some(other.clone()),
            _ => None,
        });
        let (Some(others), Expr::Literal(value, _)) = (others.collect::<Option<Vec<_>>>(), value) else {
            return Ok(PreimageResult::None);
        };
        let DataType::Timestamp(unit, zone) = info.get_data_type(time)? else { return Ok(PreimageResult::None) };
        let Ok(ScalarValue::TimestampNanosecond(Some(nanos), _)) =
            value.cast_to(&DataType::Timestamp(TimeUnit::Nanosecond, None))
        else {
            return Ok(PreimageResult::None);
        };
        // What is wrong with the arguments is said when the function runs.
        let Ok(buckets) = Buckets::of(width, &others) else { return Ok(PreimageResult::None) };
        let nanos = i128::from(nanos);
        let bounds = buckets.start(nanos).and_then(|start| {
            let next = buckets.next(start)?;
            Some(if start == nanos { (start, next) } else { (next, next) })
        });
        let scalar = |nanos: i128| {
            let value = i64::try_from(nanos.div_euclid(nanos_of(unit))).ok();
            match unit {
                TimeUnit::Second => ScalarValue::TimestampSecond(value, zone.clone()),
                TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(value, zone.clone()),
                TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(value, zone.clone()),
                TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(value, zone.clone()),
            }
        };
        match bounds.map(|(from, to)| (scalar(from), scalar(to))) {
            Some((from, to)) if buckets.are_contiguous() && !from.is_null() && !to.is_null() => {
                let interval = Box::new(Interval::try_new(from, to)?);
                Ok(PreimageResult::Range { expr: time.clone(), interval })
            }
            _ => Ok(PreimageResult::None),
        }
    }
}

/// Nanoseconds of a unit of time.
pub(crate) fn nanos_of(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn bucket<T: ArrowTimestampType>(time: &ArrayRef, buckets: &Buckets) -> ArrayRef {
    let unit = nanos_of(T::UNIT);
    let start = |value: i64| buckets.start(i128::from(value) * unit);
    let shown = |start: i128| i64::try_from(start.div_euclid(unit)).ok();
    let times = time.as_primitive::<T>();
    // Times mostly come in order: the bucket of one is that of the next, and comparing is quicker than dividing.
    let (mut known, mut known_start) = (0..0, 0);
    let starts = times.values().iter().map(|value| {
        if !known.contains(value) {
            let at = start(*value)?;
            known_start = shown(at)?;
            known = if buckets.are_contiguous() { values_within(at, buckets.next(at)?, unit) } else { 0..0 };
        }
        Some(known_start)
    });
    let result: PrimitiveArray<T> = match starts.collect::<Option<Vec<i64>>>() {
        Some(starts) => PrimitiveArray::new(starts.into(), times.nulls().cloned()),
        // Some are outside of the calendar, or not there and just look so.
        None => times.unary_opt(|value| shown(start(value)?)),
    };
    Arc::new(result.with_data_type(time.data_type().clone()))
}

/// Values of a unit of time whose moment is not before `start` and before `next`, in nanoseconds.
fn values_within(start: i128, next: i128, unit: i128) -> Range<i64> {
    let least = |nanos: i128| i64::try_from(-(-nanos).div_euclid(unit));
    match (least(start), least(next)) {
        (Ok(start), Ok(next)) => start..next,
        _ => 0..0,
    }
}

fn integer(value: &ColumnarValue) -> Result<i64> {
    match value {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(value))) => Ok(*value),
        _ => exec_err!("time_bucket: the offset must be one integer"),
    }
}

fn integers(values: &ArrayRef, width: i64, offset: i64) -> Result<ColumnarValue> {
    if width <= 0 {
        return exec_err!("period must be greater than 0");
    }
    let values = cast(values, &DataType::Int64)?;
    let at = |value: i64| {
        let (value, width, offset) = (i128::from(value), i128::from(width), i128::from(offset));
        i64::try_from(value - (value - offset).rem_euclid(width)).ok()
    };
    let result: PrimitiveArray<Int64Type> = values.as_primitive::<Int64Type>().unary_opt(at);
    Ok(ColumnarValue::Array(Arc::new(result)))
}
