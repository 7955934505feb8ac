//! What every PostgreSQL has in its catalog: types and functions, by number and by name.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int16Type, Int32Type};
use arrow::record_batch::RecordBatch;
use datafusion_pg_catalog::pg_catalog::PgCatalogStaticTables;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A type as `pg_type` has it.
#[derive(Debug, Clone)]
pub(crate) struct TypeRow {
    pub(crate) name: String,
    /// Of an array: the type of its elements, else 0.
    pub(crate) element: i32,
    /// Bytes; -1 is variable.
    pub(crate) length: i16,
    pub(crate) by_value: bool,
    pub(crate) alignment: String,
    pub(crate) storage: String,
    pub(crate) collation: i32,
}

/// Types and functions that PostgreSQL comes with.
pub(crate) struct Static {
    pub(crate) types: HashMap<i32, TypeRow>,
    /// Functions by name: the first number of each.
    pub(crate) functions: HashMap<String, i32>,
    /// What they take and return, by number.
    pub(crate) signatures: HashMap<i32, FunctionRow>,
    /// What objects are, by the number of their table and their own.
    pub(crate) descriptions: HashMap<(i32, i32), String>,
    /// `pg_proc` and `pg_description` as they are.
    pub(crate) pg_proc: Option<RecordBatch>,
    pub(crate) pg_description: Option<RecordBatch>,
}

/// A function as `pg_proc` has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FunctionRow {
    pub(crate) name: String,
    pub(crate) arguments: String,
    pub(crate) identity_arguments: String,
    pub(crate) result: Option<String>,
}

static STATIC: LazyLock<Static> = LazyLock::new(|| read().unwrap_or_else(Static::empty));

/// What is known; read once.
pub(crate) fn known() -> &'static Static {
    &STATIC
}

impl Static {
    fn empty() -> Self {
        Self {
            types: HashMap::new(),
            functions: HashMap::new(),
            signatures: HashMap::new(),
            descriptions: HashMap::new(),
            pg_proc: None,
            pg_description: None,
        }
    }
}

/// SQL's words for types that have others in the catalog.
const WORDS: [(&str, &str); 16] = [
    ("bool", "boolean"),
    ("int2", "smallint"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("float4", "real"),
    ("float8", "double precision"),
    ("bpchar", "character"),
    ("varchar", "character varying"),
    ("timestamptz", "timestamp with time zone"),
    ("timestamp", "timestamp without time zone"),
    ("timetz", "time with time zone"),
    ("time", "time without time zone"),
    ("bit", "bit"),
    ("varbit", "bit varying"),
    ("char", "\"char\""),
    ("any", "\"any\""),
];

fn read() -> Option<Static> {
    let tables = PgCatalogStaticTables::try_new().ok()?;
    let mut all = Static::empty();
    for rows in tables.pg_type.data() {
        let (oids, elements) = (number(rows, "oid")?, number(rows, "typelem")?);
        let (names, lengths) = (rows.column_by_name("typname")?.as_string::<i32>(), rows.column_by_name("typlen")?);
        let by_value = rows.column_by_name("typbyval")?.as_boolean();
        let (alignment, storage) = (rows.column_by_name("typalign")?, rows.column_by_name("typstorage")?);
        let (categories, collations) = (rows.column_by_name("typcategory")?, number(rows, "typcollation")?);
        for row in 0..rows.num_rows() {
            let is_array = categories.as_string::<i32>().value(row) == "A";
            let one = TypeRow {
                name: names.value(row).to_owned(),
                element: if is_array { elements.value(row) } else { 0 },
                length: lengths.as_primitive_opt::<Int16Type>()?.value(row),
                by_value: by_value.value(row),
                alignment: alignment.as_string::<i32>().value(row).to_owned(),
                storage: storage.as_string::<i32>().value(row).to_owned(),
                collation: collations.value(row),
            };
            all.types.insert(oids.value(row), one);
        }
    }
    for rows in tables.pg_proc.data() {
        let (oids, names) = (number(rows, "oid")?, rows.column_by_name("proname")?.as_string::<i32>());
        for row in 0..rows.num_rows() {
            all.functions.entry(names.value(row).to_owned()).or_insert(oids.value(row));
            let signature = signature(&all, rows, row)?;
            all.signatures.insert(oids.value(row), signature);
        }
    }
    for rows in tables.pg_description.data() {
        let (oids, classes, parts) = (number(rows, "objoid")?, number(rows, "classoid")?, number(rows, "objsubid")?);
        let texts = rows.column_by_name("description")?.as_string_opt::<i32>()?;
        let whole = (0..rows.num_rows()).filter(|row| parts.value(*row) == 0);
        all.descriptions.extend(whole.map(|row| ((classes.value(row), oids.value(row)), texts.value(row).to_owned())));
    }
    all.pg_proc = tables.pg_proc.data().first().cloned();
    all.pg_description = tables.pg_description.data().first().cloned();
    Some(all)
}

fn number<'a>(rows: &'a RecordBatch, name: &str) -> Option<&'a arrow::array::Int32Array> {
    rows.column_by_name(name)?.as_primitive_opt::<Int32Type>()
}

