//! Cursors of a session: queries whose rows are read in parts, as the client asks for them.
//!
//! A cursor's query pauses while nobody reads: a few batches wait, nothing is gathered. Each FETCH has the time of a
//! statement.

use crate::error::QueryError;
use crate::statement::Distance;
use crate::stream::QueryStream;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex as AsyncMutex;

/// Cursors of one session at one time.
const MAX_CURSORS: usize = 16;

/// Open cursors by name.
#[derive(Default)]
pub(crate) struct Cursors(Mutex<HashMap<String, Cursor>>);

#[derive(Clone)]
struct Cursor {
    schema: SchemaRef,
    hold: bool,
    reader: Arc<AsyncMutex<Reader>>,
}

struct Reader {
    rows: QueryStream,
    /// What is left of the last batch.
    rest: Option<RecordBatch>,
    /// Rows that were read.
    position: u64,
}

impl Cursors {
    pub(crate) fn open(&self, name: &str, rows: QueryStream, hold: bool) -> Result<(), QueryError> {
        let mut cursors = self.0.lock();
        if cursors.contains_key(name) {
            return Err(QueryError::CursorExists { name: name.to_owned() });
        }
        if cursors.len() >= MAX_CURSORS {
            return Err(QueryError::TooMuch { what: format!("more than {MAX_CURSORS} cursors at one time") });
        }
        let schema = rows.schema();
        let reader = Arc::new(AsyncMutex::new(Reader { rows, rest: None, position: 0 }));
        cursors.insert(name.to_owned(), Cursor { schema, hold, reader });
        Ok(())
    }

    /// Columns of a cursor.
    pub(crate) fn schema(&self, name: &str) -> Option<SchemaRef> {
        self.0.lock().get(name).map(|cursor| cursor.schema.clone())
    }

    /// Rows of FETCH, read while they are asked for.
    pub(crate) fn fetch(
        &self,
        name: &str,
        distance: Distance,
    ) -> Result<(SchemaRef, BoxStream<'static, Result<RecordBatch, QueryError>>), QueryError> {
        let cursor = self.get(name)?;
        let name = name.to_owned();
        let reader = cursor.reader.clone();
        let first = async move {
            let mut reader = reader.lock_owned().await;
            let (skip, take) = reader.way(&name, distance)?;
            reader.pass(skip).await?;
            Ok((reader, take))
        };
        let parts = futures::stream::once(first).flat_map(|start| match start {
            Ok(start) => futures::stream::try_unfold(start, |(mut reader, left)| async move {
                let batch = reader.next(left).await?;
                Ok(batch.map(|batch| (batch.clone(), (reader, left - batch.num_rows() as u64))))
            })
            .boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        });
        Ok((cursor.schema, parts.boxed()))
    }

    /// MOVE: how many rows were passed over.
    pub(crate) async fn pass(&self, name: &str, distance: Distance) -> Result<u64, QueryError> {
        let cursor = self.get(name)?;
        let mut reader = cursor.reader.lock().await;
        let (skip, take) = reader.way(name, distance)?;
        reader.pass(skip).await?;
        reader.pass(take).await
    }

    fn get(&self, name: &str) -> Result<Cursor, QueryError> {
        self.0.lock().get(name).cloned().ok_or_else(|| QueryError::UnknownCursor { name: name.to_owned() })
    }

    /// CLOSE.
    pub(crate) fn close(&self, name: Option<&str>) -> Result<(), QueryError> {
        let mut cursors = self.0.lock();
        match name {
            None => cursors.clear(),
            Some(name) => {
                cursors.remove(name).ok_or_else(|| QueryError::UnknownCursor { name: name.to_owned() })?;
            }
        }
        Ok(())
    }

    /// The end of a transaction closes every cursor that is not held.
    pub(crate) fn end_transaction(&self) {
        self.0.lock().retain(|_, cursor| cursor.hold);
    }
}

impl Reader {
    /// Rows to pass over, then rows to give.
    fn way(&self, name: &str, distance: Distance) -> Result<(u64, u64), QueryError> {
        Ok(match distance {
            Distance::Rows(rows) => (0, rows),
            Distance::All => (0, u64::MAX),
            Distance::Relative(0) => (0, 0),
            Distance::Relative(rows) => (rows - 1, 1),
            Distance::Absolute(row) if row > self.position => (row - self.position - 1, 1),
            Distance::Absolute(_) => {
                return Err(QueryError::CursorCannot { name: name.to_owned(), what: "go backward: only forward" });
            }
        })
    }

    async fn pass(&mut self, rows: u64) -> Result<u64, QueryError> {
        let mut left = rows;
        while let Some(batch) = self.next(left).await? {
            left -= batch.num_rows() as u64;
        }
        Ok(rows - left)
    }

    /// The next rows, `most` at most; `None` for none.
    async fn next(&mut self, most: u64) -> Result<Option<RecordBatch>, QueryError> {
        if most == 0 {
            return Ok(None);
        }
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.rows.next().await {
                Some(batch) => batch?,
                None => return Ok(None),
            },
        };
        let rows = usize::try_from(most).unwrap_or(usize::MAX).min(batch.num_rows());
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        self.position += rows as u64;
        Ok(Some(batch.slice(0, rows)))
    }
}
