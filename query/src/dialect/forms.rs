//! Forms of single expressions and whole queries that the engine reads as something else, or not at all.

use super::build::{call, literal};
use crate::error::QueryError;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CharacterLength, DataType, Expr, JoinConstraint, JoinOperator, LimitClause,
    Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Subscript, UnaryOperator, Value,
};

fn not_supported<T>(what: &str) -> Result<T, QueryError> {
    Err(QueryError::NotSupported { what: what.to_owned() })
}

/// The same expression in the words of the engine, where it has one.
pub(super) fn translated(expr: &Expr) -> Result<Option<Expr>, QueryError> {
    Ok(match expr {
        Expr::UnaryOp { op, expr: operand } => unary(op, operand),
        Expr::Cast { data_type: DataType::Char(Some(_)) | DataType::Character(Some(_)), .. } => {
            return not_supported("a text padded with spaces, character(n) (use varchar(n) or text)");
        }
        Expr::Cast { expr: text, data_type, array: false, .. } => cast(text, data_type),
        Expr::Substring { expr: text, substring_from: Some(pattern), substring_for: None, .. } if is_text(pattern) => {
            let matched = call("regexp_match", vec![(**text).clone(), (**pattern).clone()]);
            Some(call("array_element", vec![matched, literal(Value::Number("1".to_owned(), false))]))
        }
        Expr::Collate { expr: text, collation } => {
            let name = collation.0.last().and_then(|part| part.as_ident()).map(|word| word.value.to_lowercase());
            match name.as_deref() {
                // Texts are compared by their bytes.
                Some("c" | "posix" | "ucs_basic" | "default") => Some((**text).clone()),
                _ => return not_supported(&format!("the collation {collation} (use COLLATE \"C\")")),
            }
        }
        // PostgreSQL's arrays have no items at negative positions, the engine's count them from the end.
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut chain = access_chain.clone();
            let mut changed = false;
            for access in &mut chain {
                if let AccessExpr::Subscript(Subscript::Index { index }) = access
                    && matches!(index, Expr::UnaryOp { op: UnaryOperator::Minus, .. })
                {
                    *index = literal(Value::Number("0".to_owned(), false));
                    changed = true;
                }
            }
            changed.then(|| Expr::CompoundFieldAccess { root: root.clone(), access_chain: chain })
        }
        _ => None,
    })
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(
        value.value,
        Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_) | Value::DollarQuotedString(_)
    ))
}

fn unary(op: &UnaryOperator, operand: &Expr) -> Option<Expr> {
    let nested = |expr: Expr| Expr::Nested(Box::new(expr));
    match (op, operand) {
        (UnaryOperator::PGAbs, _) => Some(call("abs", vec![operand.clone()])),
        (UnaryOperator::PGSquareRoot, _) => Some(call("sqrt", vec![operand.clone()])),
        (UnaryOperator::PGCubeRoot, _) => Some(call("cbrt", vec![operand.clone()])),
        (UnaryOperator::BitwiseNot, _) => Some(nested(Expr::BinaryOp {
            left: Box::new(Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(literal(Value::Number("1".to_owned(), false))),
            }),
            op: BinaryOperator::Minus,
            right: Box::new(nested(operand.clone())),
        })),
        // A sign binds closer than a power: -2 ^ 2 is 4.
        (UnaryOperator::Minus, Expr::BinaryOp { left, op: op @ BinaryOperator::PGExp, right }) => {
            let negative = Expr::UnaryOp { op: UnaryOperator::Minus, expr: left.clone() };
            Some(Expr::BinaryOp { left: Box::new(nested(negative)), op: op.clone(), right: right.clone() })
        }
        _ => None,
    }
}

fn cast(value: &Expr, data_type: &DataType) -> Option<Expr> {
    let to = |expr: Expr, data_type: DataType| Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    };
    match data_type {
        DataType::Varchar(Some(length)) | DataType::CharacterVarying(Some(length)) => {
            let CharacterLength::IntegerLength { length, .. } = length else { return None };
            let whole = to(value.clone(), DataType::Text);
            Some(call("left", vec![whole, literal(Value::Number(length.to_string(), false))]))
        }
        DataType::CharacterVarying(None) => Some(to(value.clone(), DataType::Text)),
        DataType::Array(item) => {
            let item = match item {
                datafusion::sql::sqlparser::ast::ArrayElemTypeDef::SquareBracket(item, _) => item,
                _ => return None,
            };
            let text = match value {
                Expr::Value(value) => match &value.value {
                    Value::SingleQuotedString(text) if text.trim_start().starts_with('{') => text,
                    _ => return None,
                },
                _ => return None,
            };
            let items = super::split_array(text)?;
            if items.is_empty() {
                let none = Expr::Array(datafusion::sql::sqlparser::ast::Array { elem: Vec::new(), named: false });
                return Some(to(none, data_type.clone()));
            }
            let items = items.into_iter().map(|item_text| {
                let item_text = item_text.map_or(Value::Null, Value::SingleQuotedString);
                to(literal(item_text), (**item).clone())
            });
            Some(Expr::Array(datafusion::sql::sqlparser::ast::Array { elem: items.collect(), named: false }))
        }
        _ => None,
    }
}

