//! Rows compared with rows, field by field: `(a, b) > (c, d)`, `(a, b) IN (...)`, `OVERLAPS`.

use super::build::{call, literal};
use datafusion::sql::sqlparser::ast::{BinaryOperator, DataType, Expr, UnaryOperator, Value};

/// The same comparison without rows; `None` if there is none, or if rows are compared in a way that is not known.
pub(super) fn compared(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => overlap(&fields(left)?, &fields(right)?),
        Expr::BinaryOp { left, op, right } => comparison(op, &fields(left)?, &fields(right)?),
        Expr::InList { expr, list, negated } => {
            let left = fields(expr)?;
            let equal = |item: &Expr| comparison(&BinaryOperator::Eq, &left, &fields(item)?);
            let any = list.iter().map(equal).collect::<Option<Vec<_>>>()?.into_iter().reduce(or)?;
            Some(if *negated { not(any) } else { any })
        }
        Expr::IsNull(row) => joined(&fields(row)?, |field| Expr::IsNull(Box::new(field))),
        Expr::IsNotNull(row) => joined(&fields(row)?, |field| Expr::IsNotNull(Box::new(field))),
        Expr::IsDistinctFrom(left, right) => pairs(&fields(left)?, &fields(right)?)?
            .map(|(left, right)| Expr::IsDistinctFrom(Box::new(left), Box::new(right)))
            .reduce(or),
        Expr::IsNotDistinctFrom(left, right) => pairs(&fields(left)?, &fields(right)?)?
            .map(|(left, right)| Expr::IsNotDistinctFrom(Box::new(left), Box::new(right)))
            .reduce(and),
        _ => None,
    }
}

/// The fields of `(a, b)` and of `ROW(a, b)`.
fn fields(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(fields) => Some(fields.clone()),
        Expr::Function(function) if super::build::bare_name(&function.name) == "row" => {
            super::build::arguments(&function.args)
        }
        Expr::Nested(inner) => fields(inner),
        _ => None,
    }
}

fn pairs<'a>(left: &'a [Expr], right: &'a [Expr]) -> Option<impl Iterator<Item = (Expr, Expr)> + 'a> {
    let nested = |expr: &Expr| Expr::Nested(Box::new(expr.clone()));
    (left.len() == right.len() && !left.is_empty())
        .then(|| left.iter().map(nested).zip(right.iter().map(nested)).collect::<Vec<_>>().into_iter())
}

fn joined(fields: &[Expr], each: impl Fn(Expr) -> Expr) -> Option<Expr> {
    fields.iter().map(|field| each(Expr::Nested(Box::new(field.clone())))).reduce(and)
}

/// The first pair of fields that differ decides; a NULL in it makes the comparison NULL.
fn comparison(op: &BinaryOperator, left: &[Expr], right: &[Expr]) -> Option<Expr> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let mut pairs: Vec<(Expr, Expr)> = pairs(left, right)?.collect();
    let decides = match op {
        Eq => return pairs.into_iter().map(|(left, right)| binary(left, Eq, right)).reduce(and),
        NotEq => return pairs.into_iter().map(|(left, right)| binary(left, NotEq, right)).reduce(or),
        Lt | LtEq => Lt,
        Gt | GtEq => Gt,
        _ => return None,
    };
    let (left, right) = pairs.pop()?;
    let last = binary(left, op.clone(), right);
    Some(pairs.into_iter().rfold(last, |rest, (left, right)| {
        or(binary(left.clone(), decides.clone(), right.clone()), and(binary(left, Eq, right), rest))
    }))
}

/// `(start, end) OVERLAPS (start, end)`: an end may come first, or be how long it takes.
fn overlap(left: &[Expr], right: &[Expr]) -> Option<Expr> {
    let bounds = |period: &[Expr]| -> Option<(Expr, Expr)> {
        let [start, end] = period else { return None };
        let end = match end {
            Expr::Interval(_) => binary(start.clone(), BinaryOperator::Plus, end.clone()),
            Expr::Cast { data_type: DataType::Interval { .. }, .. } => {
                binary(start.clone(), BinaryOperator::Plus, end.clone())
            }
            other => other.clone(),
        };
        Some((call("least", vec![start.clone(), end.clone()]), call("greatest", vec![start.clone(), end])))
    };
    let ((start, end), (other_start, other_end)) = (bounds(left)?, bounds(right)?);
    let meet =
        and(binary(start.clone(), BinaryOperator::Lt, other_end), binary(other_start.clone(), BinaryOperator::Lt, end));
    Some(or(meet, binary(start, BinaryOperator::Eq, other_start)))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }))
}

fn and(left: Expr, right: Expr) -> Expr {
    binary(left, BinaryOperator::And, right)
}

fn or(left: Expr, right: Expr) -> Expr {
    binary(left, BinaryOperator::Or, right)
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(expr))) }
}

/// `text LIKE pattern ESCAPE character` as LIKE with a backslash, which is the one that the engine knows; and `LIKE ANY`
/// and `LIKE ALL` of a list as single ones.
pub(super) fn like(expr: &Expr) -> Option<Expr> {
    let (Expr::Like { negated, any, expr: text, pattern, escape_char }
    | Expr::ILike { negated, any, expr: text, pattern, escape_char }) = expr
    else {
        return None;
    };
    let one = |pattern: Expr| {
        let (negated, text, pattern) = (*negated, text.clone(), Box::new(pattern));
        match expr {
            Expr::ILike { .. } => Expr::ILike { negated, any: false, expr: text, pattern, escape_char: None },
            _ => Expr::Like { negated, any: false, expr: text, pattern, escape_char: None },
        }
    };
    let all = match pattern.as_ref() {
        Expr::Function(function) if super::build::bare_name(&function.name) == "all" => {
            super::build::arguments(&function.args)
        }
        _ => None,
    };
    if let Some([list]) = all.as_deref() {
        let every = super::elements(list)?.into_iter().map(|pattern| Expr::Nested(Box::new(one(pattern))));
        return every.reduce(and).or_else(|| Some(literal(Value::Boolean(true))));
    }
    if *any {
        let patterns = super::elements(pattern)?;
        let alternatives = patterns.into_iter().map(|pattern| Expr::Nested(Box::new(one(pattern))));
        return alternatives.reduce(or).or_else(|| Some(literal(Value::Boolean(false))));
    }
    let escape = escape_char.as_ref()?;
    let pattern = match (pattern.as_ref(), &escape.value) {
        (Expr::Value(pattern), Value::SingleQuotedString(escape)) => match &pattern.value {
            Value::SingleQuotedString(pattern) if escape.chars().count() <= 1 => {
                literal(Value::SingleQuotedString(with_backslashes(pattern, escape.chars().next())))
            }
            _ => return None,
        },
        (other, _) => call("like_escape", vec![other.clone(), Expr::Value(escape.clone())]),
    };
    Some(one(pattern))
}

/// A pattern of LIKE with `escape` before special characters, with a backslash there instead.
pub(crate) fn with_backslashes(pattern: &str, escape: Option<char>) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            out.push('\\');
            out.extend(characters.next());
        } else if character == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(character);
        }
    }
    out
}
