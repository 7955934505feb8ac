//! The bytes of the index, written and read. Layout: see the top of `text.rs`.

use super::condition::{TextCondition, Wanted};
use super::filter::is_in;
use crate::{Chunk, StorageError};
use memchr::memmem;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use whence_schema::Table;
use xxhash_rust::xxh3::xxh3_64;

/// Key in a chunk's footer.
pub(crate) const TEXT_INDEX: &str = "whence.text_index";
const VERSION: &str = "1";
const ZSTD_LEVEL: i32 = 3;
const CHECKSUM_BYTES: usize = 8;
/// What is read of a file in a bucket to find its footer: enough for most.
const FOOTER_BYTES: u64 = 1 << 16;

/// Whether chunks of the table have an index.
pub(super) fn is_about_text(table: Table) -> bool {
    table == Table::Events
}

/// What is known of one row group. `None`: it would have been too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) rows: usize,
    /// Words between line feeds, sorted.
    pub(super) dictionary: Option<Vec<u8>>,
    /// See `filter.rs`.
    pub(super) filter: Option<Vec<u8>>,
}

/// Bytes of the index of a chunk that is being written, and where they are.
#[derive(Debug, Default)]
pub(crate) struct TextIndex {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Entry {
    offset: u64,
    dictionary: usize,
    filter: usize,
}

impl TextIndex {
    /// Bytes of a row group of new rows, which the caller writes at `offset`.
    pub(crate) fn push(&mut self, group: &Group, offset: u64) -> Result<Vec<u8>, StorageError> {
        let mut bytes = Vec::new();
        let mut entry = Entry { offset, ..Entry::default() };
        if let Some(dictionary) = &group.dictionary {
            let packed = zstd::bulk::compress(dictionary, ZSTD_LEVEL)
                .map_err(|error| StorageError::Task(format!("text index: {error}")))?;
            entry.dictionary = append(&mut bytes, &packed);
        }
        if let Some(filter) = &group.filter {
            entry.filter = append(&mut bytes, filter);
        }
        self.entries.push(entry);
        Ok(bytes)
    }

    /// Bytes of a row group that is copied from `chunk`.
    pub(crate) fn copy(
        &mut self,
        from: &Self,
        group: usize,
        chunk: &Chunk,
        offset: u64,
    ) -> Result<Vec<u8>, StorageError> {
        let entry = from.entries.get(group).copied().unwrap_or_default();
        let bytes = chunk.read_at(entry.offset, entry.dictionary + entry.filter)?;
        self.entries.push(Entry { offset, ..entry });
        Ok(bytes)
    }

    /// For the footer.
    pub(crate) fn key_value(&self) -> KeyValue {
        let entry = |entry: &Entry| format!("{}:{}:{}", entry.offset, entry.dictionary, entry.filter);
        let entries: Vec<String> = self.entries.iter().map(entry).collect();
        KeyValue::new(TEXT_INDEX.to_owned(), format!("{VERSION} {}", entries.join(",")))
    }

    /// Where a chunk has its index; nothing is known of the row groups of one without.
    pub(crate) fn of(metadata: &ParquetMetaData) -> Self {
        let entries = metadata.file_metadata().key_value_metadata().and_then(|pairs| {
            let value = pairs.iter().find(|pair| pair.key == TEXT_INDEX)?.value.as_deref()?;
            let entries = value.strip_prefix(VERSION)?.strip_prefix(' ')?.split(',').map(|entry| {
                let mut numbers = entry.splitn(3, ':');
                Some(Entry {
                    offset: numbers.next()?.parse().ok()?,
                    dictionary: numbers.next()?.parse().ok()?,
                    filter: numbers.next()?.parse().ok()?,
                })
            });
            entries.collect::<Option<Vec<_>>>().filter(|entries| entries.len() == metadata.num_row_groups())
        });
        Self { entries: entries.unwrap_or_default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    /// Whether a row of the row group can be what is wanted. What cannot be read is taken for one that can.
    fn may_hold(&self, chunk: &Chunk, condition: &TextCondition) -> Result<bool, StorageError> {
        let (words, ids) = condition.asks_for();
        let part = |wanted: bool, offset: usize, bytes: usize| -> Result<Option<Vec<u8>>, StorageError> {
            if !wanted || bytes == 0 {
                return Ok(None);
            }
            Ok(checked(chunk, chunk.read_at(self.offset + offset as u64, bytes)?))
        };
        let dictionary = part(words, 0, self.dictionary)?;
        let dictionary = dictionary.and_then(|packed| zstd::decode_all(packed.as_slice()).ok());
        let filter = part(ids, self.dictionary, self.filter)?;
        Ok(may_hold(condition, dictionary.as_deref(), filter.as_deref()))
    }
}

/// Of a row group with this dictionary and this filter.
pub(super) fn may_hold(condition: &TextCondition, dictionary: Option<&[u8]>, filter: Option<&[u8]>) -> bool {
    condition.may_hold(&|wanted| match wanted {
        Wanted::Word(pattern) => dictionary.is_none_or(|words| memmem::find(words, pattern.as_bytes()).is_some()),
        Wanted::Id(hash) => filter.is_none_or(|filter| is_in(filter, *hash)),
    })
}

/// Puts a checksum before `part`; returns how many bytes that is.
fn append(bytes: &mut Vec<u8>, part: &[u8]) -> usize {
    bytes.extend_from_slice(&xxh3_64(part).to_le_bytes());
    bytes.extend_from_slice(part);
    CHECKSUM_BYTES + part.len()
}

fn checked(chunk: &Chunk, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let checksum = bytes.get(..CHECKSUM_BYTES).and_then(|checksum| checksum.try_into().ok()).map(u64::from_le_bytes);
    let part = bytes.split_off(bytes.len().min(CHECKSUM_BYTES));
    if checksum == Some(xxh3_64(&part)) {
        return Some(part);
    }
    tracing::warn!(path = %chunk.path.display(), "damaged text index: the texts are read; run whence verify");
    None
}

impl Chunk {
    /// For each row group, whether it may have a row for which `condition` holds; `None` when nothing is known of any.
    /// Blocks, also on asking a bucket, from which the file
    /// itself is not fetched.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn row_groups_with(&self, condition: &TextCondition) -> Result<Option<Vec<bool>>, StorageError> {
        let index = self.text_index()?;
        if index.is_empty() {
            return Ok(None);
        }
        let groups = index.entries.iter().map(|entry| entry.may_hold(self, condition));
        groups.collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// Where the index is, found once. Blocks.
    fn text_index(&self) -> Result<&TextIndex, StorageError> {
        if let Some(index) = self.text_index.get() {
            return Ok(index);
        }
        let found = if self.path.exists() {
            TextIndex::of(self.footer()?.metadata())
        } else {
            TextIndex::of(&self.footer_alone().map_err(StorageError::chunk(&self.path))?)
        };
        Ok(self.text_index.get_or_init(|| found))
    }

    /// The footer without the file.
    fn footer_alone(&self) -> Result<ParquetMetaData, ParquetError> {
        let mut reader = ParquetMetaDataReader::new();
        let mut wanted = FOOTER_BYTES.min(self.bytes);
        loop {
            let tail = self.read_at(self.bytes - wanted, wanted as usize);
            let tail = tail.map_err(|error| ParquetError::External(Box::new(error)))?;
            match reader.try_parse_sized(&bytes::Bytes::from(tail), self.bytes) {
                Err(ParquetError::NeedMoreData(more)) if (more as u64) > wanted => wanted = self.bytes.min(more as u64),
                outcome => return outcome.and_then(|()| reader.finish()),
            }
        }
    }
}
