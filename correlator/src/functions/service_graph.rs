//! `service_graph(from, to)`: who calls whom, how often, and how well, as the callee saw it.
//!
//! | relation | rows | times and errors |
//! |---|---|---|
//! | `call`, `message` | links whose related span began in the range | of that span |
//! | `entry` | spans without a caller; `caller` is null | of that span |
//! | `database` | client spans to a database that have no child span | of that span |

use super::detail::{database_peer, parse};
use super::scan::{Range, Scan};
use super::{Columns, batch, storage, text_field};
use crate::error::CorrelatorError;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};
use whence_schema::tables::correlations::column as link_column;
use whence_schema::tables::events::{SIGNAL_SPAN, column};
use whence_schema::{EventId, SpanId, Table, TenantId, TraceId, UnixNanos};
use whence_storage::Snapshot;

/// Spans in the range at most: some 100 bytes of memory each.
const MOST_SPANS: usize = 4_000_000;
/// Callers that began before the range and are looked up by id, at most.
const MOST_EARLIER_CALLERS: usize = 50_000;
/// How long before the range such a caller may have begun.
const EARLIER_NANOS: i64 = 24 * 3_600 * 1_000_000_000;

/// Columns of [`service_graph`]. `error_rate` is 0 to 1; `avg_ms` and `p95_ms` are of the callee's spans.
pub fn service_graph_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            text_field("caller", true),
            text_field("callee", false),
            text_field("callee_type", false),
            text_field("relation", false),
            Field::new("calls", DataType::Int64, false),
            Field::new("errors", DataType::Int64, false),
            Field::new("error_rate", DataType::Float64, false),
            Field::new("avg_ms", DataType::Float64, false),
            Field::new("p95_ms", DataType::Float64, false),
        ]))
    });
    SCHEMA.clone()
}

