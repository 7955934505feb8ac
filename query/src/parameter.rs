//! Values for `$1`, `$2`, ... They are put into the parsed statement, never into its text.

use crate::dialect::build::type_nulls;
use crate::error::QueryError;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType as SqlType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, Statement, TableFactor,
    TimezoneInfo, Value, VisitMut, VisitorMut,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// A value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    /// NULL.
    Null,
    /// A truth value.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number as written.
    Number(String),
    /// A floating-point number.
    Float(f64),
    /// Text; also uuid and json, which compare with text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A value of another type, by its text.
    Typed(ParameterType, String),
    /// Several values.
    Array(Vec<Parameter>),
}

/// Types of [`Parameter::Typed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ParameterType {
    TimestampTz,
    Timestamp,
    Date,
    Time,
    Interval,
    Uuid,
}

impl ParameterType {
    fn sql(self) -> SqlType {
        match self {
            Self::TimestampTz => SqlType::Timestamp(None, TimezoneInfo::Tz),
            Self::Timestamp => SqlType::Timestamp(None, TimezoneInfo::None),
            Self::Date => SqlType::Date,
            Self::Time => SqlType::Time(None, TimezoneInfo::None),
            Self::Interval => SqlType::Interval { fields: None, precision: None },
            Self::Uuid => SqlType::Uuid,
        }
    }
}

impl Parameter {
    fn expression(&self) -> Expr {
        match self {
            Self::Null => value(Value::Null),
            Self::Boolean(truth) => value(Value::Boolean(*truth)),
            Self::Integer(number) => number_expression(&number.to_string()),
            Self::Number(digits) => number_expression(digits),
            Self::Float(number) if number.is_finite() => {
                cast(number.to_string(), SqlType::Double(ExactNumberInfo::None))
            }
            Self::Float(number) => {
                let name = if number.is_nan() {
                    "NaN"
                } else if *number > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                };
                cast(name.to_owned(), SqlType::Double(ExactNumberInfo::None))
            }
            Self::Text(text) => value(Value::SingleQuotedString(text.clone())),
            Self::Bytes(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                value(Value::HexStringLiteral(digits))
            }
            Self::Typed(kind, text) => cast(text.clone(), kind.sql()),
            Self::Array(items) => {
                let mut elem: Vec<Expr> = items.iter().map(Self::expression).collect();
                type_nulls(&mut elem);
                Expr::Array(datafusion::sql::sqlparser::ast::Array { elem, named: true })
            }
        }
    }
}

fn value(value: Value) -> Expr {
    Expr::Value(value.into())
}

fn number_expression(digits: &str) -> Expr {
    use datafusion::sql::sqlparser::ast::UnaryOperator::Minus;
    match digits.strip_prefix('-') {
        Some(rest) => Expr::UnaryOp { op: Minus, expr: Box::new(value(Value::Number(rest.to_owned(), false))) },
        None => value(Value::Number(digits.to_owned(), false)),
    }
}

fn cast(text: String, data_type: SqlType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(value(Value::SingleQuotedString(text))),
        data_type,
        array: false,
        format: None,
    }
}

struct Substitute<'a>(&'a [Parameter]);

impl VisitorMut for Substitute<'_> {
    type Break = QueryError;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<QueryError> {
        if let Some(position) = position_of(expr) {
            match self.0.get(position - 1) {
                Some(parameter) => *expr = parameter.expression(),
                None => {
                    let problem = format!("there is no value for it: {} given", self.0.len());
                    return ControlFlow::Break(QueryError::Parameter { position, problem });
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Position of the parameter that `expr` is, counted from 1.
fn position_of(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else { return None };
    let Value::Placeholder(name) = &value.value else { return None };
    name.strip_prefix('$')?.parse().ok().filter(|position| (1..=65_535).contains(position))
}

/// Puts values in the place of parameters.
pub(crate) fn substitute(statement: &mut Statement, parameters: &[Parameter]) -> Result<(), QueryError> {
    match statement.visit(&mut Substitute(parameters)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// What a statement says about its parameters without being planned.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    /// Highest position.
    pub(crate) count: usize,
    /// Those that stand where a number of rows is expected.
    pub(crate) row_counts: BTreeSet<usize>,
    /// Those of which `ANY` and `ALL` take the elements.
    pub(crate) arrays: BTreeSet<usize>,
    /// Types that they are cast to, as written.
    pub(crate) casts: BTreeMap<usize, String>,
}

/// The parameter that is an array, and the type it is cast to.
fn given_array(expr: &Expr) -> Option<(usize, Option<String>)> {
    match expr {
        Expr::Nested(inner) => given_array(inner),
        Expr::Cast { expr: inner, data_type, .. } => {
            position_of(inner).map(|position| (position, Some(data_type.to_string().to_lowercase())))
        }
        other => position_of(other).map(|position| (position, None)),
    }
}

struct Find<'a>(&'a mut Mentions);

impl VisitorMut for Find<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut datafusion::sql::sqlparser::ast::Query) -> ControlFlow<()> {
        use datafusion::sql::sqlparser::ast::LimitClause;
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
            let counts = [limit.as_ref(), offset.as_ref().map(|offset| &offset.value)];
            self.0.row_counts.extend(counts.into_iter().flatten().filter_map(position_of));
        }
        ControlFlow::Continue(())
    }

    /// Table functions are called when the statement is planned.
    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(arguments), .. } = table
            && name.to_string().to_lowercase().ends_with("generate_series")
        {
            for argument in &arguments.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument
                    && let Some(position) = position_of(expr)
                {
                    self.0.count = self.0.count.max(position);
                    self.0.row_counts.insert(position);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(position) = position_of(expr) {
            self.0.count = self.0.count.max(position);
        }
        if let Expr::Cast { expr: inner, data_type, .. } = expr
            && let Some(position) = position_of(inner)
        {
            self.0.casts.entry(position).or_insert_with(|| data_type.to_string().to_lowercase());
        }
        if let Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } = expr
            && let Some((position, cast)) = given_array(right)
        {
            self.0.count = self.0.count.max(position);
            self.0.arrays.insert(position);
            if let Some(cast) = cast {
                self.0.casts.entry(position).or_insert(cast);
            }
            let list = vec![Expr::Value(Value::Placeholder(format!("${position}")).into())];
            *expr = Expr::InList { expr: left.clone(), list, negated: false };
        }
        ControlFlow::Continue(())
    }
}

/// Finds the parameters of a statement, and makes it one that can be planned: row counts become numbers, arrays one of
/// their elements.
pub(crate) fn mentions(statement: &mut Statement) -> Mentions {
    let mut mentions = Mentions::default();
    let _ = statement.visit(&mut Find(&mut mentions));
    struct RowCounts<'a>(&'a BTreeSet<usize>);
    impl VisitorMut for RowCounts<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if position_of(expr).is_some_and(|position| self.0.contains(&position)) {
                *expr = number_expression("1");
            }
            ControlFlow::Continue(())
        }
    }
    let _ = statement.visit(&mut RowCounts(&mentions.row_counts));
    mentions
}
