//! Names with the system's schema, words that are functions, and casts between numbers of objects and their names.

use super::{column_name, text};
use crate::dialect::build::call;
use crate::functions::described::{NAME_OF_OID, OID_OF};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Query,
    SelectItem, SetExpr, Statement, TableFactor, Value, VisitorMut,
};
use std::ops::ControlFlow;

/// Columns that hold functions by their names, where PostgreSQL has numbers that it shows as names.
const FUNCTION_COLUMNS: [&str; 33] = [
    "aggcombinefn",
    "aggdeserialfn",
    "aggfinalfn",
    "aggfnoid",
    "aggmfinalfn",
    "aggminvtransfn",
    "aggmtransfn",
    "aggserialfn",
    "aggtransfn",
    "amhandler",
    "amproc",
    "conproc",
    "oprcode",
    "oprjoin",
    "oprrest",
    "prosupport",
    "prsend",
    "prsheadline",
    "prslextype",
    "prsstart",
    "prstoken",
    "rngcanonical",
    "rngsubdiff",
    "tmplinit",
    "tmpllexize",
    "typanalyze",
    "typinput",
    "typmodin",
    "typmodout",
    "typoutput",
    "typreceive",
    "typsend",
    "typsubscript",
];

/// Types whose values are numbers of objects that show as names.
const OID_TYPES: [&str; 9] =
    ["oid", "regclass", "regtype", "regproc", "regprocedure", "regnamespace", "regrole", "regoper", "regoperator"];

/// The type's name if its values are numbers of objects.
fn oid_type(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, arguments) if arguments.is_empty() => without_schema(name)?.to_lowercase(),
        _ => return None,
    };
    OID_TYPES.contains(&name.as_str()).then_some(name)
}

/// The last part of a name that has no schema, or the system's.
fn without_schema(name: &ObjectName) -> Option<String> {
    let parts: Vec<_> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    match parts.as_slice() {
        [only] => Some(only.value.clone()),
        [schema, name] if is_system(&schema.value) => Some(name.value.clone()),
        _ => None,
    }
}

fn is_system(schema: &str) -> bool {
    ["pg_catalog", "information_schema", "public"].iter().any(|known| schema.eq_ignore_ascii_case(known))
}

fn strip(name: &mut ObjectName) {
    let with_schema = name.0.len() == 2
        && name.0.first().and_then(|part| part.as_ident()).is_some_and(|schema| is_system(&schema.value));
    if with_schema {
        name.0.remove(0);
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Text | DataType::Varchar(_) => true,
        DataType::Custom(name, _) => {
            without_schema(name).is_some_and(|name| matches!(name.as_str(), "text" | "varchar" | "name"))
        }
        _ => false,
    }
}

/// The value and type of `value::regclass`.
fn oid_cast(expr: &Expr) -> Option<(&Expr, String)> {
    match expr {
        Expr::Nested(inner) => oid_cast(inner),
        Expr::Cast { expr, data_type, .. } => Some((expr, oid_type(data_type)?)),
        _ => None,
    }
}

/// `value::regclass` as the text that it shows; `oid` shows as a number.
fn shown(expr: &Expr) -> Option<Expr> {
    let (value, kind) = oid_cast(expr).filter(|(_, kind)| kind != "oid")?;
    Some(call(NAME_OF_OID, vec![text(&kind), numbered(value, &kind)]))
}

/// The number that a text or a parameter of the type stands for; other values are numbers, or casts that say it.
fn numbered(value: &Expr, kind: &str) -> Expr {
    match value {
        Expr::Value(given) if !matches!(given.value, Value::Number(..)) => {
            call(OID_OF, vec![text(kind), value.clone()])
        }
        other => other.clone(),
    }
}

/// What the statement's own columns show of numbers that are cast to `regclass` and its like are names.
pub(super) fn name_shown_oids(statement: &mut Statement) {
    fn of_body(body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => {
                for item in &mut select.projection {
                    if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                        && let Some(name) = shown(expr)
                    {
                        *expr = name;
                    }
                }
            }
            SetExpr::Query(query) => of_query(query),
            SetExpr::SetOperation { left, right, .. } => {
                of_body(left);
                of_body(right);
            }
            _ => {}
        }
    }
    fn of_query(query: &mut Query) {
        of_body(&mut query.body);
    }
    if let Statement::Query(query) = statement {
        of_query(query);
    }
}

/// Visits every expression before what is inside of it.
pub(super) struct Names;

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        match table {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => strip(name),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        while let Expr::Collate { expr: inner, collation } = expr
            && collation.0.len() == 2
        {
            // What psql writes, `COLLATE pg_catalog.default`; others the dialect knows or refuses.
            *expr = (**inner).clone();
        }
        match expr {
            Expr::Function(function) => of_function(function),
            Expr::BinaryOp { left, op, right } => of_operator(left, op, right),
            _ => {}
        }
        if let Some(function) = of_word(expr) {
            *expr = function;
        }
        if let Some(plain) = of_cast(expr) {
            *expr = plain;
        }
        if let Some(list) = search_path(expr) {
            *expr = list;
        }
        ControlFlow::Continue(())
    }
}