/// The service graph of the spans that began from `from` until before `to`: entry points first, then by caller and
/// callee. Blocks on file reads.
///
/// # Errors
///
/// When the store cannot be read, or the range holds too many spans.
pub fn service_graph(
    snapshot: &Snapshot,
    tenant: &TenantId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<RecordBatch, CorrelatorError> {
    let range = Range { from, to };
    let of_spans = Scan { snapshot, table: Table::Events, tenant, range, columns: &Spans::COLUMNS, only: None };
    let of_links = Scan { table: Table::Correlations, columns: &Links::COLUMNS, ..of_spans };
    let (mut spans, mut links) = (Spans::default(), Links::default());
    of_spans.run(&mut |batch| spans.add(batch))?;
    of_links.run(&mut |batch| links.add(batch))?;
    let earlier = earlier_callers(snapshot, tenant, range, &spans, &links)?;
    to_batch(&edges(&spans, &links, &earlier))
}

/// A span as the graph needs it.
#[derive(Debug, Clone, Copy)]
struct Span {
    asset: u32,
    duration: i64,
    failed: bool,
    parent: Option<EventId>,
    /// Began a request that came from outside its process.
    receives: bool,
    /// The database it calls, as an index into the names.
    database: Option<u32>,
}

/// Spans of the range by id, with the names they use.
#[derive(Default)]
struct Spans {
    by_id: HashMap<EventId, Span>,
    names: Names,
}

/// Texts by number.
#[derive(Default)]
struct Names {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Names {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let (text, number) = (Arc::<str>::from(text), self.texts.len() as u32);
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }

    fn text(&self, number: u32) -> Arc<str> {
        self.texts[number as usize].clone()
    }
}

impl Spans {
    const COLUMNS: [usize; 11] = [
        column::TENANT_ID,
        column::TIMESTAMP,
        column::SIGNAL,
        column::TRACE_ID,
        column::SPAN_ID,
        column::PARENT_SPAN_ID,
        column::ASSET_ID,
        column::KIND,
        column::DURATION_NS,
        column::STATUS,
        column::PAYLOAD,
    ];

    /// Adds the spans of a batch of [`Self::COLUMNS`]. Of spans with one id the first counts.
    fn add(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>, CorrelatorError> {
        let missing = || CorrelatorError::Columns { table: "events", column: "a column of a service graph" };
        let text = |at: usize| batch.column(at).as_string_view_opt().ok_or_else(missing);
        let number = |at: usize| batch.column(at).as_primitive_opt::<Int64Type>().ok_or_else(missing);
        let traces = batch.column(3).as_fixed_size_binary_opt().ok_or_else(missing)?;
        let (signals, assets, kinds, statuses, payloads) = (text(2)?, text(6)?, text(7)?, text(9)?, text(10)?);
        let (ids, parents, durations) = (number(4)?, number(5)?, number(8)?);
        let span_of = |trace: TraceId, ids: &arrow::array::Int64Array, row: usize| {
            let valid = ids.is_valid(row) && ids.value(row) != 0;
            valid.then(|| EventId::of_span(trace, SpanId(ids.value(row) as u64)))
        };
        for row in 0..batch.num_rows() {
            if signals.value(row) != SIGNAL_SPAN || traces.is_null(row) {
                continue;
            }
            let Some(trace) = TraceId::from_slice(traces.value(row)) else { continue };
            let Some(id) = span_of(trace, ids, row) else { continue };
            let kind = if kinds.is_valid(row) { kinds.value(row) } else { "" };
            let asset = self.names.number(assets.value(row));
            let payload = payloads.value(row);
            let database = if kind == "client" && payload.contains("\"db.system") {
                database_peer(&parse(payload)).map(|peer| self.names.number(&peer))
            } else {
                None
            };
            self.by_id.entry(id).or_insert(Span {
                asset,
                duration: if durations.is_valid(row) { durations.value(row).max(0) } else { 0 },
                failed: statuses.is_valid(row) && statuses.value(row) == "error",
                parent: span_of(trace, parents, row),
                receives: matches!(kind, "server" | "consumer"),
                database,
            });
            if self.by_id.len() > MOST_SPANS {
                return Err(CorrelatorError::RangeTooLarge { what: "spans", limit: MOST_SPANS });
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Calls and messages of the range: caller's span, callee's span, by message.
#[derive(Default)]
struct Links(Vec<(EventId, EventId, bool)>);

impl Links {
    const COLUMNS: [usize; 7] = [
        link_column::TENANT_ID,
        link_column::TIMESTAMP,
        link_column::RELATION,
        link_column::PRIMARY_HIGH,
        link_column::PRIMARY_LOW,
        link_column::RELATED_HIGH,
        link_column::RELATED_LOW,
    ];

    fn add(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>, CorrelatorError> {
        let missing = || CorrelatorError::Columns { table: "correlations", column: "a column of a service graph" };
        let number = |at: usize| batch.column(at).as_primitive_opt::<Int64Type>().ok_or_else(missing);
        let relations = batch.column(2).as_string_view_opt().ok_or_else(missing)?;
        let (primary_high, primary_low, high, low) = (number(3)?, number(4)?, number(5)?, number(6)?);
        for row in 0..batch.num_rows() {
            let by_message = match relations.value(row) {
                "call" => false,
                "message" => true,
                _ => continue,
            };
            let high = high.value(row) as u64;
            let primary_high = if primary_high.is_null(row) { high } else { primary_high.value(row) as u64 };
            let primary = EventId::from_halves(primary_high, primary_low.value(row) as u64);
            self.0.push((primary, EventId::from_halves(high, low.value(row) as u64), by_message));
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Assets of callers that began before the range.
fn earlier_callers(
    snapshot: &Snapshot,
    tenant: &TenantId,
    range: Range,
    spans: &Spans,
    links: &Links,
) -> Result<HashMap<EventId, Arc<str>>, CorrelatorError> {
    let unknown = links.0.iter().map(|(caller, _, _)| *caller).filter(|caller| !spans.by_id.contains_key(caller));
    let mut unknown: Vec<EventId> = unknown.collect();
    unknown.sort_unstable();
    unknown.dedup();
    unknown.truncate(MOST_EARLIER_CALLERS);
    if unknown.is_empty() {
        return Ok(HashMap::new());
    }
    let from = UnixNanos(range.from.0.saturating_sub(EARLIER_NANOS));
    let to = UnixNanos(range.to.0.saturating_add(EARLIER_NANOS / 24));
    let found = snapshot.find_spans(tenant, &unknown, from, to).map_err(storage("find callers in"))?;
    Ok(found.into_iter().map(|(id, span)| (id, Arc::from(span.asset_id))).collect())
}

/// Caller (entry points have none), callee, relation: in the order of the result.
type EdgeKey = (Option<Arc<str>>, Arc<str>, &'static str);

/// The same by number, so that names are compared per edge and not per span; an earlier caller has its name only.
type NumberedKey = (Result<u32, Arc<str>>, u32, &'static str);

/// What was measured on one edge.
#[derive(Debug, Default)]
struct Edge {
    durations: Vec<i64>,
    errors: i64,
}

impl Edge {
    fn add(&mut self, span: &Span) {
        self.durations.push(span.duration);
        self.errors += i64::from(span.failed);
    }
}

fn edges(spans: &Spans, links: &Links, earlier: &HashMap<EventId, Arc<str>>) -> BTreeMap<EdgeKey, Edge> {
    let mut by_number: HashMap<NumberedKey, Edge> = HashMap::new();
    let mut entries: HashMap<u32, Edge> = HashMap::new();
    let mut called = HashSet::with_capacity(links.0.len());
    for (caller, callee, by_message) in &links.0 {
        called.insert(*callee);
        let Some(span) = spans.by_id.get(callee) else { continue };
        let from = match (spans.by_id.get(caller), earlier.get(caller)) {
            (Some(caller), _) => Ok(caller.asset),
            (None, Some(asset)) => Err(asset.clone()),
            (None, None) => continue,
        };
        let relation = if *by_message { "message" } else { "call" };
        by_number.entry((from, span.asset, relation)).or_default().add(span);
    }
    let parents: HashSet<EventId> = spans.by_id.values().filter_map(|span| span.parent).collect();
    for (id, span) in &spans.by_id {
        let known_parent = span.parent.is_some_and(|parent| spans.by_id.contains_key(&parent));
        if span.parent.is_none() || (span.receives && !known_parent && !called.contains(id)) {
            entries.entry(span.asset).or_default().add(span);
        }
        if let Some(database) = span.database.filter(|_| !parents.contains(id)) {
            by_number.entry((Ok(span.asset), database, "database")).or_default().add(span);
        }
    }
    let mut edges: BTreeMap<EdgeKey, Edge> = BTreeMap::new();
    let name = |number| spans.names.text(number);
    for ((from, to, relation), edge) in by_number {
        let merged = edges.entry((Some(from.map_or_else(|asset| asset, name)), name(to), relation)).or_default();
        merged.durations.extend(edge.durations);
        merged.errors += edge.errors;
    }
    edges.extend(entries.into_iter().map(|(asset, edge)| ((None, name(asset), "entry"), edge)));
    edges
}

fn to_batch(edges: &BTreeMap<EdgeKey, Edge>) -> Result<RecordBatch, CorrelatorError> {
    let rows: Vec<(&EdgeKey, &Edge, f64)> = edges.iter().map(|(key, edge)| (key, edge, p95(&edge.durations))).collect();
    let calls = |edge: &Edge| edge.durations.len() as f64;
    let total = |edge: &Edge| edge.durations.iter().map(|nanos| *nanos as f64).sum::<f64>();
    let out = Columns(&rows);
    let columns = vec![
        out.texts(|((caller, _, _), _, _)| caller.as_deref()),
        out.texts(|((_, callee, _), _, _)| Some(callee)),
        out.texts(|((_, _, relation), _, _)| Some(if *relation == "database" { "database" } else { "service" })),
        out.texts(|((_, _, relation), _, _)| Some(relation)),
        out.int64s(|(_, edge, _)| Some(edge.durations.len() as i64)),
        out.int64s(|(_, edge, _)| Some(edge.errors)),
        out.float64s(|(_, edge, _)| edge.errors as f64 / calls(edge)),
        out.float64s(|(_, edge, _)| total(edge) / calls(edge) / 1e6),
        out.float64s(|(_, _, p95)| *p95),
    ];
    batch("a service graph", service_graph_schema(), columns)
}

/// 95th percentile by nearest rank, in milliseconds.
fn p95(nanos: &[i64]) -> f64 {
    let mut nanos = nanos.to_vec();
    let rank = (nanos.len() * 95).div_ceil(100).saturating_sub(1);
    if nanos.is_empty() {
        return 0.0;
    }
    let (_, value, _) = nanos.select_nth_unstable(rank);
    *value as f64 / 1e6
}
