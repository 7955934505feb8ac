//! `whence.tables`: what the chunks of each table add up to.

use crate::error::QueryError;
use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use whence_schema::Table;

#[derive(Debug, Clone, Copy, Default)]
struct Sizes {
    chunks: i64,
    rows: i64,
    bytes: i64,
    /// `None` once a chunk's is not known.
    uncompressed: Option<i64>,
    from: Option<i64>,
    to: Option<i64>,
}

/// One row for each table, from the rows of `whence.chunks`.
pub(crate) fn table_sizes(chunks: &RecordBatch) -> Result<RecordBatch, QueryError> {
    let mut sizes = Table::ALL.map(|_| Sizes { uncompressed: Some(0), ..Sizes::default() });
    let (names, numbers) =
        (chunks["table_name"].as_string_view(), |name: &str| chunks[name].as_primitive::<Int64Type>());
    let times = |name: &str| chunks[name].as_primitive::<TimestampMicrosecondType>();
    let (rows, bytes, raw) = (numbers("rows"), numbers("bytes"), numbers("uncompressed_bytes"));
    let (from, to) = (times("min_time"), times("max_time"));
    for chunk in 0..chunks.num_rows() {
        let Some(table) = Table::ALL.into_iter().find(|table| table.name() == names.value(chunk)) else { continue };
        let sum = &mut sizes[table as usize];
        sum.chunks += 1;
        sum.rows += rows.value(chunk);
        sum.bytes += bytes.value(chunk);
        let known = raw.iter().nth(chunk).flatten();
        sum.uncompressed = sum.uncompressed.zip(known).map(|(sum, more)| sum + more);
        let (first, last) = (from.value(chunk), to.value(chunk));
        sum.from = Some(sum.from.map_or(first, |known| known.min(first)));
        sum.to = Some(sum.to.map_or(last, |known| known.max(last)));
    }
    let number = |of: fn(&Sizes) -> Option<i64>| -> ArrayRef { Arc::new(sizes.iter().map(of).collect::<Int64Array>()) };
    let time = |of: fn(&Sizes) -> Option<i64>| -> ArrayRef {
        Arc::new(sizes.iter().map(of).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let ratio =
        sizes.iter().map(|sum| sum.uncompressed.filter(|_| sum.bytes > 0).map(|raw| raw as f64 / sum.bytes as f64));
    Ok(RecordBatch::try_from_iter([
        ("table_name", Arc::new(StringViewArray::from_iter_values(Table::ALL.map(Table::name))) as ArrayRef),
        ("chunks", number(|sum| Some(sum.chunks))),
        ("rows", number(|sum| Some(sum.rows))),
        ("bytes", number(|sum| Some(sum.bytes))),
        ("uncompressed_bytes", number(|sum| sum.uncompressed)),
        ("compression_ratio", Arc::new(ratio.collect::<Float64Array>()) as ArrayRef),
        ("min_time", time(|sum| sum.from)),
        ("max_time", time(|sum| sum.to)),
    ])?)
}
