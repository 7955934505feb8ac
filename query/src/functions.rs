//! Functions of the SQL dialect, by subject.

pub(crate) mod arithmetic;
pub(crate) mod array;
pub(crate) mod bucket;
pub(crate) mod calendar;
pub(crate) mod casts;
pub(crate) mod catalog;
pub(crate) mod described;
pub(crate) mod from_char;
pub(crate) mod histogram;
pub(crate) mod identity;
pub(crate) mod interval;
pub(crate) mod json;
pub(crate) mod listed;
pub(crate) mod moment;
pub(crate) mod number_pattern;
pub(crate) mod numbers;
pub(crate) mod operands;
pub(crate) mod ordered_set;
pub(crate) mod percentile;
pub(crate) mod postgres;
pub(crate) mod quoting;
pub(crate) mod regex;
pub(crate) mod row_function;
pub(crate) mod session;
pub(crate) mod sizes;
pub(crate) mod sketch;
pub(crate) mod sketch_aggregate;
pub(crate) mod table;
pub(crate) mod text_search;
pub(crate) mod time_bucket;
pub(crate) mod time_pattern;
pub(crate) mod time_text;
pub(crate) mod to_char;
pub(crate) mod type_name;
pub(crate) mod typed_function;
pub(crate) mod uuid;
pub(crate) mod zone;

use crate::error::QueryError;
use arrow::datatypes::{DataType, Field};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::ScalarUDF;
use std::collections::HashMap;
use std::sync::Arc;

/// Arrow's canonical extension types mark what is more than its storage: JSON in text, UUID in 16 bytes.
const EXTENSION_KEY: &str = "ARROW:extension:name";
const JSON_EXTENSION: &str = "arrow.json";

/// Registers functions, operators and casts.
pub(crate) fn register(state: &mut SessionState) -> Result<(), QueryError> {
    state.register_expr_planner(Arc::new(json::JsonOperators))?;
    state.register_expr_planner(Arc::new(uuid::UuidComparison))?;
    state.register_expr_planner(Arc::new(operands::Operands))?;
    state.register_expr_planner(Arc::new(time_text::LiteralsAreTimes))?;
    state.register_expr_planner(Arc::new(interval::IntervalArithmetic))?;
    state.register_function_rewrite(Arc::new(uuid::UuidRewrite))?;
    state.register_function_rewrite(Arc::new(casts::PostgresCasts))?;
    state.register_function_rewrite(Arc::new(interval::PartsOfTimes))?;
    state.register_function_rewrite(Arc::new(arithmetic::CheckedArithmetic))?;
    state.register_function_rewrite(Arc::new(text_search::TextSearchRewrite))?;
    let scalar = json::functions()
        .into_iter()
        .chain(postgres::constants().into_iter().map(Arc::new))
        .chain(array::functions().into_iter().map(Arc::new))
        .chain(calendar::functions().into_iter().map(Arc::new))
        .chain(casts::functions().into_iter().map(Arc::new))
        .chain(catalog::functions().into_iter().map(Arc::new))
        .chain(from_char::functions().into_iter().map(Arc::new))
        .chain(moment::functions().into_iter().map(Arc::new))
        .chain(numbers::functions().into_iter().map(Arc::new))
        .chain(quoting::functions().into_iter().map(Arc::new))
        .chain(regex::functions().into_iter().map(Arc::new))
        .chain(text_search::functions())
        .chain(zone::functions().into_iter().map(Arc::new))
        .chain(crate::gap_fill::functions().into_iter().map(Arc::new))
        .chain([
            Arc::new(ScalarUDF::from(time_bucket::TimeBucket::plain())),
            Arc::new(ScalarUDF::from(time_bucket::TimeBucket::filling())),
            Arc::new(ScalarUDF::from(to_char::ToChar::default())),
            Arc::new(type_name::pg_typeof()),
            Arc::new(ScalarUDF::from(sketch::ApproxPercentile::default())),
        ]);
    for function in scalar {
        state.register_udf(function)?;
    }
    let others = [
        arithmetic::sum(),
        histogram::histogram(),
        percentile::percentile_cont(),
        sketch_aggregate::percentile_agg(),
        sketch_aggregate::rollup(),
    ];
    for function in ordered_set::functions().into_iter().chain(others) {
        state.register_udaf(Arc::new(function))?;
    }
    Ok(())
}

/// Type of UUID columns inside; `uuid` on the wire.
pub(crate) const UUID: DataType = DataType::FixedSizeBinary(16);

/// Metadata of a text column that holds JSON.
pub(crate) fn json_metadata() -> HashMap<String, String> {
    HashMap::from([(EXTENSION_KEY.to_owned(), JSON_EXTENSION.to_owned())])
}

/// Metadata of a column of UUIDs that leaves for readers of Arrow.
pub(crate) fn uuid_metadata() -> HashMap<String, String> {
    HashMap::from([(EXTENSION_KEY.to_owned(), "arrow.uuid".to_owned())])
}

/// True for a text column that holds JSON.
pub(crate) fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION_KEY).is_some_and(|name| name == JSON_EXTENSION)
}

/// True for the text types.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}
