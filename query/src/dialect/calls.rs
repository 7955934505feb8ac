//! Calls of functions that the engine knows under another name, or as a composition of others.

use super::build::{arguments, bare_name, call, function, literal};
use crate::functions::percentile;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, OrderByExpr, OrderByOptions, Value,
    helpers::attached_token::AttachedToken,
};

/// The same call in the words of the engine; `None` leaves it as it is.
pub(super) fn translated(original: &Function) -> Option<Expr> {
    if let Some(positional) = without_names(original) {
        return Some(positional);
    }
    let values = arguments(&original.args)?;
    match (bare_name(&original.name).as_str(), values.as_slice()) {
        ("first", [value, time]) => Some(at_the_end(original, value, time, true)),
        ("last", [value, time]) => Some(at_the_end(original, value, time, false)),
        ("variance", [value]) => Some(renamed(original, "var_samp", vec![value.clone()])),
        ("every", [value]) => Some(renamed(original, "bool_and", vec![value.clone()])),
        ("sign", [value]) => Some(call("signum", vec![value.clone()])),
        ("percentile_cont" | "percentile_disc", [fractions]) => ordered_set(original, Some(fractions)),
        ("mode", []) => ordered_set(original, None),
        ("jsonb_agg" | "json_agg", [value]) => Some(json_array(original, value)),
        ("jsonb_object_agg" | "json_object_agg", [key, value]) => Some(json_object(original, key, value)),
        ("localtimestamp", []) => Some(renamed(original, "local_timestamp", Vec::new())),
        ("statement_timestamp" | "transaction_timestamp", []) => Some(call("now", Vec::new())),
        ("date_trunc", [_, _, _]) => Some(call("date_trunc_in_zone", values)),
        ("age", [time]) => Some(call("age", vec![call("current_date", Vec::new()), time.clone()])),
        ("mod", [left, right]) => Some(operation(left, BinaryOperator::Modulo, right)),
        ("div", [left, right]) => Some(call("trunc", vec![operation(left, BinaryOperator::Divide, right)])),
        ("date_add", [time, interval]) => Some(operation(time, BinaryOperator::Plus, interval)),
        ("date_subtract", [time, interval]) => Some(operation(time, BinaryOperator::Minus, interval)),
        ("array_remove", [_, _]) => Some(renamed(original, "array_remove_all", values)),
        ("array_dims", [array]) => Some(dimensions(array)),
        ("ceiling", [value]) => Some(renamed(original, "ceil", vec![value.clone()])),
        ("date_trunc", [Expr::Value(unit), time]) => singular(original, &unit.value, time),
        ("string_agg" | "array_agg", [value, ..]) => in_order(original, value),
        ("format", [template, texts @ ..]) => Some(call("format_of", vec![template.clone(), array_of_texts(texts)])),
        ("quote_nullable", [value]) => Some(call(
            "coalesce",
            vec![call("quote_literal", vec![value.clone()]), literal(Value::SingleQuotedString("NULL".to_owned()))],
        )),
        ("num_nulls", [_, ..]) => Some(count_of(values, true)),
        ("num_nonnulls", [_, ..]) => Some(count_of(values, false)),
        ("make_interval", parts) if parts.len() < INTERVAL_PARTS.len() => {
            let zero = || literal(Value::Number("0".to_owned(), false));
            let parts = parts.iter().cloned().chain(std::iter::repeat_with(zero)).take(INTERVAL_PARTS.len());
            Some(call("make_interval", parts.collect()))
        }
        ("timezone", [zone, time]) => Some(call("at_time_zone", vec![time.clone(), zone.clone()])),
        _ => None,
    }
}

const INTERVAL_PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

fn array_of_texts(values: &[Expr]) -> Expr {
    // Of a truth value `concat` makes t or f, and of NULL an empty text.
    let text = |value: &Expr| Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition: Expr::IsNotNull(Box::new(Expr::Nested(Box::new(value.clone())))),
            result: call("concat", vec![value.clone()]),
        }],
        else_result: None,
    };
    call("make_array", values.iter().map(text).collect())
}

