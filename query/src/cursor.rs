//! Cursors of a session: queries whose rows are read in parts, as the client asks for them.
//!
//! A cursor's query pauses while nobody reads: a few batches wait, nothing is gathered. A SCROLL cursor keeps the rows that
//! it has read, up to a limit, and goes back over them. Each FETCH has the time of a statement.

mod reader;

use crate::error::QueryError;
use crate::statement::Distance;
use crate::stream::QueryStream;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use reader::{Reader, Step};
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

impl Cursors {
    pub(crate) fn open(&self, name: &str, rows: QueryStream, (hold, scroll): (bool, bool)) -> Result<(), QueryError> {
        let mut cursors = self.0.lock();
        if cursors.contains_key(name) {
            return Err(QueryError::CursorExists { name: name.to_owned() });
        }
        if cursors.len() >= MAX_CURSORS {
            return Err(QueryError::TooMuch { what: format!("more than {MAX_CURSORS} cursors at one time") });
        }
        let schema = rows.schema();
        let reader = Arc::new(AsyncMutex::new(Reader::new(rows, scroll)));
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
        let reader = cursor.reader.clone();
        let first = async move {
            let mut reader = reader.lock_owned().await;
            let step = reader.step(distance).await?;
            Ok((reader, step))
        };
        let parts = futures::stream::once(first).flat_map(|start| match start {
            Ok((reader, Step::Next(take))) => {
                futures::stream::try_unfold((reader, take), |(mut reader, left)| async move {
                    let batch = reader.next(left).await?;
                    Ok(batch.map(|batch| (batch.clone(), (reader, left - batch.num_rows() as u64))))
                })
                .boxed()
            }
            Ok((_, Step::Kept(batches))) => futures::stream::iter(batches.into_iter().map(Ok)).boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        });
        Ok((cursor.schema, parts.boxed()))
    }

    /// MOVE: how many rows FETCH would have given.
    pub(crate) async fn pass(&self, name: &str, distance: Distance) -> Result<u64, QueryError> {
        let cursor = self.get(name)?;
        let mut reader = cursor.reader.lock().await;
        match reader.step(distance).await? {
            Step::Next(take) => reader.pass(take).await,
            Step::Kept(batches) => Ok(batches.iter().map(|batch| batch.num_rows() as u64).sum()),
        }
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
