//! Erasing rows for good: out of memory, log, chunks and what they left in the control database.
//!
//! ```text
//! 1 begin   other jobs on chunks end; the log begins a new segment, and what is in memory is committed, all in one seal:
//!           every row appended before is in a chunk now, and no log segment holds its request
//! 2 links   correlations that name rows to be erased go first, and incidents and log templates that may tell of them:
//!           while the rows are there, they can be found again; so do onsets
//! 3 rows    each chunk that holds some is written anew without them; the old file is deleted at once
//! 4 end     every other file that is not in a table is deleted, the control database is written anew
//! 5 prove   all chunks are read again
//! ```
//!
//! A crash leaves a part erased: erasing again does the rest. What is erased does not come back: its requests are gone
//! from the log with step 1, and removed files are deleted by the next start, without a grace.
//!
//! What stays: the counts in the ledger, in which erased rows are accounted for; and digests (hashes) of requests of the
//! last half hour of serving, so that a client that sends an erased request again does not bring its rows back. A link
//! that is found later may name the id of an erased event. What goes of incidents and log templates: `incidents.rs`.

use crate::chunk::file::Place;
use crate::chunk::join::{count_chunk, read_columns};
use crate::chunk::merge::{Merged, Selection, Without, merge};
use crate::control::removals::{Reason, Removal};
use crate::flush::{Request, blocking};
use crate::incidents::ErasedAssets;
use crate::replace::{Farewell, Replacement, discard, removal_path, without_minutes};
use crate::{Chunk, Disk, Snapshot, StorageError, Store};
use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::and;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use hashbrown::HashSet;
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use whence_schema::tables::{correlations, events, metrics};
use whence_schema::{BUCKET_NANOS, EventId, RequestDigest, SeriesId, SpanId, Table, TenantId, TraceId, UnixNanos};

/// Ids of erased rows whose links are looked for at a time, 16 bytes each.
const IDS_AT_A_TIME: usize = 1 << 20;

/// Decides which rows of a batch of stored columns are meant; null is no.
pub type RowCondition = Arc<dyn Fn(&RecordBatch) -> Result<BooleanArray, String> + Send + Sync>;

/// What is to be erased.
#[derive(Clone)]
pub struct Erasure {
    /// Whose rows.
    pub tenant: TenantId,
    /// Of which table; `None` is everything of the tenant: its assets, series, incidents, log templates and onsets
    /// included.
    pub table: Option<Table>,
    /// Which of the table's rows; `None` is all of them.
    pub condition: Option<RowCondition>,
}

impl fmt::Debug for Erasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Erasure({:?}, {:?}, conditional: {})", self.tenant, self.table, self.condition.is_some())
    }
}

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Rows by table, in the order of [`Table::ALL`]. Links that named erased rows are among those of `correlations`.
    pub rows: [u64; 3],
    /// Chunks that were written anew or dropped.
    pub chunks: u64,
    /// Bytes of chunks and log that were freed.
    pub bytes: u64,
    /// Rows, incidents, log templates and hours with onsets found when everything was read again: 0, or not everything is
    /// erased.
    pub remaining: u64,
}

/// Where erasing begins: what the tables hold after step 1.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) chunks: [Vec<Arc<Chunk>>; 3],
    pub(crate) folders: [PathBuf; 3],
    pub(crate) log_bytes: u64,
    pub(crate) disk: Arc<dyn Disk>,
}

impl Erasure {
    fn is_everything(&self) -> bool {
        self.table.is_none() && self.condition.is_none()
    }

    /// The tenant of whom nothing is to stay.
    pub(crate) fn forgotten(&self) -> Option<TenantId> {
        self.is_everything().then(|| self.tenant.clone())
    }

    /// Rows of `table` that are named themselves; `None` when there are none. With all events, all links go.
    fn selection(&self, table: Table) -> Option<Selection> {
        let named = self.table.is_none_or(|named| named == table);
        let links_go = table == Table::Correlations && self.table == Some(Table::Events) && self.condition.is_none();
        if !named && !links_go {
            return None;
        }
        let (tenant, condition) = (self.tenant.clone(), self.condition.clone());
        Some(Arc::new(move |batch| {
            let own = of_tenant(batch, &tenant);
            match &condition {
                Some(condition) if own.true_count() > 0 => {
                    let meant = condition(batch).map_err(StorageError::Condition)?;
                    Ok(and(&own, &meant)?)
                }
                _ => Ok(own),
            }
        }))
    }

