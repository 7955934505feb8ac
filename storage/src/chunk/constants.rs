//! What a chunk's footer says of columns that have one value in all rows, or none in any. Readers need not decode them:
//! the tenant of a store with one, and all that only log records or only spans have.

use super::Chunk;
use crate::StorageError;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;

/// What a column has in every row of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    /// This text.
    Text(Arc<str>),
    /// NULL.
    Null,
}

impl Chunk {
    /// Columns that are the same in all rows, by name. `None` while that is not known without fetching the file from a
    /// bucket. Blocks the first time.
    ///
    /// # Errors
    ///
    /// When the file is here and cannot be read.
    pub fn constants(&self) -> Result<Option<&[(String, Constant)]>, StorageError> {
        if let Some(known) = self.constants.get() {
            return Ok(Some(known));
        }
        let found = match self.footer.get() {
            Some(footer) => of(footer.metadata()),
            None => match File::open(&self.path) {
                Ok(file) => {
                    // Not kept: the footers of thousands of chunks are large, and this is all that is asked of most.
                    let footer = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
                    of(footer.map_err(StorageError::chunk(&self.path))?.metadata())
                }
                Err(error) if error.kind() == ErrorKind::NotFound && self.uploaded() => return Ok(None),
                Err(error) => return Err(StorageError::file("open", &self.path)(error)),
            },
        };
        Ok(Some(self.constants.get_or_init(|| found)))
    }

    /// What [`constants`](Self::constants) has found before; nothing if it was never asked.
    pub fn known_constants(&self) -> &[(String, Constant)] {
        self.constants.get().map_or(&[], |known| known)
    }

    /// Whether [`constants`](Self::constants) answers without reading.
    pub fn knows_its_constants(&self) -> bool {
        self.constants.get().is_some()
    }
}

fn of(footer: &ParquetMetaData) -> Box<[(String, Constant)]> {
    let columns = footer.file_metadata().schema_descr().columns().iter().enumerate();
    let constant = |(index, column): (usize, &parquet::schema::types::ColumnDescPtr)| {
        let mut groups = footer.row_groups().iter().map(|group| {
            let statistics = group.column(index).statistics()?;
            constant_in(statistics, group.num_rows().unsigned_abs())
        });
        let first = groups.next()??;
        groups.all(|other| other.as_ref() == Some(&first)).then(|| (column.name().to_owned(), first))
    };
    columns.filter_map(constant).collect()
}

/// The one value of a column in a row group.
fn constant_in(statistics: &Statistics, rows: u64) -> Option<Constant> {
    match statistics.null_count_opt()? {
        nulls if nulls == rows => Some(Constant::Null),
        0 => match statistics {
            // Long texts are cut short in statistics.
            Statistics::ByteArray(texts) if texts.min_is_exact() && texts.max_is_exact() => {
                let (min, max) = (texts.min_opt()?, texts.max_opt()?);
                (min == max).then(|| Some(Constant::Text(min.as_utf8().ok()?.into()))).flatten()
            }
            _ => None,
        },
        _ => None,
    }
}