/// Sums and products of literals with a point, exactly, as those of `numeric` are: `0.1 + 0.2` is `0.3`.
pub(super) fn folded(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryOp { left, op, right } = expr else { return None };
    let ((left, left_scale), (right, right_scale)) = (decimal(left)?, decimal(right)?);
    if left_scale + right_scale == 0 {
        return None;
    }
    let scale = left_scale.max(right_scale);
    let at_scale = |value: i128, of: u32| value.checked_mul(10_i128.checked_pow(scale - of)?);
    let (value, scale) = match op {
        BinaryOperator::Multiply => (left.checked_mul(right)?, left_scale + right_scale),
        BinaryOperator::Plus => (at_scale(left, left_scale)?.checked_add(at_scale(right, right_scale)?)?, scale),
        BinaryOperator::Minus => (at_scale(left, left_scale)?.checked_sub(at_scale(right, right_scale)?)?, scale),
        _ => return None,
    };
    let places = usize::try_from(scale).ok()?;
    let digits = format!("{:0width$}", value.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let number = literal(Value::Number(format!("{whole}.{fraction}"), false));
    Some(match value < 0 {
        true => Expr::Nested(Box::new(Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number) })),
        false => number,
    })
}

/// A number without an exponent as its digits and how many of them are after the point.
fn decimal(expr: &Expr) -> Option<(i128, u32)> {
    match expr {
        Expr::Nested(inner) => decimal(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => decimal(expr).map(|(value, scale)| (-value, scale)),
        Expr::Value(value) => {
            let Value::Number(text, _) = &value.value else { return None };
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let digits = format!("{whole}{fraction}");
            let plain = digits.len() <= 18 && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten().zip(u32::try_from(fraction.len()).ok())
        }
        _ => None,
    }
}

/// Refuses what the engine would answer in another way, and puts FETCH into LIMIT.
pub(super) fn query(query: &mut Query) -> Result<(), QueryError> {
    set_operations(&query.body)?;
    if let Some(fetch) = query.fetch.take() {
        if fetch.with_ties || fetch.percent {
            return not_supported("FETCH ... WITH TIES (use rank() in a subquery)");
        }
        let quantity = fetch.quantity.unwrap_or_else(|| literal(Value::Number("1".to_owned(), false)));
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(quantity),
            None => {
                let limit = Some(quantity);
                query.limit_clause = Some(LimitClause::LimitOffset { limit, offset: None, limit_by: Vec::new() });
            }
            Some(_) => return not_supported("FETCH beside LIMIT"),
        }
    }
    Ok(())
}

fn set_operations(body: &SetExpr) -> Result<(), QueryError> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else { return Ok(()) };
    let all = matches!(set_quantifier, SetQuantifier::All);
    if all && matches!(op, SetOperator::Except | SetOperator::Intersect | SetOperator::Minus) {
        return not_supported(&format!("{op} ALL (use {op}, or count rows with GROUP BY)"));
    }
    set_operations(left)?;
    set_operations(right)
}

/// Refuses what the engine would answer in another way.
pub(super) fn select(select: &Select) -> Result<(), QueryError> {
    use JoinOperator::{FullOuter, Right, RightOuter};
    for join in select.from.iter().flat_map(|from| &from.joins) {
        if let FullOuter(JoinConstraint::Using(_) | JoinConstraint::Natural) = join.join_operator {
            return not_supported("FULL JOIN ... USING (use ON, and coalesce(a.x, b.x) for the column)");
        }
        if let Right(constraint) | RightOuter(constraint) = &join.join_operator {
            // The engine shows the left side's value of the merged column.
            if matches!(constraint, JoinConstraint::Natural) {
                return not_supported("NATURAL RIGHT JOIN (use RIGHT JOIN ... USING)");
            }
            let all = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
            if matches!(constraint, JoinConstraint::Using(_)) && select.projection.iter().any(all) {
                return not_supported("* of RIGHT JOIN ... USING (list the columns, or use LEFT JOIN)");
            }
        }
    }
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(Expr::Tuple(_)) | SelectItem::ExprWithAlias { expr: Expr::Tuple(_), .. } => {
                return not_supported("a row as a column (list its fields)");
            }
            SelectItem::ExprWithAlias { expr, alias } if alias.quote_style.is_none() => {
                let word = alias.value.to_ascii_lowercase();
                if word == "isnull" || word == "notnull" {
                    return not_supported("ISNULL (write IS NULL or IS NOT NULL)");
                }
                // 0o17 and 0b101 are numbers that the parser takes for 0 and a name.
                let zero = matches!(expr, Expr::Value(value) if value.value == Value::Number("0".to_owned(), false));
                if zero && word.starts_with(['o', 'b', 'x']) && word[1..].starts_with(|c: char| c.is_ascii_digit()) {
                    return not_supported("a number of another base than ten");
                }
            }
            _ => {}
        }
    }
    Ok(())
}