/// What `pg_get_function_arguments` and its like say.
fn signature(all: &Static, rows: &RecordBatch, row: usize) -> Option<FunctionRow> {
    let text = |name: &str| -> Option<Option<String>> {
        let column = rows.column_by_name(name)?.as_string_opt::<i32>()?;
        Some((!column.is_null(row)).then(|| column.value(row).to_owned()))
    };
    let list = |text: Option<String>| -> Vec<String> {
        let text = text.unwrap_or_default();
        let items = text.trim_matches(['{', '}', '[', ']']).split([',', ' ']);
        items.map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    };
    let (inputs, every) = (list(text("proargtypes")?), list(text("proallargtypes")?));
    let (modes, names) = (list(text("proargmodes")?), list(text("proargnames")?));
    let types = if every.is_empty() { inputs } else { every };
    let mode = |at: usize| modes.get(at).map_or("i", String::as_str);
    let show = |at: usize, oid: &String, with_mode: bool| {
        let kind = all.type_text(oid.parse().unwrap_or_default(), None);
        let name = names.get(at).filter(|name| !matches!(name.as_str(), "" | "\"\"" | "null" | "NULL"));
        let word = match mode(at) {
            "o" if with_mode => "OUT ",
            "b" => "INOUT ",
            "v" => "VARIADIC ",
            _ => "",
        };
        name.map_or_else(|| format!("{word}{kind}"), |name| format!("{word}{name} {kind}"))
    };
    let of = |wanted: &[&str], with_mode| {
        let shown = types.iter().enumerate().filter(|(at, _)| wanted.contains(&mode(*at)));
        shown.map(|(at, oid)| show(at, oid, with_mode)).collect::<Vec<_>>().join(", ")
    };
    let returned = number(rows, "prorettype")?.value(row);
    let table = of(&["t"], false);
    let sets = rows.column_by_name("proretset")?.as_boolean_opt()?.value(row);
    let result = match (table.is_empty(), sets) {
        (false, _) => format!("TABLE({table})"),
        (true, true) => format!("SETOF {}", all.type_text(returned, None)),
        (true, false) => all.type_text(returned, None),
    };
    let is_procedure = text("prokind")?.as_deref() == Some("p");
    Some(FunctionRow {
        name: rows.column_by_name("proname")?.as_string_opt::<i32>()?.value(row).to_owned(),
        arguments: of(&["i", "o", "b", "v"], true),
        identity_arguments: of(&["i", "b", "v"], true),
        result: (!is_procedure).then_some(result),
    })
}

impl Static {
    /// `format_type(oid, modifier)`.
    pub(crate) fn type_text(&self, oid: i32, modifier: Option<i32>) -> String {
        let Some(known) = self.types.get(&oid) else { return if oid == 0 { "-" } else { "???" }.to_owned() };
        if known.element != 0 && known.name.starts_with('_') {
            return format!("{}[]", self.type_text(known.element, modifier));
        }
        let word = WORDS.iter().find(|(name, _)| *name == known.name).map_or(known.name.as_str(), |(_, word)| *word);
        let Some(modifier) = modifier.filter(|modifier| *modifier >= 0) else {
            // Without a length it is any length, which `character` alone is not.
            return match (known.name.as_str(), modifier) {
                ("bpchar", Some(_)) => "bpchar".to_owned(),
                _ => word.to_owned(),
            };
        };
        match known.name.as_str() {
            "bpchar" | "varchar" => format!("{word}({})", modifier - 4),
            "numeric" => format!("numeric({},{})", (modifier - 4) >> 16, (modifier - 4) & 0x7ff),
            "timestamp" | "timestamptz" | "time" | "timetz" => {
                let (first, rest) = word.split_once(' ').unwrap_or((word, ""));
                format!("{first}({modifier}) {rest}")
            }
            "bit" | "varbit" => format!("{word}({modifier})"),
            _ => word.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn types_and_functions_read_as_in_postgresql() {
        let all = known();
        for (oid, modifier, text) in [
            (20, None, "bigint"),
            (1184, Some(-1), "timestamp with time zone"),
            (1184, Some(3), "timestamp(3) with time zone"),
            (1009, None, "text[]"),
            (1700, Some(655_366), "numeric(10,2)"),
            (1043, Some(36), "character varying(32)"),
            (18, None, "\"char\""),
            (0, None, "-"),
            (4_000_000, None, "???"),
        ] {
            assert_eq!(all.type_text(oid, modifier), text);
        }
        let (now, lower) = (&all.signatures[&1299], &all.signatures[&all.functions["lower"]]);
        assert_eq!((now.name.as_str(), now.arguments.as_str()), ("now", ""));
        assert_eq!(now.result.as_deref(), Some("timestamp with time zone"));
        assert_eq!((lower.arguments.as_str(), lower.result.as_deref()), ("text", Some("text")));
    }
}
