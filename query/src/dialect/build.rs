//! Pieces of parsed statements.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, Value,
};

/// `name(arguments)`.
pub(super) fn function(name: &str, arguments: Vec<Expr>) -> Function {
    let unnamed = |argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument));
    Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into_iter().map(unnamed).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

/// `name(arguments)` as an expression.
pub(crate) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    Expr::Function(function(name, arguments))
}

/// A literal.
pub(super) fn literal(value: Value) -> Expr {
    Expr::Value(value.into())
}

/// The arguments of a call, if all are plain expressions.
pub(super) fn arguments(arguments: &FunctionArguments) -> Option<Vec<Expr>> {
    match arguments {
        FunctionArguments::None => Some(Vec::new()),
        FunctionArguments::Subquery(_) => None,
        FunctionArguments::List(list) => plain(&list.args),
    }
}

/// `arguments`, if all are plain expressions.
pub(super) fn plain(arguments: &[FunctionArg]) -> Option<Vec<Expr>> {
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    arguments.iter().map(argument).collect()
}

/// The name of a function without its schema, in lower case unless it is quoted.
pub(super) fn bare_name(name: &ObjectName) -> String {
    let last = name.0.last().and_then(|part| part.as_ident());
    last.map_or_else(String::new, |word| match word.quote_style {
        Some(_) => word.value.clone(),
        None => word.value.to_lowercase(),
    })
}

/// Gives NULL among the elements of an array the type that another element names: for uuid and bytea the engine finds none
/// that both have.
pub(crate) fn type_nulls(elements: &mut [Expr]) {
    let is_null = |element: &Expr| matches!(element, Expr::Value(value) if value.value == Value::Null);
    let named = elements.iter().find_map(|element| match element {
        Expr::Cast { data_type, .. } => Some(data_type.clone()),
        Expr::Value(value) if matches!(value.value, Value::HexStringLiteral(_)) => Some(DataType::Bytea),
        _ => None,
    });
    let Some(data_type) = named else { return };
    for element in elements.iter_mut().filter(|element| is_null(element)) {
        *element = Expr::Cast {
            kind: CastKind::DoubleColon,
            expr: Box::new(literal(Value::Null)),
            data_type: data_type.clone(),
            array: false,
            format: None,
        };
    }
}
