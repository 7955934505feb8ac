//! Arrow as readers of any language understand it: no views, no dictionaries, and marks on what is more than its storage.

use crate::error::QueryError;
use crate::functions::{UUID, uuid_metadata};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::sync::Arc;

/// Columns of an answer as they leave: UUIDs are marked `arrow.uuid`, JSON is text marked `arrow.json`.
pub(super) fn portable_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(portable_field).collect::<Vec<_>>()))
}

fn portable_field(field: &FieldRef) -> FieldRef {
    let data_type = portable_type(field.data_type());
    let mut metadata = field.metadata().clone();
    if data_type == UUID {
        metadata.extend(uuid_metadata());
    }
    // Plans promise more than they hold: an outer join or a late row may bring a NULL.
    Arc::new(Field::new(field.name(), data_type, true).with_metadata(metadata))
}

fn portable_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => portable_type(values),
        DataType::List(item) | DataType::ListView(item) | DataType::LargeList(item) => {
            DataType::List(portable_field(item))
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(portable_field).collect()),
        other => other.clone(),
    }
}

/// `batch` with the columns of `schema`, which is a [`portable_schema`].
pub(super) fn portable_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, QueryError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?)
}