fn operation(left: &Expr, op: BinaryOperator, right: &Expr) -> Expr {
    let nested = |expr: &Expr| Box::new(Expr::Nested(Box::new(expr.clone())));
    Expr::Nested(Box::new(Expr::BinaryOp { left: nested(left), op, right: nested(right) }))
}

/// `[1:n]`, the bounds of an array of one dimension; NULL without items.
fn dimensions(array: &Expr) -> Expr {
    let text = |text: &str| literal(Value::SingleQuotedString(text.to_owned()));
    let one = literal(Value::Number("1".to_owned(), false));
    let length = call("array_length", vec![array.clone(), one]);
    call("nullif", vec![call("concat", vec![text("[1:"), length, text("]")]), text("[1:]")])
}

/// `date_trunc('hours', time)` as `date_trunc('hour', time)`.
fn singular(original: &Function, unit: &Value, time: &Expr) -> Option<Expr> {
    let Value::SingleQuotedString(unit) = unit else { return None };
    let one = unit.to_lowercase();
    let one = one.strip_suffix('s').filter(|one| !one.is_empty())?;
    let unit = literal(Value::SingleQuotedString(one.to_owned()));
    Some(renamed(original, "date_trunc", vec![unit, time.clone()]))
}

/// Distinct values in their order, in which PostgreSQL finds them.
fn in_order(original: &Function, value: &Expr) -> Option<Expr> {
    let mut function = original.clone();
    let FunctionArguments::List(list) = &mut function.args else { return None };
    if list.duplicate_treatment != Some(DuplicateTreatment::Distinct)
        || list.clauses.iter().any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)))
    {
        return None;
    }
    let options = OrderByOptions { asc: Some(true), nulls_first: Some(false) };
    let order = OrderByExpr { expr: value.clone(), options, with_fill: None };
    list.clauses.push(FunctionArgumentClause::OrderBy(vec![order]));
    Some(Expr::Function(function))
}

/// How many of the values are NULL, or are not.
fn count_of(values: Vec<Expr>, nulls: bool) -> Expr {
    let one = |value: Expr| {
        let value = Box::new(Expr::Nested(Box::new(value)));
        let is_counted = if nulls { Expr::IsNull(value) } else { Expr::IsNotNull(value) };
        Expr::Cast {
            kind: CastKind::DoubleColon,
            expr: Box::new(Expr::Nested(Box::new(is_counted))),
            data_type: DataType::Integer(None),
            array: false,
            format: None,
        }
    };
    let sum = |left: Expr, right: Expr| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::Plus,
        right: Box::new(right),
    };
    let counts = values.into_iter().map(one).reduce(sum);
    Expr::Nested(Box::new(counts.unwrap_or_else(|| literal(Value::Number("0".to_owned(), false)))))
}

/// `time_bucket(width, time, origin => ..)` with arguments in their order; NULL stands for what is not given.
fn without_names(original: &Function) -> Option<Expr> {
    let name = bare_name(&original.name);
    let names: &[&str] = match name.as_str() {
        "time_bucket" => &["bucket_width", "ts", "timezone", "origin", "offset"],
        "time_bucket_gapfill" => &["bucket_width", "time", "timezone", "start", "finish"],
        "locf" => &["value", "prev", "treat_null_as_missing"],
        "make_interval" => &INTERVAL_PARTS,
        _ => return None,
    };
    let FunctionArguments::List(list) = &original.args else { return None };
    let mut values: Vec<Option<Expr>> = vec![None; names.len()];
    let mut any_named = false;
    for (position, argument) in list.args.iter().enumerate() {
        let (position, value) = match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (Some(position), value),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                any_named = true;
                (names.iter().position(|known| name.value.eq_ignore_ascii_case(known)), value)
            }
            FunctionArg::ExprNamed { name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(value), .. } => {
                any_named = true;
                (names.iter().position(|known| name.value.eq_ignore_ascii_case(known)), value)
            }
            _ => return None,
        };
        *values.get_mut(position?)? = Some(value.clone());
    }
    if !any_named {
        return None;
    }
    if name == "make_interval" {
        let zero = || literal(Value::Number("0".to_owned(), false));
        let values = values.into_iter().map(|value| value.unwrap_or_else(zero)).collect();
        return Some(call(&name, values));
    }
    // Start and finish of a zone that is not given are two arguments, not three.
    let values = values.into_iter().enumerate().filter(|(at, value)| {
        value.is_some() || (*at > 2 && name == "time_bucket_gapfill") || (*at == 1 && name == "locf")
    });
    let values = values.map(|(_, value)| value.unwrap_or_else(|| literal(Value::Null))).collect();
    Some(renamed(original, &name, values))
}