fn of_function(function: &mut Function) {
    strip(&mut function.name);
    let name = function.name.to_string().to_lowercase();
    if matches!(name.as_str(), "format" | "concat" | "concat_ws" | "quote_ident" | "quote_literal")
        && let FunctionArguments::List(arguments) = &mut function.args
    {
        for argument in &mut arguments.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument
                && let Some(name) = shown(value)
            {
                *value = name;
            }
        }
    }
}

fn of_operator(left: &mut Expr, op: &mut BinaryOperator, right: &mut Expr) {
    if let BinaryOperator::PGCustomBinaryOperator(parts) = op
        && let [schema, symbol] = parts.as_slice()
        && is_system(schema)
    {
        *op = match symbol.as_str() {
            "~" => BinaryOperator::PGRegexMatch,
            "~*" => BinaryOperator::PGRegexIMatch,
            "!~" => BinaryOperator::PGRegexNotMatch,
            "!~*" => BinaryOperator::PGRegexNotIMatch,
            "~~" => BinaryOperator::PGLikeMatch,
            "!~~" => BinaryOperator::PGNotLikeMatch,
            "=" => BinaryOperator::Eq,
            "<>" => BinaryOperator::NotEq,
            "<" => BinaryOperator::Lt,
            ">" => BinaryOperator::Gt,
            "<=" => BinaryOperator::LtEq,
            ">=" => BinaryOperator::GtEq,
            "+" => BinaryOperator::Plus,
            "-" => BinaryOperator::Minus,
            "*" => BinaryOperator::Multiply,
            "/" => BinaryOperator::Divide,
            "||" => BinaryOperator::StringConcat,
            _ => return,
        };
    }
    match op {
        BinaryOperator::StringConcat => {
            for side in [left, right] {
                if let Some(name) = shown(side) {
                    *side = name;
                }
            }
        }
        BinaryOperator::Eq | BinaryOperator::NotEq => {
            compare_functions(left, right);
            compare_functions(right, left);
        }
        _ => {}
    }
}

/// A column of function names beside what PostgreSQL compares with its number.
fn compare_functions(column: &mut Expr, other: &mut Expr) {
    let of_functions =
        column_name(column).is_some_and(|name| FUNCTION_COLUMNS.contains(&name.value.to_lowercase().as_str()));
    if !of_functions {
        return;
    }
    let literal = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) if digits == "0" => Some("-".to_owned()),
            Value::SingleQuotedString(name) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    };
    let name = literal(other).or_else(|| {
        let (value, _) = oid_cast(other)?;
        literal(value)
    });
    match name {
        Some(name) => *other = text(name.strip_prefix("pg_catalog.").unwrap_or(&name)),
        None if column_name(other).is_some_and(|name| name.value.eq_ignore_ascii_case("oid")) => {
            *column = call(OID_OF, vec![text("regproc"), column.clone()]);
        }
        None => {}
    }
}

/// `current_user` and other words that are calls without parentheses.
fn of_word(expr: &Expr) -> Option<Expr> {
    let name = match expr {
        Expr::Identifier(name) if name.quote_style.is_none() => name.value.to_lowercase(),
        Expr::Function(function) if matches!(function.args, FunctionArguments::None) => {
            function.name.to_string().to_lowercase()
        }
        Expr::Function(function) if matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty()) => {
            function.name.to_string().to_lowercase()
        }
        _ => return None,
    };
    let function = match name.as_str() {
        "current_catalog" => "current_database",
        "current_schema" => "current_schema",
        "current_user" | "session_user" | "current_role" | "user" => "session_user",
        _ => return None,
    };
    Some(call(function, Vec::new()))
}

/// Casts to types of object numbers, and from those to text.
fn of_cast(expr: &Expr) -> Option<Expr> {
    let Expr::Cast { expr: value, data_type, .. } = expr else { return None };
    if is_text(data_type)
        && let Some(name) = shown(value)
    {
        return Some(name);
    }
    if let Some(kind) = oid_type(data_type) {
        return Some(call(OID_OF, vec![text(&kind), (**value).clone()]));
    }
    // The types `name` and "char" are texts.
    match data_type {
        DataType::Custom(name, arguments)
            if arguments.is_empty() && matches!(without_schema(name)?.as_str(), "name" | "char") =>
        {
            let mut text = expr.clone();
            if let Expr::Cast { data_type, .. } = &mut text {
                *data_type = DataType::Text;
            }
            Some(text)
        }
        _ => None,
    }
}

/// Grafana's query for the schemas of the search path, which indexes an array by a row: there is one.
fn search_path(expr: &Expr) -> Option<Expr> {
    let Expr::InSubquery { expr: schema, subquery, negated } = expr else { return None };
    let text = subquery.to_string();
    let asks = text.contains("string_to_array(current_setting('search_path')") && text.contains("generate_series");
    asks.then(|| Expr::InList { expr: schema.clone(), list: vec![super::text("public")], negated: *negated })
}
