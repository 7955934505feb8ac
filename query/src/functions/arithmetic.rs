//! Whole numbers that do not wrap around: `+ - *`, unary minus and `sum` end with SQLSTATE 22003 where the result does
//! not fit, as PostgreSQL's do, and a division by zero with 22012, also of floating-point numbers. The engine's own would
//! go on with a wrong number.

use crate::error::QueryError;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::arity::try_binary;
use arrow::compute::kernels::numeric;
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, internal_err, plan_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, BinaryExpr, ColumnarValue, EmitTo, Expr, ExprSchemable,
    GroupsAccumulator, Operator, ReversedUDAF, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, SetMonotonicity,
    Signature, StatisticsArgs, Volatility,
};
use std::sync::{Arc, LazyLock};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Negate,
    /// Of floating-point numbers; the engine's would be infinite for a divisor of zero.
    Divide,
    /// Of floating-point numbers.
    Modulo,
}

/// An operator over whole numbers that checks its results.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

static CHECKED: LazyLock<[Arc<ScalarUDF>; 6]> = LazyLock::new(|| {
    use Operation::{Add, Divide, Modulo, Multiply, Negate, Subtract};
    [Add, Subtract, Multiply, Negate, Divide, Modulo].map(|operation| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Checked { operation, signature }))
    })
});

fn checked(operation: Operation, arguments: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(CHECKED[operation as usize].clone(), arguments))
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "checked_add",
            Operation::Subtract => "checked_subtract",
            Operation::Multiply => "checked_multiply",
            Operation::Negate => "checked_negate",
            Operation::Divide => "float_divide",
            Operation::Modulo => "float_modulo",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if matches!(self.operation, Operation::Divide | Operation::Modulo) {
            return Ok(vec![DataType::Float64; given.len()]);
        }
        let common = given.iter().try_fold(DataType::Int16, |wide, given| wider(&wide, given));
        match common {
            Some(common) => Ok(vec![common; given.len()]),
            None => plan_err!("No function matches {} of {given:?}", self.name()),
        }
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(given[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let result: ArrayRef = match (self.operation, args.args.as_slice()) {
            (Operation::Divide | Operation::Modulo, [left, right]) => {
                let remainder = self.operation == Operation::Modulo;
                match right {
                    ColumnarValue::Scalar(right) => {
                        let ScalarValue::Float64(right) = right else {
                            return internal_err!("a divisor of {}", right.data_type());
                        };
                        let left = left.to_array(args.number_rows)?;
                        quotients_by(left.as_primitive(), *right, remainder)?
                    }
                    ColumnarValue::Array(right) => {
                        let left = left.to_array(args.number_rows)?;
                        quotients(left.as_primitive(), right.as_primitive(), remainder)?
                    }
                }
            }
            (Operation::Negate, [value]) => numeric::neg(value.to_array(args.number_rows)?.as_ref())?,
            (operation, [left, right]) => {
                let kernel = match operation {
                    Operation::Add => numeric::add,
                    Operation::Subtract => numeric::sub,
                    _ => numeric::mul,
                };
                let scalar = |value: &ScalarValue| value.to_scalar();
                match (left, right) {
                    (ColumnarValue::Array(left), ColumnarValue::Array(right)) => kernel(left, right)?,
                    (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => kernel(left, &scalar(right)?)?,
                    (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => kernel(&scalar(left)?, right)?,
                    (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) => {
                        let result = kernel(&left.to_array()?, &right.to_array()?)?;
                        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
                    }
                }
            }
            (operation, other) => return internal_err!("{operation:?} of {} values", other.len()),
        };
        match args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_))) {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

fn quotient(left: f64, right: f64, remainder: bool) -> Result<f64, QueryError> {
    if right == 0.0 && !left.is_nan() {
        return Err(QueryError::DivisionByZero);
    }
    Ok(if remainder { left % right } else { left / right })
}

fn quotients(left: &Float64Array, right: &Float64Array, remainder: bool) -> Result<ArrayRef> {
    let divide = |left: f64, right: f64| quotient(left, right, remainder).map_err(external);
    Ok(Arc::new(try_binary::<_, _, _, Float64Type>(left, right, divide)?))
}

fn quotients_by(left: &Float64Array, right: Option<f64>, remainder: bool) -> Result<ArrayRef> {
    let Some(right) = right else { return Ok(new_null_array(&DataType::Float64, left.len())) };
    if right == 0.0 {
        let divide = |left: f64| quotient(left, right, remainder).map_err(external);
        return Ok(Arc::new(left.try_unary::<_, Float64Type, _>(divide)?));
    }
    let divide = |left: f64| if remainder { left % right } else { left / right };
    Ok(Arc::new(left.unary::<_, Float64Type>(divide)))
}

fn external(error: QueryError) -> ArrowError {
    ArrowError::ExternalError(Box::new(DataFusionError::from(error)))
}

/// The type of a sum of both, if both are signed whole numbers.
fn wider(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::{Int8, Int16, Int32, Int64, Null};
    Some(match (left, right) {
        (Int16, Int8 | Int16 | Null) => Int16,
        (Int16 | Int32, Int32) | (Int32, Int8 | Int16 | Null) => Int32,
        (Int16 | Int32 | Int64, Int64) | (Int64, Int8 | Int16 | Int32 | Null) => Int64,
        _ => return None,
    })
}

/// Puts the checking operators in the place of the engine's.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic;

impl FunctionRewrite for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let is_whole = |expr: &Expr| {
            matches!(expr.get_type(schema), Ok(DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64))
        };
        let operation = match &expr {
            Expr::BinaryExpr(BinaryExpr { op: Operator::Plus, .. }) => Operation::Add,
            Expr::BinaryExpr(BinaryExpr { op: Operator::Minus, .. }) => Operation::Subtract,
            Expr::BinaryExpr(BinaryExpr { op: Operator::Multiply, .. }) => Operation::Multiply,
            Expr::Negative(_) => Operation::Negate,
            Expr::BinaryExpr(BinaryExpr { op: Operator::Divide, .. }) => Operation::Divide,
            Expr::BinaryExpr(BinaryExpr { op: Operator::Modulo, .. }) => Operation::Modulo,
            _ => return Ok(Transformed::no(expr)),
        };
        let is_number = |expr: &Expr| expr.get_type(schema).is_ok_and(|data_type| data_type.is_numeric());
        let is_wide = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Float64));
        if matches!(operation, Operation::Divide | Operation::Modulo) {
            return Ok(match expr {
                Expr::BinaryExpr(BinaryExpr { left, right, .. })
                    if is_number(&left) && is_number(&right) && (is_wide(&left) || is_wide(&right)) =>
                {
                    Transformed::yes(checked(operation, vec![*left, *right]))
                }
                other => Transformed::no(other),
            });
        }
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, right, .. }) if is_whole(&left) && is_whole(&right) => {
                Transformed::yes(checked(operation, vec![*left, *right]))
            }
            Expr::Negative(value) if is_whole(&value) && !matches!(*value, Expr::Literal(..)) => {
                Transformed::yes(checked(operation, vec![*value]))
            }
            other => Transformed::no(other),
        })
    }
}

