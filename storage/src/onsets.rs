//! What the correlator found in each hour of the last day: onsets of trouble, and the links that it stored.
//!
//! Onsets are few and small; what follows what shows only over many hours, which nobody wants to read again. They are
//! rows of the control database, one for each hour.
//!
//! Links go into `correlations`, whose rows leave memory with the next commit. So that a crash before it loses none and a
//! crash after it doubles none, they are put beside the hour in the same transaction that says that the hour is done,
//! and a start stores those that are not in the table:
//!
//! ```text
//! put:    not in the table yet -> control database: hour, onsets, links (one transaction) -> memtable -> next commit
//! start:  control database: links of the last day -> not in the table -> memtable -> next commit
//! ```
//!
//! Erasing begins with a commit, after which all links are in the table, and are forgotten here: what is erased from the
//! table does not come back. Onsets go with the events that they are of.

use crate::flush::blocking;
use crate::incidents::ErasedAssets;
use crate::{LinkSide, Snapshot, StorageError, Store};
use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use hashbrown::HashSet;
use whence_schema::tables::correlations::{column, stored_schema};
use whence_schema::{EventId, TenantId, UnixNanos};

/// What is kept of one tenant ends so many nanoseconds before its latest hour: a day.
pub(crate) const KEPT: i64 = 24 * HOUR;
const HOUR: i64 = 3_600_000_000_000;
/// Onsets of one tenant that are kept, the latest.
pub(crate) const MOST_ONSETS: usize = 20_000;
/// An onset at the beginning of an hour may have been known a little before it, by so many nanoseconds.
const BEFORE: i64 = 60_000_000_000;

/// One hour of a tenant, which was looked at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OnsetHour {
    /// When it began: a full hour, UTC.
    pub hour: UnixNanos,
    /// The assets that did something in it.
    pub assets: Vec<OnsetAsset>,
    /// Pairs of those assets of which one calls the other, both ways.
    pub neighbours: Vec<(String, String)>,
}

/// One asset in an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OnsetAsset {
    /// Its name.
    pub asset: String,
    /// From when on an onset could have been seen.
    pub from: UnixNanos,
    /// Until when, exclusive.
    pub to: UnixNanos,
    /// When trouble began.
    pub onsets: Vec<KeptOnset>,
    /// Where it ran together with others: kinds of places, such as `node`, and their names. Hours that were kept before
    /// places were have none.
    #[serde(default)]
    pub places: Vec<(String, String)>,
}

/// The beginning of trouble.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeptOnset {
    /// What kind of trouble, such as `errors`.
    pub kind: String,
    /// When it was known.
    pub known: UnixNanos,
    /// The first event that shows it.
    pub event: EventId,
    /// The time of that event.
    pub time: UnixNanos,
}

impl OnsetHour {
    /// How many onsets there are.
    pub fn onsets(&self) -> usize {
        self.assets.iter().map(|asset| asset.onsets.len()).sum()
    }

    /// Takes out what may tell of rows of those assets and times; true when there was something.
    pub(crate) fn forget(&mut self, erased: &ErasedAssets) -> bool {
        let (from, to) = (self.hour.0.saturating_sub(BEFORE), self.hour.0.saturating_add(HOUR));
        let is_erased = |name: &String| {
            erased.get(name).is_some_and(|(first, last)| {
                let began = self.assets.iter().filter(|asset| asset.asset == *name).flat_map(|asset| &asset.onsets);
                let earliest = began.map(|onset| onset.time.0).min().unwrap_or(from).min(from);
                first.0 < to && last.0 >= earliest
            })
        };
        let gone: HashSet<String> =
            self.assets.iter().map(|asset| &asset.asset).filter(|name| is_erased(name)).cloned().collect();
        self.assets.retain(|asset| !gone.contains(&asset.asset));
        self.neighbours.retain(|(one, other)| !gone.contains(one) && !gone.contains(other));
        !gone.is_empty()
    }
}

impl Store {
    /// Keeps an hour and stores its links, stored columns of `correlations`, those that are not there yet. After this
    /// returns they survive a crash. Of a tenant the last 24 hours are kept with the 20,000 latest onsets; returns how many
    /// onsets were too many. Fsyncs, and reads chunks.
    ///
    /// # Errors
    ///
    /// When the control database fails, a chunk cannot be read, or the store is closed. [`StorageError::Erasing`] while
    /// rows of the tenant are being erased.
    pub async fn put_onset_hour(
        &self,
        tenant: &TenantId,
        hour: &OnsetHour,
        links: RecordBatch,
    ) -> Result<u64, StorageError> {
        self.check_running()?;
        let _putting = self.conclusions().open(tenant).await?;
        let packed = pack(&links)?;
        let evicted = self.control().put_onset_hour(tenant, hour, &packed, (self.shared().options.clock)()).await?;
        self.store_missing_links(tenant, vec![links]).await?;
        Ok(evicted)
    }

