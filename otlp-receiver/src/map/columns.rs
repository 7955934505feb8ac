//! Columns in the making, laid out so that a row costs no allocation and a column that stays empty costs nothing.

use crate::protobuf::Utf8;
use arrow::array::builder::NullBufferBuilder;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeBinaryArray, LargeStringArray, PrimitiveArray,
    StringViewArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{UInt8Type, UInt32Type};
use hashbrown::HashMap;
use std::sync::Arc;

/// Batches of fewer rows give spare room back to the byte: a stream of one-row requests would otherwise hold kilobytes
/// a row.
const COMPACT_BELOW_ROWS: usize = 256;

/// Numbers of a column in which many rows have none.
pub(super) struct Sparse<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> Sparse<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(capacity) }
    }

    /// Sets the value of `row`; rows passed over have none.
    pub(super) fn set(&mut self, row: usize, value: T::Native) {
        self.fill_up(row);
        self.values.push(value);
        self.nulls.append_non_null();
    }

    fn fill_up(&mut self, rows: usize) {
        let missing = rows - self.values.len();
        if missing > 0 {
            self.values.resize(rows, T::Native::default());
            self.nulls.append_n_nulls(missing);
        }
    }

    pub(super) fn finish(mut self, rows: usize) -> PrimitiveArray<T> {
        if self.values.is_empty() {
            return PrimitiveArray::new_null(rows);
        }
        self.fill_up(rows);
        PrimitiveArray::new(exact(self.values).into(), self.nulls.finish())
    }
}

/// Ids of a column in which many rows have none.
pub(super) struct SparseIds {
    bytes: Vec<u8>,
    rows: usize,
    nulls: NullBufferBuilder,
}

const ID_BYTES: usize = 16;

impl SparseIds {
    pub(super) fn new(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity * ID_BYTES), rows: 0, nulls: NullBufferBuilder::new(capacity) }
    }

    pub(super) fn push(&mut self, id: Option<[u8; ID_BYTES]>) {
        self.bytes.extend_from_slice(&id.unwrap_or_default());
        self.nulls.append(id.is_some());
        self.rows += 1;
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        let ids = FixedSizeBinaryArray::try_new(ID_BYTES as i32, Buffer::from_vec(exact(self.bytes)), nulls);
        // Every row appended its 16 bytes, so this cannot fail.
        Arc::new(ids.unwrap_or_else(|_| FixedSizeBinaryArray::new_null(ID_BYTES as i32, self.rows)))
    }
}

/// Texts that mostly differ from row to row, one behind the other as they were written.
pub(super) struct Texts {
    data: Vec<u8>,
    /// Where each text ends; the first is 0.
    offsets: Vec<i64>,
    nulls: NullBufferBuilder,
}

impl Texts {
    pub(super) fn new(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { data: Vec::with_capacity(bytes), offsets, nulls: NullBufferBuilder::new(rows) }
    }