/// `sum`, which is the engine's but for whole numbers.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum(Sum);

/// The function.
pub(crate) fn sum() -> AggregateUDF {
    AggregateUDF::from(CheckedSum(Sum::new()))
}

fn is_whole(args: &AccumulatorArgs<'_>) -> bool {
    !args.is_distinct && args.return_field.data_type() == &DataType::Int64
}

fn too_large() -> QueryError {
    QueryError::NumberOutOfRange { what: "bigint" }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.0.return_type(given)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_whole(&args) { Ok(Box::new(WholeSum::default())) } else { self.0.accumulator(args) }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.0.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if is_whole(&args) { Ok(Box::new(WholeSums::default())) } else { self.0.create_groups_accumulator(args) }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_whole(&args) { Ok(Box::new(WholeSum::default())) } else { self.0.create_sliding_accumulator(args) }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.0.set_monotonicity(data_type)
    }

    fn simplify_expr_op_literal(
        &self,
        function: &AggregateFunction,
        argument: &Expr,
        op: Operator,
        literal: &Expr,
        is_left: bool,
    ) -> Result<Option<Expr>> {
        self.0.simplify_expr_op_literal(function, argument, op, literal, is_left)
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs) -> Option<ScalarValue> {
        self.0.value_from_stats(statistics)
    }
}

/// The sum of one group. Wide enough for all rows there can be: only what it comes to has to fit.
#[derive(Debug, Default)]
struct WholeSum {
    sum: i128,
    /// Values in it.
    count: u64,
}

impl Accumulator for WholeSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = cast(&values[0], &DataType::Int64)?;
        for value in values.as_primitive::<Int64Type>().iter().flatten() {
            self.sum += i128::from(value);
            self.count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Int64Type>().iter().flatten() {
            self.sum -= i128::from(value);
            self.count -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = i64::try_from(self.sum).map_err(|_| too_large())?;
        Ok(ScalarValue::Int64((self.count > 0).then_some(sum)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// Sums of many groups.
#[derive(Debug, Default)]
struct WholeSums {
    sums: Vec<i64>,
    /// Whether a group has a value.
    seen: Vec<bool>,
}

impl WholeSums {
    fn add(&mut self, values: &ArrayRef, groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.sums.resize(total, 0);
        self.seen.resize(total, false);
        let values = values.as_primitive::<Int64Type>();
        let mut overflowed = false;
        let mut add = |group: usize, value: i64| {
            let (sum, over) = self.sums[group].overflowing_add(value);
            self.sums[group] = sum;
            self.seen[group] = true;
            overflowed |= over;
        };
        if filter.is_none() && values.null_count() == 0 {
            groups.iter().zip(values.values()).for_each(|(group, value)| add(*group, *value));
        } else {
            for (row, group) in groups.iter().enumerate() {
                let counts = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
                if counts && values.is_valid(row) {
                    add(*group, values.value(row));
                }
            }
        }
        if overflowed { Err(too_large().into()) } else { Ok(()) }
    }
}

impl GroupsAccumulator for WholeSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.add(&values[0], groups, filter, total)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.add(&values[0], groups, None, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        let seen = NullBuffer::from(emit_to.take_needed(&mut self.seen));
        Ok(Arc::new(Int64Array::try_new(sums.into(), Some(seen))?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(filter) = filter else { return Ok(vec![values[0].clone()]) };
        let left_out: BooleanArray = filter.iter().map(|counts| Some(counts != Some(true))).collect();
        Ok(vec![nullif(&values[0], &left_out)?])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i64>() + self.seen.capacity()
    }
}