    /// Rows whose links have to be looked for.
    fn leaves_links(&self) -> Option<Table> {
        match self.table {
            Some(Table::Events) if self.condition.is_some() => Some(Table::Events),
            Some(Table::Metrics) => Some(Table::Metrics),
            _ => None,
        }
    }
}

fn of_tenant(batch: &RecordBatch, tenant: &TenantId) -> BooleanArray {
    let owners = batch.column(events::column::TENANT_ID).as_string_view();
    owners.iter().map(|owner| Some(owner == Some(tenant.as_str()))).collect()
}

impl Store {
    /// How many rows [`erase`](Self::erase) would erase now, by table in the order of [`Table::ALL`]. Links that only
    /// name such rows are not counted.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read or the condition fails.
    pub async fn count_erasure(&self, erasure: Erasure) -> Result<[u64; 3], StorageError> {
        let snapshot = self.snapshot();
        blocking("erase", move || count_rows(&erasure, &snapshot)).await
    }

    /// Erases rows that were appended before this is called; goes on when the caller does not wait. Takes as long as
    /// reading the tables twice, and writing anew what has some of the rows.
    ///
    /// # Errors
    ///
    /// When another erasure is running, a file cannot be read or written, or the condition fails. A part may have been
    /// erased then; erasing again does the rest.
    pub async fn erase(&self, erasure: Erasure) -> Result<Erased, StorageError> {
        let store = self.clone();
        let task = tokio::spawn(async move {
            let _nothing_is_concluded = store.conclusions().close(&erasure.tenant).await;
            let basis = store.ask_writer(|reply| Request::BeginErasing { tenant: erasure.forgotten(), reply }).await?;
            let (worker, work) = (store.clone(), erasure.clone());
            let outcome = tokio::spawn(async move { worker.erase_from(work, basis).await }).await;
            let outcome = outcome.unwrap_or_else(|error| Err(StorageError::Task(format!("erase: {error}"))));
            let result = outcome.as_ref().map(|(erased, _)| *erased).map_err(ToString::to_string);
            let tenant = erasure.forgotten();
            let ended = store.ask_writer(|reply| Request::EndErasing { tenant, result, reply }).await;
            let (mut erased, chunks) = outcome?;
            ended?;
            let kept = match erasure.forgotten() {
                Some(tenant) => store.control().count_conclusions(&tenant).await?,
                None => 0,
            };
            erased.remaining = kept + blocking("erase", move || remaining(&erasure, &chunks)).await?;
            Ok(erased)
        });
        task.await.map_err(|error| StorageError::Task(format!("erase: {error}")))?
    }

    /// Steps 2 and 3; returns what was erased and the chunks there are now.
    async fn erase_from(&self, erasure: Erasure, basis: Basis) -> Result<(Erased, [Vec<Arc<Chunk>>; 3]), StorageError> {
        let mut work = Work { store: self, tenant: erasure.tenant.clone(), basis, erased: Erased::default() };
        work.erased.bytes = work.basis.log_bytes;
        self.erase_conclusions(&erasure).await?;
        if let Some(table) = erasure.leaves_links()
            && let Some(selection) = erasure.selection(table)
        {
            work.erase_with_links(table, &selection).await?;
        }
        for table in [Table::Correlations, Table::Metrics, Table::Events] {
            if let Some(selection) = erasure.selection(table) {
                let chunks = work.basis.chunks[table as usize].clone();
                work.erase_rows(table, chunks, &selection).await?;
            }
        }
        Ok((work.erased, work.basis.chunks))
    }
}

struct Work<'a> {
    store: &'a Store,
    tenant: TenantId,
    basis: Basis,
    erased: Erased,
}

