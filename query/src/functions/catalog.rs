//! Functions that read names and sizes of the catalog.

use ::pgwire::api::Type;
use arrow::array::{AsArray, Int32Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Highest number of a type that PostgreSQL comes with.
const LAST_TYPE: u32 = 10_000;

/// Types by the names of the catalog, and by SQL's.
static TYPES: LazyLock<HashMap<String, i32>> = LazyLock::new(|| {
    let known = (1..LAST_TYPE).filter_map(Type::from_oid);
    let mut types: HashMap<String, i32> =
        known.filter_map(|kind| Some((kind.name().to_owned(), i32::try_from(kind.oid()).ok()?))).collect();
    const WORDS: [(&str, Type); 12] = [
        ("boolean", Type::BOOL),
        ("smallint", Type::INT2),
        ("integer", Type::INT4),
        ("int", Type::INT4),
        ("bigint", Type::INT8),
        ("real", Type::FLOAT4),
        ("double precision", Type::FLOAT8),
        ("decimal", Type::NUMERIC),
        ("character varying", Type::VARCHAR),
        ("timestamp with time zone", Type::TIMESTAMPTZ),
        ("timestamp without time zone", Type::TIMESTAMP),
        ("time without time zone", Type::TIME),
    ];
    types.extend(WORDS.iter().filter_map(|(word, kind)| Some(((*word).to_owned(), i32::try_from(kind.oid()).ok()?))));
    types
});

/// The type of a name in either form, `name[]` for its arrays.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    let number = |name: &str| TYPES.get(name).and_then(|number| Type::from_oid(u32::try_from(*number).ok()?));
    let name = name.trim().to_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    match name.strip_suffix("[]") {
        Some(element) => number(&format!("_{}", number(element)?.name())),
        None => number(name),
    }
}

/// `to_regtype(name)`: the number of a type; NULL if there is none of that name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToRegtype(Signature);

impl ScalarUDFImpl for ToRegtype {
    fn name(&self) -> &str {
        "to_regtype"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let names = args.args[0].to_array(args.number_rows)?;
        let find = |name: &str| i32::try_from(type_named(name)?.oid()).ok();
        let found: Int32Array = names.as_string::<i32>().iter().map(|name| name.and_then(find)).collect();
        Ok(ColumnarValue::Array(Arc::new(found)))
    }
}

/// `pg_size_pretty(bytes)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SizePretty(Signature);

impl ScalarUDFImpl for SizePretty {
    fn name(&self) -> &str {
        "pg_size_pretty"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let sizes = args.args[0].to_array(args.number_rows)?;
        let texts: StringArray = sizes.as_primitive::<Int64Type>().iter().map(|size| size.map(pretty)).collect();
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}

/// The next unit from 10,240 of one on, rounded to the nearest, as in PostgreSQL.
fn pretty(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (i128::from(bytes), 0);
    while size.abs() >= 10_240 && unit + 1 < UNITS.len() {
        size = (size + if size < 0 { -512 } else { 512 }) / 1_024;
        unit += 1;
    }
    format!("{size} {}", UNITS[unit])
}

/// The functions of this file.
pub(crate) fn functions() -> [ScalarUDF; 2] {
    let of = |kind| Signature::exact(vec![kind], Volatility::Immutable);
    [ScalarUDF::from(ToRegtype(of(DataType::Utf8))), ScalarUDF::from(SizePretty(of(DataType::Int64)))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_in_postgresql() {
        let sizes =
            [(0, "0 bytes"), (10_239, "10239 bytes"), (10_240, "10 kB"), (1 << 30, "1024 MB"), (-20_480, "-20 kB")];
        for (bytes, text) in sizes {
            assert_eq!(pretty(bytes), text);
        }
    }

    #[test]
    fn types_are_found_by_both_their_names() {
        assert_eq!(TYPES.get("int8"), TYPES.get("bigint"));
        assert_eq!(TYPES.get("_text"), Some(&1009));
    }
}
