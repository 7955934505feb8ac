//! `placements(from, to)`: which assets ran in which pods, on which nodes and hosts, by what the resources of their events
//! say. Those with a place in common can get into each other's way without calling each other.

use super::scan::Scan;
use super::{Columns, batch, text_field, time_field, window};
use crate::error::CorrelatorError;
use crate::functions::detail::parse;
use crate::method::observations::Place;
use crate::observe::resources::places;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};
use whence_schema::tables::events::column;
use whence_schema::{Table, TenantId, UnixNanos};
use whence_storage::Snapshot;

/// Pairs of asset and place at most.
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
    let mut placed = Placements::default();
    let columns = &Placements::COLUMNS;
    Scan { snapshot, table: Table::Events, tenant, range, columns, only: None }.run(&mut |batch| placed.add(batch))?;
    let rows: Vec<((Place, String), Seen)> = placed.0.into_iter().collect();
    let out = Columns(&rows);
    let columns = vec![
        out.texts(|((place, _), _)| Some(place.kind.name())),
        out.texts(|((place, _), _)| Some(&place.name)),
        out.texts(|((_, asset), _)| Some(asset)),
        out.times(|(_, seen)| seen.first),
        out.times(|(_, seen)| seen.last),
        out.int64s(|(_, seen)| Some(seen.events)),
    ];
    batch("placements", placements_schema(), columns)
}

/// Events of an asset at a place.
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

/// By place and asset.
#[derive(Debug, Default)]
struct Placements(BTreeMap<(Place, String), Seen>);

impl Placements {
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
            for place in places(&parse(resources.value(row))) {
                let key = (place, assets.value(row).to_owned());
                self.0.entry(key).and_modify(|known| known.add(seen)).or_insert(seen);
            }
        }
        if self.0.len() > MOST_ROWS {
            return Err(CorrelatorError::RangeTooLarge { what: "placements", limit: MOST_ROWS });
        }
        Ok(ControlFlow::Continue(()))
    }
}
