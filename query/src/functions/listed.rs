//! Functions that PostgreSQL does not have, as `pg_proc`, `\df` and JDBC list them.

use crate::functions::catalog::type_named;
use crate::functions::table::{ArgumentKind, TableFunction};
use crate::provider::pg_static::{FunctionRow, known};
use crate::provider::relations::OWNER_OID;
use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::Field;
use arrow::record_batch::RecordBatch;
use arrow_pg::datatypes::field_into_pg_type;
use datafusion::common::Result;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Number of the first.
const FIRST: i32 = 17_000;
/// Schema `public`.
const NAMESPACE: i32 = 2200;
/// Language `internal`.
const LANGUAGE: i32 = 12;

/// What is known of one.
#[derive(Debug, Clone)]
pub(crate) struct OwnFunction {
    pub(crate) oid: i32,
    pub(crate) name: &'static str,
    pub(crate) description: String,
    arguments: String,
    result: String,
    is_aggregate: bool,
    is_set: bool,
}

const TIME: &str = "timestamp with time zone";

/// Name, arguments, result, whether it is an aggregate, what it does.
const SCALAR: [(&str, &str, &str, bool, &str); 12] = [
    (
        "time_bucket",
        "bucket_width interval, ts timestamp with time zone",
        TIME,
        false,
        "start of the bucket that a time is in",
    ),
    (
        "time_bucket",
        "bucket_width interval, ts timestamp with time zone, origin timestamp with time zone",
        TIME,
        false,
        "start of the bucket that a time is in, counted from an origin",
    ),
    (
        "time_bucket",
        "bucket_width interval, ts timestamp with time zone, timezone text",
        TIME,
        false,
        "start of the bucket that a time is in, in a time zone",
    ),
    (
        "time_bucket_gapfill",
        "bucket_width interval, ts timestamp with time zone",
        TIME,
        false,
        "time_bucket that also answers with buckets that have no rows",
    ),
    ("locf", "value anyelement", "anyelement", false, "the last value before a gap"),
    ("interpolate", "value double precision", "double precision", false, "the value on the line across a gap"),
    ("first", "value anyelement, ts \"any\"", "anyelement", true, "value at the earliest time"),
    ("last", "value anyelement, ts \"any\"", "anyelement", true, "value at the latest time"),
    (
        "histogram",
        "value double precision, min double precision, max double precision, buckets integer",
        "integer[]",
        true,
        "counts of values in buckets of equal width",
    ),
    ("percentile_agg", "value double precision", "bytea", true, "sketch of values, within 1%"),
    ("rollup", "sketch bytea", "bytea", true, "sketch of the values of several sketches"),
    (
        "approx_percentile",
        "percentile double precision, sketch bytea",
        "double precision",
        false,
        "percentile of the values of a sketch, within 1%",
    ),
];

/// These, and the table functions.
pub(crate) fn own_functions(functions: &[TableFunction]) -> Vec<OwnFunction> {
    let scalar = SCALAR.iter().map(|(name, arguments, result, aggregate, text)| {
        (*name, (*arguments).to_owned(), (*result).to_owned(), *aggregate, (*text).to_owned())
    });
    let tables = functions.iter().map(|function| {
        let kinds = function.arguments.iter().map(|kind| match kind {
            ArgumentKind::Uuid => "uuid".to_owned(),
            ArgumentKind::TraceId => "text".to_owned(),
            ArgumentKind::Timestamp => TIME.to_owned(),
            ArgumentKind::Condition(name) => format!("{name} text"),
        });
        let columns = function.schema.fields().iter().map(|field| format!("{} {}", field.name(), type_of(field)));
        let result = format!("TABLE({})", columns.collect::<Vec<_>>().join(", "));
        (function.name, kinds.collect::<Vec<_>>().join(", "), result, false, function.description.to_owned())
    });
    scalar
        .chain(tables)
        .zip(FIRST..)
        .map(|((name, arguments, result, is_aggregate, description), oid)| OwnFunction {
            oid,
            name,
            description,
            is_set: result.starts_with("TABLE"),
            arguments,
            result,
            is_aggregate,
        })
        .collect()
}

fn type_of(field: &Arc<Field>) -> String {
    let oid = match field.data_type() {
        &super::UUID => 2950,
        _ => field_into_pg_type(field).map_or(25, |wire| i32::try_from(wire.oid()).unwrap_or(25)),
    };
    known().type_text(oid, None)
}