impl Work<'_> {
    /// Some chunks at a time: first the links that name their rows and what was concluded from them, then the rows.
    async fn erase_with_links(&mut self, table: Table, selection: &Selection) -> Result<(), StorageError> {
        let mut chunks: VecDeque<Arc<Chunk>> = self.basis.chunks[table as usize].clone().into();
        while !chunks.is_empty() {
            let (mut named, mut covered) = (Named::default(), Vec::new());
            while named.ids.len() < IDS_AT_A_TIME
                && let Some(chunk) = chunks.pop_front()
            {
                let (read, selection) = (chunk.clone(), selection.clone());
                named = blocking("erase", move || named.and(table, &read, &selection)).await?;
                covered.push(chunk);
            }
            if named.assets.is_empty() {
                continue;
            }
            self.store.erase_conclusions_about(&self.tenant, &named.assets).await?;
            let (ids, tenant) = (Arc::new(named.ids), self.tenant.clone());
            let naming: Selection = Arc::new(move |batch| Ok(and(&of_tenant(batch, &tenant), &naming(batch, &ids))?));
            let links = self.basis.chunks[Table::Correlations as usize].clone();
            self.erase_rows(Table::Correlations, links, &naming).await?;
            self.erase_rows(table, covered, selection).await?;
        }
        Ok(())
    }

    async fn erase_rows(
        &mut self,
        table: Table,
        chunks: Vec<Arc<Chunk>>,
        selection: &Selection,
    ) -> Result<(), StorageError> {
        for chunk in chunks {
            let (folder, old) = (self.basis.folders[table as usize].clone(), chunk.clone());
            let (selection, tenant, disk) = (selection.clone(), self.tenant.clone(), self.basis.disk.clone());
            let merged =
                blocking("erase", move || without_rows(&disk, table, &folder, &old, &tenant, selection)).await?;
            let Some(merged) = merged else { continue };
            let new: Vec<Arc<Chunk>> = merged.chunk.into_iter().collect();
            let rows = without_minutes(merged.removed);
            let path = removal_path(table, &chunk);
            let removals =
                if rows.is_empty() { Vec::new() } else { vec![Removal { reason: Reason::Erase, path, rows }] };
            let (old, farewell) = (vec![chunk.clone()], Farewell::Now);
            let replacement = Replacement { table, old, new: new.clone(), removals, same_rows: false, farewell };
            self.store.ask_writer(|reply| Request::Replace { replacement: Box::new(replacement), reply }).await?;
            self.erased.rows[table as usize] += merged.removed_rows;
            self.erased.chunks += 1;
            let kept: u64 = new.iter().map(|chunk| chunk.bytes).sum();
            self.erased.bytes += chunk.bytes.saturating_sub(kept);
            let now = &mut self.basis.chunks[table as usize];
            now.retain(|other| !Arc::ptr_eq(other, &chunk));
            now.extend(new);
        }
        Ok(())
    }
}

fn selected(batch: &RecordBatch, selection: &Selection) -> Result<u64, StorageError> {
    Ok(selection(batch)?.true_count() as u64)
}

fn all_columns(table: Table) -> Vec<usize> {
    (0..table.stored_schema().fields().len()).collect()
}

/// The chunk without its selected rows; `None` when it has none.
fn without_rows(
    disk: &Arc<dyn Disk>,
    table: Table,
    folder: &std::path::Path,
    chunk: &Arc<Chunk>,
    tenant: &TenantId,
    selection: Selection,
) -> Result<Option<Merged>, StorageError> {
    if !chunk.tenants()?.iter().any(|owner| owner == tenant.as_str()) {
        return Ok(None);
    }
    let (mut rows, mut meant) = (0, 0);
    for batch in read_columns(chunk, &all_columns(table))? {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        meant += selected(&batch, &selection)?;
        if meant > 0 && meant < rows {
            break;
        }
    }
    if meant == 0 {
        return Ok(None);
    }
    if meant == rows && rows == chunk.rows {
        return Ok(Some(Merged { chunk: None, removed: count_chunk(table, chunk)?, removed_rows: rows }));
    }
    let merged = merge(&Place::of(disk, table, folder, chunk), &[(chunk.clone(), Without::Rows(selection))])?;
    if merged.removed_rows == 0 {
        merged.chunk.iter().for_each(|chunk| discard(std::slice::from_ref(chunk)));
        return Ok(None);
    }
    Ok(Some(merged))
}

/// By what other rows may name the selected ones.
#[derive(Default)]
struct Named {
    ids: HashSet<EventId>,
    assets: ErasedAssets,
}

impl Named {
    /// With the selected rows of another chunk.
    fn and(mut self, table: Table, chunk: &Chunk, selection: &Selection) -> Result<Self, StorageError> {
        for batch in read_columns(chunk, &all_columns(table))? {
            let batch = batch?;
            let meant = selection(&batch)?;
            for row in (0..batch.num_rows()).filter(|row| meant.is_valid(*row) && meant.value(*row)) {
                self.ids.extend(match table {
                    Table::Metrics => metric_id(&batch, row),
                    _ => event_id(&batch, row),
                });
                self.name_asset(table, &batch, row);
            }
        }
        Ok(self)
    }

