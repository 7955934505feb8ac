//! Order of the rows of new chunks: by partition, then as the table is sorted. Keys are sorted, rows are moved once.

use super::{MICROS_PER_DAY, bucket_of};
use arrow::array::{Array, AsArray, StringViewArray};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use whence_schema::tables::events::column::{TENANT_ID, TIMESTAMP};

/// Day and bucket: what one chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Partition {
    pub(crate) day: i32,
    pub(crate) bucket: i32,
}

/// Where a row is, after what decides its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) partition: Partition,
    ranks: [u32; 2],
    pub(crate) micros: i64,
    pub(crate) batch: u32,
    pub(crate) row: u32,
}

/// The rows of all batches in the order of their chunks. Every table has tenant and timestamp first.
pub(crate) fn sorted_keys(batches: &[RecordBatch], sort_texts: &[usize]) -> Vec<Key> {
    let ranks: Vec<Vec<Vec<u32>>> = sort_texts.iter().map(|column| ranks_of(batches, *column)).collect();
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut keys = Vec::with_capacity(rows);
    for (batch_index, batch) in batches.iter().enumerate() {
        let tenants = batch.column(TENANT_ID).as_string_view();
        let times = batch.column(TIMESTAMP).as_primitive::<TimestampMicrosecondType>();
        let mut last: Option<(&str, i32)> = None;
        for row in 0..batch.num_rows() {
            let tenant = tenants.value(row);
            let bucket = match last {
                Some((known, bucket)) if known == tenant => bucket,
                _ => bucket_of(tenant),
            };
            last = Some((tenant, bucket));
            let micros = times.value(row);
            let rank = |text: usize| ranks.get(text).map_or(0, |ranks| ranks[batch_index][row]);
            keys.push(Key {
                partition: Partition { day: micros.div_euclid(MICROS_PER_DAY) as i32, bucket },
                ranks: [rank(0), rank(1)],
                micros,
                batch: batch_index as u32,
                row: row as u32,
            });
        }
    }
    keys.sort_unstable();
    keys
}

/// For each batch and row, the rank of its text among all texts of the column.
fn ranks_of(batches: &[RecordBatch], column: usize) -> Vec<Vec<u32>> {
    let columns: Vec<&StringViewArray> = batches.iter().map(|batch| batch.column(column).as_string_view()).collect();
    let mut seen: HashMap<&str, u32> = HashMap::new();
    let mut numbered: Vec<Vec<u32>> = Vec::with_capacity(columns.len());
    for texts in columns {
        let mut last: Option<(&str, u32)> = None;
        let number = |row: usize| {
            let text = texts.value(row);
            let number = match last {
                Some((known, number)) if known == text => number,
                _ => {
                    let next = seen.len() as u32;
                    *seen.entry(text).or_insert(next)
                }
            };
            last = Some((text, number));
            number
        };
        numbered.push((0..texts.len()).map(number).collect());
    }
    let mut texts: Vec<(&str, u32)> = seen.into_iter().collect();
    texts.sort_unstable();
    let mut rank = vec![0; texts.len()];
    for (position, (_, number)) in texts.iter().enumerate() {
        rank[*number as usize] = position as u32;
    }
    numbered.iter_mut().flatten().for_each(|number| *number = rank[*number as usize]);
    numbered
}