impl OwnFunction {
    pub(crate) fn is_aggregate(&self) -> bool {
        self.is_aggregate
    }

    pub(crate) fn row(&self) -> FunctionRow {
        FunctionRow {
            name: self.name.to_owned(),
            arguments: self.arguments.clone(),
            identity_arguments: self.arguments.clone(),
            result: Some(self.result.clone()),
        }
    }

    /// Types of its arguments, and of what it returns.
    fn types(&self) -> (Vec<i32>, i32) {
        let oid = |text: &str| type_named(text).and_then(|known| i32::try_from(known.oid()).ok());
        let argument = |text: &str| {
            let text = text.trim();
            oid(text).or_else(|| oid(text.split_once(' ')?.1)).unwrap_or(ANY)
        };
        let arguments = self.arguments.split(',').filter(|text| !text.trim().is_empty()).map(argument).collect();
        (arguments, if self.is_set { RECORD } else { oid(&self.result).unwrap_or(ANY) })
    }

    /// Its value for a column of `pg_proc`; `None` is NULL.
    fn value(&self, column: &str) -> Option<ScalarValue> {
        let (arguments, result) = self.types();
        let text = |text: &str| Some(ScalarValue::from(text));
        match column {
            "oid" => Some(ScalarValue::from(self.oid)),
            "proname" | "prosrc" => text(self.name),
            "pronamespace" => Some(ScalarValue::from(NAMESPACE)),
            "proowner" => Some(ScalarValue::from(OWNER_OID)),
            "prolang" => Some(ScalarValue::from(LANGUAGE)),
            "procost" => Some(ScalarValue::from(1_f32)),
            "prorows" => Some(ScalarValue::from(if self.is_set { 1_000_f32 } else { 0.0 })),
            "provariadic" | "pronargdefaults" => Some(ScalarValue::from(0_i32)),
            "prosupport" => text("-"),
            "prokind" => text(if self.is_aggregate { "a" } else { "f" }),
            "prosecdef" | "proleakproof" => Some(ScalarValue::from(false)),
            "proisstrict" => Some(ScalarValue::from(!self.is_aggregate)),
            "proretset" => Some(ScalarValue::from(self.is_set)),
            "provolatile" => text(if self.is_set { "s" } else { "i" }),
            "proparallel" => text("s"),
            "pronargs" => Some(ScalarValue::from(i32::try_from(arguments.len()).unwrap_or_default())),
            "prorettype" => Some(ScalarValue::from(result)),
            "proargtypes" => text(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
            _ => None,
        }
    }
}

/// Pseudo-types `any` and `record`.
const ANY: i32 = 2276;
const RECORD: i32 = 2249;

/// PostgreSQL's `pg_proc` with these at its end.
pub(crate) fn pg_proc(functions: &[OwnFunction]) -> Result<Option<RecordBatch>> {
    let Some(static_rows) = &known().pg_proc else { return Ok(None) };
    let column = |field: &Arc<Field>| -> Result<ArrayRef> {
        let values: Vec<_> = functions.iter().map(|function| function.value(field.name())).collect();
        match values.iter().flatten().next().map(ScalarValue::data_type) {
            Some(kind) => {
                let values = values.into_iter().map(|value| value.map_or(ScalarValue::try_from(&kind), Ok));
                let values = values.collect::<Result<Vec<_>>>()?;
                Ok(cast(&ScalarValue::iter_to_array(values)?, field.data_type())?)
            }
            None => Ok(new_null_array(field.data_type(), functions.len())),
        }
    };
    let fields: Vec<_> =
        static_rows.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let ours = RecordBatch::try_new(schema.clone(), columns)?;
    let theirs = RecordBatch::try_new(schema.clone(), static_rows.columns().to_vec())?;
    Ok(Some(concat_batches(&schema, [&theirs, &ours])?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn own_functions_are_listed_behind_postgresqls() {
        let functions = own_functions(&[]);
        let rows = pg_proc(&functions).unwrap().unwrap();
        assert_eq!(rows.num_rows(), known().pg_proc.as_ref().unwrap().num_rows() + functions.len());
        assert_eq!(functions[0].types(), (vec![1186, 1184], 1184));
        let histogram = functions.iter().find(|function| function.name == "histogram").unwrap();
        assert_eq!((histogram.types().0.len(), histogram.types().1), (4, 1007));
    }
}
