//! Rows of many batches, put in order.

use super::sort::Key;
use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::interleave;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use whence_schema::Table;

pub(crate) fn gather(table: Table, batches: &[RecordBatch], keys: &[Key]) -> Result<RecordBatch, ArrowError> {
    // Only the batches that take part: texts in views would otherwise carry every batch's buffers along.
    let mut position = vec![u32::MAX; batches.len()];
    let mut taking_part = Vec::new();
    let mut places = Vec::with_capacity(keys.len());
    for key in keys {
        let batch = key.batch as usize;
        if position[batch] == u32::MAX {
            position[batch] = taking_part.len() as u32;
            taking_part.push(&batches[batch]);
        }
        places.push((position[batch] as usize, key.row as usize));
    }
    let schema = table.stored_schema();
    let columns = (0..schema.fields().len())
        .map(|column| {
            let arrays: Vec<&dyn Array> = taking_part.iter().map(|batch| batch.column(column).as_ref()).collect();
            // Spans have no body, log records no duration: moving nothing is quicker than moving null after null.
            if arrays.iter().all(|array| array.null_count() == array.len()) {
                return Ok(new_null_array(schema.field(column).data_type(), places.len()));
            }
            interleave(&arrays, &places)
        })
        .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    RecordBatch::try_new(schema, columns)
}
