//! Dropping rows that are older than they are kept.
//!
//! Age counts from the later of the latest event and the writing of the chunk, so a recording of years ago can be loaded
//! and kept. Whole chunks go; one is written anew only if it holds rows of tenants that keep them for longer as well.
//! Incidents and log templates are kept as long as links.

use crate::chunk::file::Place;
use crate::chunk::join::count_chunk;
use crate::chunk::merge::{Selection, Without, merge};
use crate::control::removals::{Reason, Removal};
use crate::flush::{ChunkWriter, blocking};
use crate::replace::{Farewell, Replacement, removal_path, without_minutes};
use crate::{Chunk, Disk, Retention, StorageError};
use arrow::array::{AsArray, BooleanArray};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use whence_schema::tables::events::column::TENANT_ID;
use whence_schema::{Table, UnixNanos};

/// Tenants of a chunk whose rows have expired.
#[derive(Debug, PartialEq, Eq)]
enum Expired {
    Nothing,
    Some(HashSet<String>),
    Everything,
}

/// Blocks where tenants have retentions of their own.
fn expired(table: Table, chunk: &Chunk, retention: &Retention, now: UnixNanos) -> Result<Expired, StorageError> {
    let newest = chunk.max_time.0.div_euclid(1_000_000_000).max(chunk.created_seconds);
    let age = now.0.div_euclid(1_000_000_000).saturating_sub(newest);
    let too_old =
        |keep: Option<Duration>| keep.is_some_and(|keep| i64::try_from(keep.as_secs()).unwrap_or(i64::MAX) < age);
    if retention.all_of(table).iter().all(|keep| !too_old(*keep)) {
        return Ok(Expired::Nothing);
    }
    if retention.all_of(table).iter().all(|keep| too_old(*keep)) {
        return Ok(Expired::Everything);
    }
    let tenants = chunk.tenants()?;
    let old: HashSet<String> = tenants.iter().filter(|tenant| too_old(retention.of(table, tenant))).cloned().collect();
    Ok(match old.len() {
        0 => Expired::Nothing,
        all if all == tenants.len() => Expired::Everything,
        _ => Expired::Some(old),
    })
}

/// What takes the place of a chunk of which something has expired.
fn without_expired(
    disk: &Arc<dyn Disk>,
    table: Table,
    folder: &std::path::Path,
    chunk: &Arc<Chunk>,
    expired: Expired,
    reason: Reason,
) -> Result<Option<Replacement>, StorageError> {
    let (new, rows) = match expired {
        Expired::Nothing => return Ok(None),
        Expired::Everything => (Vec::new(), count_chunk(table, chunk)?),
        Expired::Some(tenants) => {
            let selection: Selection = Arc::new(move |batch| {
                let owners = batch.column(TENANT_ID).as_string_view();
                let expired = owners.iter().map(|owner| Some(owner.is_some_and(|owner| tenants.contains(owner))));
                Ok(expired.collect::<BooleanArray>())
            });
            let merged = merge(&Place::of(disk, table, folder, chunk), &[(chunk.clone(), Without::Rows(selection))])?;
            (merged.chunk.into_iter().collect(), merged.removed)
        }
    };
    let rows = without_minutes(rows);
    let path = removal_path(table, chunk);
    let removals = if rows.is_empty() { Vec::new() } else { vec![Removal { reason, path, rows }] };
    let old = vec![chunk.clone()];
    Ok(Some(Replacement { table, old, new, removals, same_rows: false, farewell: Farewell::Grace }))
}

impl ChunkWriter {
    /// Drops expired rows of every table, incidents and log templates; returns how many chunks rows were in.
    pub(crate) async fn drop_expired(&mut self) -> Result<usize, StorageError> {
        let mut dropped = 0;
        // A join that is running may hold expired chunks: they go once it has ended.
        if self.joining.is_some() || self.erasing || !self.ledger_is_complete() {
            return Ok(dropped);
        }
        let now = (self.shared.options.clock)();
        for table in Table::ALL {
            for chunk in self.committed(table) {
                let (retention, folder) = (self.shared.options.retention.clone(), self.tables[table as usize].folder());
                let (folder, disk) = (folder.to_owned(), self.shared.options.disk.clone());
                let replacement = blocking("retention", move || {
                    let expired = expired(table, &chunk, &retention, now)?;
                    without_expired(&disk, table, &folder, &chunk, expired, Reason::Retention)
                });
                if let Some(replacement) = replacement.await? {
                    self.put_in_place(replacement).await?;
                    dropped += 1;
                }
            }
        }
        let retention = &self.shared.options.retention;
        let conclusions = self.control.drop_old_conclusions(retention, now).await?
            + self.control.drop_old_onset_hours(retention, now).await?;
        if conclusions > 0 {
            tracing::info!(conclusions, "dropped incidents and log templates beyond the retention of correlations");
        }
        if dropped > 0 {
            tracing::info!(chunks = dropped, "dropped rows beyond retention");
        }
        Ok(dropped)
    }

    /// Drops chunks whole because there is no room for them.
    pub(crate) async fn drop_for_room(&mut self, table: Table, chunk: Arc<Chunk>) -> Result<(), StorageError> {
        let folder = self.tables[table as usize].folder().to_owned();
        let disk = self.shared.options.disk.clone();
        let replacement = blocking("disk cap", move || {
            without_expired(&disk, table, &folder, &chunk, Expired::Everything, Reason::DiskCap)
        });
        if let Some(replacement) = replacement.await? {
            self.put_in_place(Replacement { farewell: Farewell::Unread, ..replacement }).await?;
        }
        Ok(())
    }
}
