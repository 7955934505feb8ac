//! Where a cursor stands, and the rows around it.

use crate::error::QueryError;
use crate::statement::Distance;
use crate::stream::QueryStream;
use arrow::array::UInt64Array;
use arrow::compute::take_record_batch;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;

/// Bytes of rows that a SCROLL cursor keeps.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// What FETCH answers with.
pub(super) enum Step {
    /// So many of the rows to come.
    Next(u64),
    /// Rows that were read before.
    Kept(Vec<RecordBatch>),
}

/// Reads a query's rows forward; with SCROLL also backward.
pub(super) struct Reader {
    rows: QueryStream,
    /// What is left of the last batch.
    rest: Option<RecordBatch>,
    /// The row it stands on, counted from 1: 0 is before the first, one more than there are is behind the last.
    position: u64,
    /// Rows that were read, of a SCROLL cursor.
    kept: Option<Kept>,
}

#[derive(Default)]
struct Kept {
    batches: Vec<RecordBatch>,
    rows: u64,
    bytes: usize,
    /// All there are.
    complete: bool,
}

impl Reader {
    pub(super) fn new(rows: QueryStream, scroll: bool) -> Self {
        Self { rows, rest: None, position: 0, kept: scroll.then(Kept::default) }
    }

    /// Goes so far, and says what is on the way.
    pub(super) async fn step(&mut self, distance: Distance) -> Result<Step, QueryError> {
        match self.kept.take() {
            Some(mut kept) => {
                let step = self.scroll(&mut kept, distance).await;
                self.kept = Some(kept);
                step.map(Step::Kept)
            }
            None => self.forward(distance).await.map(Step::Next),
        }
    }

    /// Passes over what FETCH does not give; the number of rows that it gives.
    async fn forward(&mut self, distance: Distance) -> Result<u64, QueryError> {
        let (skip, take) = match distance {
            Distance::Rows(rows) => (0, rows),
            Distance::All => (0, u64::MAX),
            // Before the first row there is none to give again.
            Distance::Relative(0) if self.position == 0 => (0, 0),
            Distance::Relative(rows) if rows > 0 => (rows.unsigned_abs() - 1, 1),
            Distance::Absolute(row) if row > 0 && row.unsigned_abs() > self.position => {
                (row.unsigned_abs() - self.position - 1, 1)
            }
            Distance::Absolute(0) if self.position == 0 => (0, 0),
            // The last row is known once the one behind it was asked for, and is gone then.
            Distance::Relative(_) | Distance::Absolute(_) | Distance::Back(_) => {
                return Err(QueryError::CursorForwardOnly);
            }
        };
        self.pass(skip).await?;
        Ok(take)
    }

    /// Passes over so many rows; how many there were.
    pub(super) async fn pass(&mut self, rows: u64) -> Result<u64, QueryError> {
        let mut left = rows;
        while let Some(batch) = self.next(left).await? {
            left -= batch.num_rows() as u64;
        }
        Ok(rows - left)
    }

    /// The next rows, `most` at most; `None` for none.
    pub(super) async fn next(&mut self, most: u64) -> Result<Option<RecordBatch>, QueryError> {
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

    async fn scroll(&mut self, kept: &mut Kept, distance: Distance) -> Result<Vec<RecordBatch>, QueryError> {
        let here = self.position;
        let one = |row: u64| (row, row);
        let (first, last) = match distance {
            Distance::Rows(rows) => (here + 1, here.saturating_add(rows)),
            Distance::All => (here + 1, u64::MAX),
            Distance::Back(rows) => {
                let last = here.saturating_sub(1);
                self.position = here.saturating_sub(rows);
                return kept.backward(here.saturating_sub(rows).max(1), last);
            }
            Distance::Relative(rows) => one(here.saturating_add_signed(rows)),
            Distance::Absolute(row) if row >= 0 => one(row.unsigned_abs()),
            Distance::Absolute(from_end) => {
                self.read(kept, u64::MAX).await?;
                one((kept.rows + 1).saturating_sub(from_end.unsigned_abs()))
            }
        };
        self.read(kept, last).await?;
        self.position = last.min(kept.rows + 1);
        kept.forward(first, last.min(kept.rows))
    }

    /// Reads until there are so many rows, or no more.
    async fn read(&mut self, kept: &mut Kept, rows: u64) -> Result<(), QueryError> {
        while kept.rows < rows && !kept.complete {
            match self.rows.next().await {
                Some(batch) => kept.keep(batch?)?,
                None => kept.complete = true,
            }
        }
        Ok(())
    }
}

impl Kept {
    fn keep(&mut self, batch: RecordBatch) -> Result<(), QueryError> {
        self.bytes += batch.get_array_memory_size();
        if self.bytes > MAX_KEPT_BYTES {
            let what =
                format!("more than {} MiB of rows in a SCROLL cursor (declare it without)", MAX_KEPT_BYTES >> 20);
            return Err(QueryError::TooMuch { what });
        }
        self.rows += batch.num_rows() as u64;
        self.batches.push(batch);
        Ok(())
    }

