//! Functions of the SQL dialect, by subject.

pub(crate) mod identity;
pub(crate) mod json;
pub(crate) mod postgres;
pub(crate) mod sketch;
pub(crate) mod sketch_aggregate;
pub(crate) mod table;
pub(crate) mod time_bucket;
pub(crate) mod uuid;

use arrow::datatypes::{DataType, Field};
use std::collections::HashMap;

/// Arrow's canonical extension types mark what is more than its storage: JSON in text, UUID in 16 bytes.
const EXTENSION_KEY: &str = "ARROW:extension:name";
const JSON_EXTENSION: &str = "arrow.json";

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