    /// Where to write the next text.
    pub(super) fn writer(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// What was written since the last text becomes the text of `row`; rows passed over have none.
    pub(super) fn end(&mut self, row: usize) {
        let start = self.offsets[self.offsets.len() - 1];
        let missing = row + 1 - self.offsets.len();
        if missing > 0 {
            self.offsets.resize(row + 1, start);
            self.nulls.append_n_nulls(missing);
        }
        self.offsets.push(self.data.len() as i64);
        self.nulls.append_non_null();
    }

    pub(super) fn set(&mut self, row: usize, text: &[u8]) {
        self.data.extend_from_slice(text);
        self.end(row);
    }

    pub(super) fn finish(mut self, rows: usize) -> StringViewArray {
        let written = self.offsets.len() - 1;
        if written == 0 {
            return StringViewArray::new_null(rows);
        }
        let end = self.offsets[written];
        self.offsets.resize(rows + 1, end);
        self.nulls.append_n_nulls(rows - written);
        let nulls = self.nulls.finish();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let data = Buffer::from_vec(exact(self.data));
        let array = match LargeStringArray::try_new(offsets.clone(), data.clone(), nulls.clone()) {
            Ok(texts) => StringViewArray::from(&texts),
            Err(_) => replaced(&offsets, &data, nulls.as_ref()),
        };
        compact(array)
    }
}

/// All that is written here comes from checked text. Were it not so, a stored `\u{fffd}` would be better than a lost row.
#[cold]
fn replaced(offsets: &[i64], data: &[u8], nulls: Option<&NullBuffer>) -> StringViewArray {
    let text = |(row, range): (usize, &[i64])| {
        let bytes = data.get(range[0] as usize..range[1] as usize).unwrap_or_default();
        nulls.is_none_or(|n| n.is_valid(row)).then(|| String::from_utf8_lossy(bytes).into_owned())
    };
    offsets.windows(2).enumerate().map(text).collect()
}

/// Texts that repeat within a request: each is held once.
pub(super) struct Repeated<'a> {
    keys: Vec<u32>,
    known: HashMap<&'a [u8], u32>,
    values: Texts,
    last: (&'a [u8], u32),
}

/// The key of "no text", the first value of every list of repeated texts.
const NONE: u32 = 0;

impl<'a> Repeated<'a> {
    pub(super) fn new() -> Self {
        Self { keys: Vec::new(), known: HashMap::new(), values: Texts::new(0, 0), last: (&[], NONE) }
    }

    /// Sets the text of `row`; rows passed over have none.
    pub(super) fn set(&mut self, row: usize, text: Utf8<'a>) {
        let text = text.as_bytes();
        if self.last.1 == NONE || self.last.0 != text {
            let next = self.known.len() as u32 + 1;
            let key = *self.known.entry(text).or_insert_with(|| {
                self.values.set(next as usize, text);
                next
            });
            self.last = (text, key);
        }
        self.keys.resize(row, NONE);
        self.keys.push(self.last.1);
    }

    pub(super) fn finish(mut self, rows: usize) -> ArrayRef {
        if self.keys.is_empty() {
            return Arc::new(StringViewArray::new_null(rows));
        }
        self.keys.resize(rows, NONE);
        let values = self.values.finish(self.known.len() + 1);
        by_key::<UInt32Type>(&values, self.keys)
    }
}

/// A column of which row i is `values[keys[i]]`.
pub(super) fn by_key<K: ArrowPrimitiveType>(values: &StringViewArray, keys: Vec<K::Native>) -> ArrayRef {
    let rows = keys.len();
    match take(values, &PrimitiveArray::<K>::new(keys.into(), None), None) {
        Ok(column) => match column.as_string_view_opt() {
            Some(texts) if rows < COMPACT_BELOW_ROWS && !texts.data_buffers().is_empty() => Arc::new(texts.gc()),
            _ => column,
        },
        // Every key was given out for a value, so this cannot happen.
        Err(_) => Arc::new(StringViewArray::new_null(rows)),
    }
}

/// The same text in all rows.
pub(super) fn constant(text: &str, rows: usize) -> ArrayRef {
    by_key::<UInt8Type>(&values([Some(text)]), vec![0; rows])
}

/// A list of values for [`by_key`], in no more memory than they need.
pub(super) fn values<'t>(texts: impl IntoIterator<Item = Option<&'t str>>) -> StringViewArray {
    texts.into_iter().collect::<StringViewArray>().gc()
}

fn compact(array: StringViewArray) -> StringViewArray {
    if array.len() < COMPACT_BELOW_ROWS { array.gc() } else { array }
}

/// Room that is left over is given back when it is worth a copy: the batch may stay in memory for a minute.
fn exact<T>(mut values: Vec<T>) -> Vec<T> {
    if values.capacity() - values.len() > values.len() / 8 {
        values.shrink_to_fit();
    }
    values
}

/// A column of numbers that every row has.
pub(super) fn numbers<T: ArrowPrimitiveType>(values: Vec<T::Native>) -> PrimitiveArray<T> {
    PrimitiveArray::new(exact(values).into(), None)
}