    /// Rows from `first` to `last`, counted from 1.
    fn forward(&self, first: u64, last: u64) -> Result<Vec<RecordBatch>, QueryError> {
        let mut before = 0;
        let mut found = Vec::new();
        for batch in &self.batches {
            let (start, end) = (before + 1, before + batch.num_rows() as u64);
            before = end;
            let (from, to) = (first.max(start), last.min(end));
            if from <= to {
                let offset = usize::try_from(from - start).unwrap_or(usize::MAX);
                found.push(batch.slice(offset, usize::try_from(to - from + 1).unwrap_or(usize::MAX)));
            }
        }
        Ok(found)
    }

    /// The same rows from `last` to `first`.
    fn backward(&self, first: u64, last: u64) -> Result<Vec<RecordBatch>, QueryError> {
        let parts = self.forward(first, last)?.into_iter().rev();
        let turned = |part: RecordBatch| {
            let rows = part.num_rows() as u64;
            take_record_batch(&part, &UInt64Array::from_iter_values((0..rows).rev()))
        };
        Ok(parts.map(turned).collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{AsArray, Int32Array};
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    fn seven(scroll: bool) -> Reader {
        let batch = |from: i32, to: i32| {
            RecordBatch::try_from_iter([("g", Arc::new(Int32Array::from_iter_values(from..=to)) as _)]).unwrap()
        };
        let parts = [batch(1, 3), batch(4, 4), batch(5, 7)].map(Ok);
        let schema = parts[0].as_ref().unwrap().schema();
        Reader::new(QueryStream::of_parts(schema, futures::stream::iter(parts).boxed(), None), scroll)
    }

    async fn fetch(reader: &mut Reader, distance: Distance) -> Option<Vec<i32>> {
        let batches = match reader.step(distance).await.ok()? {
            Step::Kept(batches) => batches,
            Step::Next(mut left) => {
                let mut batches = Vec::new();
                while let Some(batch) = reader.next(left).await.ok()? {
                    left -= batch.num_rows() as u64;
                    batches.push(batch);
                }
                batches
            }
        };
        Some(batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect())
    }

    /// The same steps with PostgreSQL 15 give the same rows.
    #[tokio::test]
    async fn a_scroll_cursor_goes_where_postgresqls_goes() {
        let mut reader = seven(true);
        for (distance, rows) in [
            (Distance::Back(1), vec![]),
            (Distance::Rows(2), vec![1, 2]),
            (Distance::Relative(0), vec![2]),
            (Distance::Back(1), vec![1]),
            (Distance::Back(1), vec![]),
            (Distance::Rows(1), vec![1]),
            (Distance::Absolute(-1), vec![7]),
            (Distance::Rows(1), vec![]),
            (Distance::Back(3), vec![7, 6, 5]),
            (Distance::Absolute(3), vec![3]),
            (Distance::Relative(2), vec![5]),
            (Distance::Relative(-4), vec![1]),
            (Distance::Absolute(0), vec![]),
            (Distance::All, vec![1, 2, 3, 4, 5, 6, 7]),
            (Distance::Relative(0), vec![]),
            (Distance::Back(u64::MAX), vec![7, 6, 5, 4, 3, 2, 1]),
            (Distance::Absolute(9), vec![]),
            (Distance::Back(1), vec![7]),
            (Distance::Absolute(-9), vec![]),
            (Distance::Rows(1), vec![1]),
        ] {
            assert_eq!(fetch(&mut reader, distance).await, Some(rows), "{distance:?}");
        }
    }

    #[tokio::test]
    async fn others_go_forward_only() {
        let mut reader = seven(false);
        assert_eq!(fetch(&mut reader, Distance::Absolute(2)).await, Some(vec![2]));
        for distance in [Distance::Back(1), Distance::Relative(-1), Distance::Absolute(1), Distance::Absolute(-1)] {
            assert_eq!(fetch(&mut reader, distance).await, None, "{distance:?}");
        }
        assert_eq!(fetch(&mut reader, Distance::Rows(3)).await, Some(vec![3, 4, 5]));
    }
}
