//! Functions whose answer can be as large as a number in their arguments says. What one call makes is in no memory
//! account, so it is bounded before it is made.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::common::{Result, resources_err};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use std::sync::Arc;

/// Bytes that one call may make for one batch of rows.
const LARGEST_ANSWER: u128 = 64 << 20;
/// About what an element of a list takes.
const ELEMENT_BYTES: u128 = 16;

/// How large an answer becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Size {
    /// The second argument times the length of the first.
    Repeated,
    /// The second argument, in characters.
    Text,
    /// The second argument, in elements.
    Elements,
    /// From the first to the second argument in steps of the third, in elements.
    Series,
}

const BOUNDED: [(&str, Size); 7] = [
    ("repeat", Size::Repeated),
    ("lpad", Size::Text),
    ("rpad", Size::Text),
    ("array_repeat", Size::Elements),
    ("array_resize", Size::Elements),
    ("range", Size::Series),
    ("generate_series", Size::Series),
];

/// Puts bounds on those of the functions that `state` knows.
pub(crate) fn bound(state: &mut SessionState) -> Result<()> {
    for (name, size) in BOUNDED {
        if let Ok(inner) = state.udf(name) {
            state.register_udf(Arc::new(ScalarUDF::from(Bounded { inner, size })))?;
        }
    }
    Ok(())
}

/// A function that refuses to make too much.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    size: Size,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<arrow::datatypes::FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn simplify(&self, arguments: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(arguments, info)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_constant = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if all_constant { 1 } else { arguments.number_rows };
        let bytes = bytes(self.size, &arguments.args, rows)?;
        if bytes > LARGEST_ANSWER {
            return resources_err!("{} would make {bytes} bytes, at most {LARGEST_ANSWER} are allowed", self.name());
        }
        self.inner.invoke_with_args(arguments)
    }
}

fn bytes(size: Size, arguments: &[ColumnarValue], rows: usize) -> Result<u128> {
    let numbers = |position: usize| match arguments.get(position) {
        Some(argument) => integers(argument, rows).map(Some),
        None => Ok(None),
    };
    let total = |values: Option<ArrayRef>| {
        let positive = |value: Option<i64>| u128::from(u64::try_from(value.unwrap_or(0)).unwrap_or(0));
        values.map_or(0, |values| values.as_primitive::<Int64Type>().iter().map(positive).sum::<u128>())
    };
    Ok(match size {
        Size::Text => total(numbers(1)?),
        Size::Elements => total(numbers(1)?) * ELEMENT_BYTES,
        Size::Repeated => total(numbers(1)?) * longest(arguments.first(), rows)?,
        Size::Series => series(numbers(0)?, numbers(1)?, numbers(2)?) * ELEMENT_BYTES,
    })
}

fn longest(text: Option<&ColumnarValue>, rows: usize) -> Result<u128> {
    let Some(text) = text else { return Ok(0) };
    let lengths = cast(&length(&cast(&text.to_array(rows)?, &DataType::LargeUtf8)?)?, &DataType::Int64)?;
    let longest = lengths.as_primitive::<Int64Type>().iter().flatten().max().unwrap_or(0);
    Ok(u128::from(longest.unsigned_abs()))
}

/// Elements of all rows; one argument alone is the end, from 0.
fn series(first: Option<ArrayRef>, second: Option<ArrayRef>, step: Option<ArrayRef>) -> u128 {
    let Some(first) = first else { return 0 };
    let first = first.as_primitive::<Int64Type>();
    let second = second.as_ref().map(|values| values.as_primitive::<Int64Type>());
    let step = step.as_ref().map(|values| values.as_primitive::<Int64Type>());
    let of_row = |row: usize| {
        let far = second.map_or(first.value(row).unsigned_abs(), |end| end.value(row).abs_diff(first.value(row)));
        let step = step.map_or(1, |step| step.value(row).unsigned_abs()).max(1);
        u128::from(far / step) + 1
    };
    (0..first.len()).map(of_row).sum()
}

/// Numbers as they are, times and intervals in nanoseconds; what reads as neither counts as 0, and is the function's to
/// refuse.
fn integers(value: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
    let values = value.to_array(rows)?;
    Ok(match values.data_type() {
        DataType::Interval(unit) => {
            let values = match unit {
                IntervalUnit::MonthDayNano => values,
                _ => cast(&values, &DataType::Interval(IntervalUnit::MonthDayNano))?,
            };
            let nanos = values.as_primitive::<IntervalMonthDayNanoType>().unary::<_, Int64Type>(|step| {
                let days = i64::from(step.months) * 30 + i64::from(step.days);
                step.nanoseconds.saturating_add(days.saturating_mul(86_400_000_000_000))
            });
            Arc::new(nanos)
        }
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            let zone = match values.data_type() {
                DataType::Timestamp(_, zone) => zone.clone(),
                _ => None,
            };
            cast(&cast(&values, &DataType::Timestamp(TimeUnit::Nanosecond, zone))?, &DataType::Int64)?
        }
        _ => cast(&values, &DataType::Int64)?,
    })
}