/// The call with another name and other arguments; clauses such as FILTER and ORDER BY stay.
fn renamed(original: &Function, name: &str, values: Vec<Expr>) -> Expr {
    let mut function = Function { args: function(name, values).args, ..original.clone() };
    function.name = self::function(name, Vec::new()).name;
    if let (FunctionArguments::List(to), FunctionArguments::List(from)) = (&mut function.args, &original.args) {
        to.clauses = from.clauses.clone();
        to.duplicate_treatment = from.duplicate_treatment;
    }
    Expr::Function(function)
}

/// `first(value, time)` as `first_value(value ORDER BY time)` of the rows that have a time.
fn at_the_end(original: &Function, value: &Expr, time: &Expr, first: bool) -> Expr {
    let options = OrderByOptions { asc: Some(true), nulls_first: Some(false) };
    let order = OrderByExpr { expr: time.clone(), options, with_fill: None };
    let has_time = Expr::IsNotNull(Box::new(Expr::Nested(Box::new(time.clone()))));
    let filter = match &original.filter {
        Some(filter) => Expr::BinaryOp {
            left: Box::new(Expr::Nested(filter.clone())),
            op: BinaryOperator::And,
            right: Box::new(has_time),
        },
        None => has_time,
    };
    let name = if first { "first_value" } else { "last_value" };
    let Expr::Function(mut function) = renamed(original, name, vec![value.clone()]) else { return value.clone() };
    function.filter = Some(Box::new(filter));
    if let FunctionArguments::List(list) = &mut function.args {
        list.clauses = vec![FunctionArgumentClause::OrderBy(vec![order])];
    }
    Expr::Function(function)
}

/// `percentile_disc(f) WITHIN GROUP (ORDER BY x DESC)` as `percentile_disc(x, f, true)`.
fn ordered_set(original: &Function, fractions: Option<&Expr>) -> Option<Expr> {
    let [order] = original.within_group.as_slice() else { return None };
    let name = bare_name(&original.name);
    let name = match (name.as_str(), fractions) {
        ("percentile_cont", Some(fractions)) if is_array(fractions) => "percentile_cont_of_array",
        ("percentile_cont", _) => percentile::NAME,
        (other, _) => other,
    };
    let descending = literal(Value::Boolean(order.options.asc == Some(false)));
    let mut values = vec![order.expr.clone()];
    values.extend(fractions.cloned());
    values.push(descending);
    let Expr::Function(mut function) = renamed(original, name, values) else { return None };
    function.within_group = Vec::new();
    Some(Expr::Function(function))
}

fn is_array(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_array(inner),
        Expr::Cast { expr, data_type, .. } => {
            is_array(expr) || matches!(data_type, datafusion::sql::sqlparser::ast::DataType::Array(_))
        }
        Expr::Array(_) => true,
        _ => false,
    }
}

fn json_array(original: &Function, value: &Expr) -> Expr {
    let (element, whole) = match bare_name(&original.name).as_str() {
        "json_agg" => ("to_json", "json_array_of"),
        _ => ("to_jsonb", "jsonb_array_of"),
    };
    call(whole, vec![renamed(original, "array_agg", vec![call(element, vec![value.clone()])])])
}

fn json_object(original: &Function, key: &Expr, value: &Expr) -> Expr {
    let (element, whole) = match bare_name(&original.name).as_str() {
        "json_object_agg" => ("to_json", "json_object_of"),
        _ => ("to_jsonb", "jsonb_object_of"),
    };
    let keys = renamed(original, "array_agg", vec![call("postgres_text", vec![key.clone()])]);
    call(whole, vec![keys, renamed(original, "array_agg", vec![call(element, vec![value.clone()])])])
}