    fn name_asset(&mut self, table: Table, batch: &RecordBatch, row: usize) {
        let (asset, lasted) = match table {
            Table::Metrics => (metrics::column::ASSET_ID, BUCKET_NANOS),
            _ => {
                let durations = batch.column(events::column::DURATION_NS).as_primitive::<Int64Type>();
                (events::column::ASSET_ID, if durations.is_valid(row) { durations.value(row) } else { 0 })
            }
        };
        let asset = batch.column(asset).as_string_view().value(row);
        let micros = batch.column(events::column::TIMESTAMP).as_primitive::<TimestampMicrosecondType>().value(row);
        let from = UnixNanos(micros.saturating_mul(1_000));
        let to = UnixNanos(from.0.saturating_add(999).saturating_add(lasted.max(0)));
        match self.assets.get_mut(asset) {
            Some((first, last)) => (*first, *last) = ((*first).min(from), (*last).max(to)),
            None => {
                self.assets.insert(asset.to_owned(), (from, to));
            }
        }
    }
}

fn event_id(batch: &RecordBatch, row: usize) -> Option<EventId> {
    use events::column as at;
    let number = |column: usize| {
        let numbers = batch.column(column).as_primitive::<Int64Type>();
        numbers.is_valid(row).then(|| numbers.value(row))
    };
    if let Some(digest) = number(at::REQUEST_DIGEST) {
        let position = batch.column(at::POSITION).as_primitive::<Int32Type>().value(row);
        let digest = RequestDigest(u128::from(digest as u64) << 64);
        return Some(EventId::of_position(digest, position as u32));
    }
    let traces = batch.column(at::TRACE_ID).as_fixed_size_binary();
    let trace = traces.is_valid(row).then(|| TraceId::from_slice(traces.value(row)))??;
    Some(EventId::of_span(trace, SpanId(number(at::SPAN_ID)? as u64)))
}

fn metric_id(batch: &RecordBatch, row: usize) -> Option<EventId> {
    use metrics::column as at;
    let series = batch.column(at::SERIES).as_fixed_size_binary().value(row).try_into().ok()?;
    let time = batch.column(at::TIMESTAMP).as_primitive::<TimestampMicrosecondType>().value(row);
    Some(EventId::of_metric_row(SeriesId(u128::from_be_bytes(series)), time))
}

/// Links one end of which is among `ids`.
fn naming(batch: &RecordBatch, ids: &HashSet<EventId>) -> BooleanArray {
    use correlations::column as at;
    let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>();
    let (primary_high, primary_low) = (numbers(at::PRIMARY_HIGH), numbers(at::PRIMARY_LOW));
    let (related_high, related_low) = (numbers(at::RELATED_HIGH), numbers(at::RELATED_LOW));
    let names = |row: usize| {
        let related = related_high.value(row);
        let primary = if primary_high.is_valid(row) { primary_high.value(row) } else { related };
        ids.contains(&EventId::from_halves(primary as u64, primary_low.value(row) as u64))
            || ids.contains(&EventId::from_halves(related as u64, related_low.value(row) as u64))
    };
    (0..batch.num_rows()).map(|row| Some(names(row))).collect()
}

fn count_rows(erasure: &Erasure, snapshot: &Snapshot) -> Result<[u64; 3], StorageError> {
    let mut counts = [0; 3];
    for table in Table::ALL {
        let Some(selection) = erasure.selection(table) else { continue };
        let rows = snapshot.table(table);
        for batch in &rows.batches {
            counts[table as usize] += selected(batch, &selection)?;
        }
        counts[table as usize] += count_in(table, &rows.chunks, &erasure.tenant, &selection)?;
    }
    Ok(counts)
}

fn remaining(erasure: &Erasure, chunks: &[Vec<Arc<Chunk>>; 3]) -> Result<u64, StorageError> {
    let mut rows = 0;
    for table in Table::ALL {
        if let Some(selection) = erasure.selection(table) {
            rows += count_in(table, &chunks[table as usize], &erasure.tenant, &selection)?;
        }
    }
    Ok(rows)
}

fn count_in(
    table: Table,
    chunks: &[Arc<Chunk>],
    tenant: &TenantId,
    selection: &Selection,
) -> Result<u64, StorageError> {
    let mut rows = 0;
    for chunk in chunks {
        if chunk.tenants()?.iter().any(|owner| owner == tenant.as_str()) {
            for batch in read_columns(chunk, &all_columns(table))? {
                rows += selected(&batch?, selection)?;
            }
        }
    }
    Ok(rows)
}
