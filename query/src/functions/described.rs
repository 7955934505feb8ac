//! Functions that read pg_catalog for clients: names of numbers, numbers of names, descriptions, definitions.

use crate::error::QueryError;
use crate::functions::catalog::type_named;
use crate::functions::listed::OwnFunction;
use crate::provider::catalog::Describing;
use crate::provider::pg_static::{FunctionRow, known};
use crate::provider::relations::{NAMESPACES, OWNER, OWNER_OID, Relations, identifiers, quoted};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The function that `x::regclass` and its like become, and what `x::regclass::text` becomes. The first argument is the
/// type: `regclass`, `regtype`, ...
pub(crate) const OID_OF: &str = "oid_of";
/// See [`OID_OF`].
pub(crate) const NAME_OF_OID: &str = "name_of_oid";

/// One argument in one row.
enum Value<'a> {
    Null,
    Number(i64),
    Text(&'a str),
    /// Of a type that these functions do not read.
    Other,
}

impl Value<'_> {
    fn number(&self) -> Option<i32> {
        match self {
            Self::Number(number) => i32::try_from(*number).ok(),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Null | Self::Other => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// What a function answers for the arguments of one row.
#[derive(Clone, Copy)]
enum Work {
    Text(fn(&Relations, &[Value<'_>]) -> Option<String>),
    Flag(fn(&Relations, &[Value<'_>]) -> Option<bool>),
    Oid(fn(&Relations, &[Value<'_>]) -> Result<Option<i32>, QueryError>),
}

struct Described {
    name: &'static str,
    work: Work,
    describing: Describing,
    signature: Signature,
}

impl std::fmt::Debug for Described {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Described").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Described {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Described {}

impl Hash for Described {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Described {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.work {
            Work::Text(_) => DataType::Utf8,
            Work::Flag(_) => DataType::Boolean,
            Work::Oid(_) => DataType::Int32,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let field = Field::new(self.name, self.return_type(&types)?, true);
        Ok(Arc::new(match self.work {
            Work::Oid(_) => field
                .with_metadata(HashMap::from([(arrow_pg::datatypes::PG_OID_ALIAS_KEY.to_owned(), "oid".to_owned())])),
            _ => field,
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let relations = self.describing.relations()?;
        let constant = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|argument| plain(argument.to_array(rows)?)).collect::<Result<Vec<_>>>()?;
        let values = |row: usize| -> Vec<Value<'_>> { columns.iter().map(|column| value(column, row)).collect() };
        let result: ArrayRef = match self.work {
            Work::Text(work) => Arc::new((0..rows).map(|row| work(&relations, &values(row))).collect::<StringArray>()),
            Work::Flag(work) => Arc::new((0..rows).map(|row| work(&relations, &values(row))).collect::<BooleanArray>()),
            Work::Oid(work) => Arc::new(
                (0..rows).map(|row| work(&relations, &values(row))).collect::<std::result::Result<Int32Array, _>>()?,
            ),
        };
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// Texts as `Utf8`, numbers and flags as `Int64`.
fn plain(column: ArrayRef) -> Result<ArrayRef> {
    let to = match column.data_type() {
        DataType::Utf8 | DataType::Int64 | DataType::Null => return Ok(column),
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..) => DataType::Utf8,
        kind if kind.is_integer() => DataType::Int64,
        _ => return Ok(column),
    };
    Ok(cast(&column, &to)?)
}

fn value(column: &ArrayRef, row: usize) -> Value<'_> {
    match column.data_type() {
        _ if column.is_null(row) => Value::Null,
        DataType::Int64 => Value::Number(column.as_primitive::<Int64Type>().value(row)),
        DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row)),
        _ => Value::Other,
    }
}

/// The functions, of what is described there.
pub(crate) fn functions(describing: &Describing) -> Vec<ScalarUDF> {
    let text = Work::Text;
    let all: [(&'static str, Work); 30] = [
        (OID_OF, Work::Oid(oid_of)),
        (NAME_OF_OID, text(name_of_oid)),
        ("to_regclass", text(|relations, arguments| Some(relations.named(arguments.first()?.text()?)?.display()))),
        ("obj_description", text(description)),
        ("col_description", text(column_description)),
        ("pg_get_viewdef", text(view_definition)),
        ("pg_table_is_visible", Work::Flag(is_visible)),
        ("format_type", text(|_, arguments| format_type(arguments))),
        ("pg_get_userbyid", text(|_, arguments| Some(role(arguments.first()?.number()?)))),
        ("pg_encoding_to_char", text(|_, arguments| Some(encoding(arguments.first()?.number()?).to_owned()))),
        ("getdatabaseencoding", text(|_, _| Some("UTF8".to_owned()))),
        ("pg_client_encoding", text(|_, _| Some("UTF8".to_owned()))),
        ("pg_get_function_result", text(|relations, arguments| signature(relations, arguments)?.result)),
        ("pg_get_function_arguments", text(|relations, arguments| Some(signature(relations, arguments)?.arguments))),
        (
            "pg_get_function_identity_arguments",
            text(|relations, arguments| Some(signature(relations, arguments)?.identity_arguments)),
        ),
        ("pg_get_partkeydef", text(|_, _| None)),
        ("pg_get_constraintdef", text(|_, _| None)),
        ("pg_get_expr", text(|_, _| None)),
        ("pg_relation_is_publishable", Work::Flag(|_, _| Some(false))),
        ("has_table_privilege", Work::Flag(|_, arguments| may(arguments, &["select"]))),
        ("has_column_privilege", Work::Flag(|_, arguments| may(arguments, &["select"]))),
        ("has_any_column_privilege", Work::Flag(|_, arguments| may(arguments, &["select"]))),
        ("has_schema_privilege", Work::Flag(|_, arguments| may(arguments, &["usage"]))),
        ("has_database_privilege", Work::Flag(|_, arguments| may(arguments, &["connect"]))),
        ("has_function_privilege", Work::Flag(|_, arguments| may(arguments, &["execute"]))),
        ("has_language_privilege", Work::Flag(|_, arguments| may(arguments, &["usage"]))),
        ("has_type_privilege", Work::Flag(|_, arguments| may(arguments, &["usage"]))),
        ("has_sequence_privilege", Work::Flag(|_, arguments| may(arguments, &[]))),
        ("has_tablespace_privilege", Work::Flag(|_, arguments| may(arguments, &[]))),
        ("has_server_privilege", Work::Flag(|_, arguments| may(arguments, &[]))),
    ];
    let signature =
        || Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Immutable);
    let function = |(name, work)| {
        ScalarUDF::from(Described { name, work, describing: describing.clone(), signature: signature() })
    };
    all.into_iter().map(function).collect()
}

/// The number that `text::kind` stands for. Numbers are taken as they are.
fn oid_of(relations: &Relations, arguments: &[Value<'_>]) -> Result<Option<i32>, QueryError> {
    let [Value::Text(kind), value, ..] = arguments else { return Ok(None) };
    let text = match value {
        Value::Null | Value::Other => return Ok(None),
        Value::Number(_) => return Ok(value.number()),
        Value::Text(text) => text.trim(),
    };
    if let Ok(number) = text.parse() {
        return Ok(Some(number));
    }
    if text == "-" {
        return Ok(Some(0));
    }
    let parts = identifiers(text).unwrap_or_default();
    let last = parts.last().map(String::as_str).unwrap_or_default();
    let found = match *kind {
        "regclass" => relations.named(text).map(|relation| relation.oid),
        "regtype" => type_named(text).and_then(|known| i32::try_from(known.oid()).ok()),
        "regnamespace" => NAMESPACES.iter().find(|(name, ..)| *name == last).map(|(_, oid, _)| *oid),
        "regrole" => (last == OWNER).then_some(OWNER_OID),
        // The catalog's columns of functions hold their names.
        "regproc" | "regprocedure" | "oid" => {
            let name = last.split('(').next().unwrap_or_default();
            let own = relations.functions().iter().find(|function| function.name == name).map(|own| own.oid);
            own.or_else(|| known().functions.get(name).copied())
        }
        _ => None,
    };
    match found {
        Some(oid) => Ok(Some(oid)),
        None => {
            let what = match *kind {
                "oid" => {
                    let problem = format!("invalid input syntax for type oid: \"{text}\"");
                    return Err(QueryError::InvalidText { problem });
                }
                "regclass" => "relation",
                "regproc" | "regprocedure" => "function",
                "regnamespace" => "schema",
                "regrole" => "role",
                "regtype" => "type",
                _ => "object",
            };
            Err(QueryError::UnknownName { what, name: text.to_owned() })
        }
    }
}

/// What `number::kind::text` shows: a number that nothing has is shown itself.
fn name_of_oid(relations: &Relations, arguments: &[Value<'_>]) -> Option<String> {
    let [Value::Text(kind), value, ..] = arguments else { return None };
    let oid = match value {
        Value::Null | Value::Other => return None,
        Value::Number(number) => i32::try_from(*number).ok()?,
        Value::Text(text) => match text.trim().parse() {
            Ok(number) => number,
            // A name already: the catalog's columns of functions hold names.
            Err(_) => return Some((*text).to_owned()),
        },
    };
    if oid == 0 {
        return Some("-".to_owned());
    }
    let name = match *kind {
        "regclass" => relations.with_oid(oid).map(|relation| relation.display()),
        "regtype" => Some(known().type_text(oid, None)).filter(|name| name != "???"),
        "regnamespace" => NAMESPACES.iter().find(|(_, known, _)| *known == oid).map(|(name, ..)| quoted(name)),
        "regrole" => (oid == OWNER_OID).then(|| OWNER.to_owned()),
        "regproc" => function(relations, oid).map(|function| function.name),
        "regprocedure" => {
            function(relations, oid).map(|function| format!("{}({})", function.name, function.identity_arguments))
        }
        _ => None,
    };
    Some(name.unwrap_or_else(|| oid.to_string()))
}

fn function(relations: &Relations, oid: i32) -> Option<FunctionRow> {
    let own = relations.functions().iter().find(|function| function.oid == oid).map(OwnFunction::row);
    own.or_else(|| known().signatures.get(&oid).cloned())
}

fn signature(relations: &Relations, arguments: &[Value<'_>]) -> Option<FunctionRow> {
    function(relations, arguments.first()?.number()?)
}

/// `obj_description(oid [, catalog])`.
fn description(relations: &Relations, arguments: &[Value<'_>]) -> Option<String> {
    let oid = arguments.first()?.number()?;
    match arguments.get(1).and_then(Value::text) {
        Some("pg_class") | None => relations.with_oid(oid)?.comment.clone(),
        Some("pg_namespace") => {
            NAMESPACES.iter().find(|(_, known, _)| *known == oid).map(|(.., text)| (*text).to_owned())
        }
        Some(catalog) => {
            let class = relations.named(catalog)?.oid;
            let own = relations.functions().iter().find(|function| catalog == "pg_proc" && function.oid == oid);
            own.map(|own| own.description.clone()).or_else(|| known().descriptions.get(&(class, oid)).cloned())
        }
    }
}

/// `col_description(table, number)`.
fn column_description(relations: &Relations, arguments: &[Value<'_>]) -> Option<String> {
    let [table, number, ..] = arguments else { return None };
    let at = usize::try_from(number.number()?).ok()?.checked_sub(1)?;
    relations.with_oid(table.number()?)?.columns.get(at)?.comment.clone()
}

/// `pg_get_viewdef(view [, pretty])`, with the view's number or name.
fn view_definition(relations: &Relations, arguments: &[Value<'_>]) -> Option<String> {
    let view = match arguments.first()? {
        Value::Text(name) if name.trim().parse::<i32>().is_err() => relations.named(name)?,
        number => relations.with_oid(number.number()?)?,
    };
    view.shown_definition()
}

fn is_visible(relations: &Relations, arguments: &[Value<'_>]) -> Option<bool> {
    Some(relations.with_oid(arguments.first()?.number()?)?.is_visible())
}

fn format_type(arguments: &[Value<'_>]) -> Option<String> {
    Some(known().type_text(arguments.first()?.number()?, arguments.get(1).and_then(Value::number)))
}

fn role(oid: i32) -> String {
    if oid == OWNER_OID { OWNER.to_owned() } else { format!("unknown (OID={oid})") }
}

fn encoding(number: i32) -> &'static str {
    match number {
        6 => "UTF8",
        0 => "SQL_ASCII",
        8 => "LATIN1",
        _ => "",
    }
}

/// Whether one of the privileges asked for (the last argument, separated by commas) is among `given`: everything may be
/// read, and nothing written.
fn may(arguments: &[Value<'_>], given: &[&str]) -> Option<bool> {
    let asked = arguments.last()?.text()?.to_lowercase();
    Some(asked.split(',').any(|privilege| given.contains(&privilege.trim())))
}