    /// The hours of a tenant that are kept, in the order of time.
    ///
    /// # Errors
    ///
    /// When the control database fails.
    pub async fn onset_hours(&self, tenant: &TenantId) -> Result<Vec<OnsetHour>, StorageError> {
        self.control().onset_hours(tenant).await
    }

    /// Stores the links of the kept hours of all tenants that a crash kept out of the table; returns how many. To be done
    /// once after a start. Reads chunks.
    ///
    /// # Errors
    ///
    /// When the control database fails, a chunk cannot be read, or the store is closed.
    pub async fn restore_links_of_onset_hours(&self) -> Result<u64, StorageError> {
        self.check_running()?;
        let mut stored = 0;
        for tenant in self.control().tenants_of_onset_hours().await? {
            let _putting = match self.conclusions().open(&tenant).await {
                // An erasure begins with a commit: all links are in the table.
                Err(StorageError::Erasing) => continue,
                putting => putting?,
            };
            let mut links = Vec::new();
            for packed in self.control().links_of_onset_hours(&tenant).await? {
                links.extend(unpack(&packed)?);
            }
            stored += self.store_missing_links(&tenant, links).await?;
        }
        Ok(stored)
    }

    async fn store_missing_links(&self, tenant: &TenantId, links: Vec<RecordBatch>) -> Result<u64, StorageError> {
        if links.iter().all(|links| links.num_rows() == 0) {
            return Ok(0);
        }
        let (snapshot, tenant) = (self.snapshot(), tenant.clone());
        let missing = blocking("links", move || missing(&snapshot, &tenant, &links)).await?;
        let mut stored = 0;
        for links in missing {
            stored += links.num_rows() as u64;
            self.append_correlations(links).await?;
        }
        Ok(stored)
    }
}

/// A link by its two ends, type and relation.
type Key = (EventId, EventId, i64, String, String);

/// The rows of `links` that are not in the table, each once.
fn missing(snapshot: &Snapshot, tenant: &TenantId, links: &[RecordBatch]) -> Result<Vec<RecordBatch>, StorageError> {
    let effects: Vec<EventId> = links.iter().flat_map(keys).map(|key| key.1).collect();
    let times = || links.iter().flat_map(keys).map(|key| key.2.saturating_mul(1_000));
    let range = (UnixNanos(times().min().unwrap_or(0)), UnixNanos(times().max().unwrap_or(0)));
    let stored = snapshot.links_between(tenant, &effects, LinkSide::Related, range)?;
    let mut known: HashSet<Key> = stored.iter().flat_map(keys).collect();
    let mut missing = Vec::new();
    for links in links {
        let new: BooleanArray = keys(links).map(|key| Some(known.insert(key))).collect();
        missing.push(filter_record_batch(links, &new)?);
    }
    missing.retain(|links| links.num_rows() > 0);
    Ok(missing)
}

fn keys(links: &RecordBatch) -> impl Iterator<Item = Key> {
    let number = |column: usize| links.column(column).as_primitive::<Int64Type>();
    let (primary_high, primary_low) = (number(column::PRIMARY_HIGH), number(column::PRIMARY_LOW));
    let (related_high, related_low) = (number(column::RELATED_HIGH), number(column::RELATED_LOW));
    let times = links.column(column::TIMESTAMP).as_primitive::<TimestampMicrosecondType>();
    let text = |column: usize| links.column(column).as_string_view();
    let (types, relations) = (text(column::CORRELATION_TYPE), text(column::RELATION));
    (0..links.num_rows()).map(move |row| {
        let high = related_high.value(row);
        // A primary in the same trace as its related event has its high half left out.
        let primary = if primary_high.is_valid(row) { primary_high.value(row) } else { high };
        (
            EventId::from_halves(primary as u64, primary_low.value(row) as u64),
            EventId::from_halves(high as u64, related_low.value(row) as u64),
            times.value(row),
            types.value(row).to_owned(),
            relations.value(row).to_owned(),
        )
    })
}

fn pack(links: &RecordBatch) -> Result<Vec<u8>, StorageError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &stored_schema())?;
    writer.write(links)?;
    Ok(writer.into_inner()?)
}

fn unpack(packed: &[u8]) -> Result<Vec<RecordBatch>, StorageError> {
    Ok(StreamReader::try_new(packed, None)?.collect::<Result<_, _>>()?)
}
