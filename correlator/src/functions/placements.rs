//! `placements(from, to)`: which assets ran in which pods, on which nodes and hosts, by what the resources of their events
//! say. Those with a place in common can get into each other's way without calling each other.

use super::scan::Scan;
use super::{Columns, batch, text_field, time_field, window};
use crate::error::CorrelatorError;
use crate::functions::detail::parse;
use crate::method::observations::Place;
use crate::observe::resources::places;
use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};
use whence_schema::tables::events::column;
use whence_schema::{Table, TenantId, UnixNanos};
use whence_storage::Snapshot;

/// Resources at most, and pairs of asset and place.
const MOST_ROWS: usize = 100_000;

/// Columns of [`placements`]. `kind` is `pod`, `node` or `host`; a pod is named with its namespace, `shop/cart-7`.
pub fn placements_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            text_field("kind", false),
            text_field("place", false),
            text_field("asset_id", false),
            time_field("first_seen"),
            time_field("last_seen"),
            Field::new("events", DataType::Int64, false),
        ]))
    });
    SCHEMA.clone()
}

/// The assets of events from `from` until before `to` with the places that they ran at, by kind, place and asset. Blocks
/// on file reads.
///
/// # Errors
///
/// When the store cannot be read, the two times are no window, or there are too many assets and places.
pub fn placements(
    snapshot: &Snapshot,
    tenant: &TenantId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<RecordBatch, CorrelatorError> {
    let range = window(from, to)?;
    let mut seen = Resources::default();
    let columns = &Resources::COLUMNS;
    Scan { snapshot, table: Table::Events, tenant, range, columns, only: None }.run(&mut |batch| seen.add(batch))?;
    let rows = seen.placed()?;
    let out = Columns(&rows);
    let columns = vec![
        out.texts(|row| Some(row.place.kind.name())),
        out.texts(|row| Some(&row.place.name)),
        out.texts(|row| Some(&row.asset)),
        out.times(|row| row.seen.first),
        out.times(|row| row.seen.last),
        out.int64s(|row| Some(row.seen.events)),
    ];
    batch("placements", placements_schema(), columns)
}

/// Events with one resource.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first: UnixNanos,
    last: UnixNanos,
    events: i64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.events += other.events;
    }
}

/// An asset at a place.
#[derive(Debug)]
struct Placed {
    place: Place,
    asset: String,
    seen: Seen,
}

/// By asset and resource.
#[derive(Debug, Default)]
struct Resources(HashMap<(String, String), Seen>);

impl Resources {
    const COLUMNS: [usize; 4] = [column::TENANT_ID, column::TIMESTAMP, column::ASSET_ID, column::RESOURCE];

    fn add(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>, CorrelatorError> {
        const MISSING: CorrelatorError = CorrelatorError::Columns { table: "events", column: "a column of placements" };
        let times = batch.column(1).as_primitive_opt::<TimestampMicrosecondType>().ok_or(MISSING)?;
        let text = |at: usize| batch.column(at).as_string_view_opt().ok_or(MISSING);
        let (assets, resources) = (text(2)?, text(3)?);
        // Equal views of one batch are equal texts: a batch has few of them, each kept once.
        let mut of_batch: HashMap<(u128, u128), (usize, Seen)> = HashMap::new();
        for row in (0..batch.num_rows()).filter(|row| resources.is_valid(*row)) {
            let time = UnixNanos(times.value(row).saturating_mul(1_000));
            let one = Seen { first: time, last: time, events: 1 };
            let key = (assets.views()[row], resources.views()[row]);
            of_batch.entry(key).and_modify(|(_, seen)| seen.add(one)).or_insert((row, one));
        }
        for (row, seen) in of_batch.into_values() {
            let value = |column: &StringViewArray| column.value(row).to_owned();
            self.0.entry((value(assets), value(resources))).and_modify(|known| known.add(seen)).or_insert(seen);
        }
        if self.0.len() > MOST_ROWS {
            return Err(CorrelatorError::RangeTooLarge { what: "resources", limit: MOST_ROWS });
        }
        Ok(ControlFlow::Continue(()))
    }

    /// By place and asset, in that order.
    fn placed(self) -> Result<Vec<Placed>, CorrelatorError> {
        let mut rows: BTreeMap<(Place, String), Seen> = BTreeMap::new();
        for ((asset, resource), seen) in self.0 {
            for place in places(&parse(&resource)) {
                rows.entry((place, asset.clone())).and_modify(|known| known.add(seen)).or_insert(seen);
            }
        }
        if rows.len() > MOST_ROWS {
            return Err(CorrelatorError::RangeTooLarge { what: "placements", limit: MOST_ROWS });
        }
        Ok(rows.into_iter().map(|((place, asset), seen)| Placed { place, asset, seen }).collect())
    }
}
