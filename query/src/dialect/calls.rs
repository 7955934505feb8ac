//! Calls of functions that the engine knows under another name, or as a composition of others.

use super::build::{arguments, bare_name, call, function, literal};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    OrderByExpr, OrderByOptions, Value,
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
        ("timezone", [zone, time]) => Some(call("at_time_zone", vec![time.clone(), zone.clone()])),
        _ => None,
    }
}

/// `time_bucket(width, time, origin => ..)` with arguments in their order; NULL stands for what is not given.
fn without_names(original: &Function) -> Option<Expr> {
    let name = bare_name(&original.name);
    let names: &[&str] = match name.as_str() {
        "time_bucket" => &["bucket_width", "ts", "timezone", "origin", "offset"],
        "time_bucket_gapfill" => &["bucket_width", "time", "timezone", "start", "finish"],
        "locf" => &["value", "prev", "treat_null_as_missing"],
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

/// `percentile_disc(f) WITHIN GROUP (ORDER BY x DESC)` as `percentile_disc(x, f, true)`. `percentile_cont` of a single
/// fraction is the engine's own.
fn ordered_set(original: &Function, fractions: Option<&Expr>) -> Option<Expr> {
    let [order] = original.within_group.as_slice() else { return None };
    let name = bare_name(&original.name);
    let name = match (name.as_str(), fractions) {
        ("percentile_cont", Some(fractions)) if !is_array(fractions) => return None,
        ("percentile_cont", _) => "percentile_cont_of_array",
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
