//! A store with a small history of a shop, for two tenants.

use crate::cache::levels::PartialCache;
use crate::{
    Additions, Argument, ArgumentKind, QueryEngine, QueryOptions, Session, SystemTable, TableFunction,
    TableFunctionError,
};
use arrow::array::TimestampMicrosecondArray;
use arrow::array::{ArrayRef, FixedSizeBinaryBuilder, Int16Array, Int32Array, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use whence_schema::tables::correlations::{CorrelationRow, to_batch};
use whence_schema::tables::events;
use whence_schema::{
    Encoding, EventId, MappedRequest, MetricPoint, MetricPoints, MetricType, PointValue, Relation, RequestDigest, Rows,
    Series, SeriesId, Signal, SpanId, TenantId, TraceId, UnixNanos,
};
use whence_storage::{Opened, Store, StoreOptions, TailItem};

pub(super) const TRACE: u128 = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
pub(super) const ROOT: u64 = 0xf111_1111_1111_1111;
pub(super) const CHILD: u64 = 0xf222_2222_2222_2222;
pub(super) const DIGEST: u64 = 0x7777_0000_0000_0001;
/// Ids as users see them.
pub(super) const ROOT_ID: &str = "fedcba98-7654-3210-f111-111111111111";
pub(super) const CHILD_ID: &str = "fedcba98-7654-3210-f222-222222222222";
pub(super) const LOG_ID: &str = "77770000-0000-0001-0000-000000000003";
pub(super) const TRACE_HEX: &str = "0123456789abcdeffedcba9876543210";
pub(super) const FILLERS: u64 = 500;

/// An engine over a store in a temporary directory.
pub(super) struct Shop {
    pub(super) engine: QueryEngine,
    pub(super) store: Store,
    /// A recent full minute: patterns ask for the last hours.
    pub(super) start: UnixNanos,
    digests: AtomicU64,
    cache: Arc<PartialCache>,
    directory: TempDir,
}

/// A row of events; what is not named is empty.
#[derive(Clone, Default)]
pub(super) struct Row {
    pub(super) at: i64,
    pub(super) asset: &'static str,
    pub(super) name: &'static str,
    pub(super) trace: Option<u128>,
    pub(super) span: Option<u64>,
    pub(super) parent: Option<u64>,
    pub(super) log: Option<(u64, i32)>,
    pub(super) severity: &'static str,
    /// Of a log record; `boom` if it is empty.
    pub(super) body: &'static str,
    pub(super) payload: &'static str,
}

/// `chosen(condition)`: how many events in memory, of whomever, meet it.
fn chosen() -> TableFunction {
    TableFunction {
        name: "chosen",
        description: "events that meet a condition",
        arguments: &[ArgumentKind::Condition("which")],
        schema: Arc::new(Schema::new(vec![Field::new("events", DataType::Int64, false)])),
        call: Arc::new(|snapshot, _, arguments| {
            let Argument::Condition(which) = &arguments[0] else {
                return Err(TableFunctionError::Failed("no condition".to_owned()));
            };
            let met = snapshot.events.batches.iter().map(|batch| which(batch).unwrap().true_count() as i64);
            let met = Int64Array::from(vec![met.sum::<i64>()]);
            Ok(RecordBatch::try_from_iter([("events", Arc::new(met) as ArrayRef)]).unwrap())
        }),
    }
}

/// `whence.whose`: the tenant that asks.
fn whose() -> SystemTable {
    SystemTable {
        name: "whose",
        description: "Who asks.",
        schema: Arc::new(Schema::new(vec![Field::new("tenant", DataType::Utf8View, false)])),
        rows: Arc::new(|tenant| {
            let tenants: ArrayRef = Arc::new(StringViewArray::from(vec![tenant.as_str()]));
            RecordBatch::try_from_iter([("tenant", tenants)]).map_err(|error| error.to_string())
        }),
    }
}

impl Shop {
    /// An engine over an empty store.
    pub(super) async fn empty() -> Self {
        let cache = Arc::new(PartialCache::new(64 << 20, None).unwrap());
        Self::open(TempDir::new().unwrap(), StoreOptions::default(), cache).await
    }

    /// The same data with other options; what was kept is kept.
    pub(super) async fn reopened(self, options: StoreOptions) -> Self {
        let (start, cache) = (self.start, self.cache);
        self.store.close().await.unwrap();
        drop((self.engine, self.store));
        let shop = Self::open(self.directory, options, cache).await;
        Self { start, digests: self.digests, ..shop }
    }

    async fn open(directory: TempDir, options: StoreOptions, cache: Arc<PartialCache>) -> Self {
        let options = StoreOptions { path: directory.path().to_owned(), ..options };
        let Opened { store, mut tail, recovery, .. } = Store::open(options).await.unwrap();
        tokio::spawn(async move {
            while let Some(item) = tail.next().await {
                if let TailItem::Seal { reply } = item {
                    let _ = reply.send(Vec::new());
                }
            }
        });
        recovery.run(|_| Err("nothing to replay".to_owned()), |_| ()).await.unwrap();
        let echo = TableFunction {
            name: "echo_id",
            description: "the id",
            arguments: &[ArgumentKind::Uuid, ArgumentKind::Timestamp],
            schema: Arc::new(Schema::new(vec![Field::new("id", DataType::FixedSizeBinary(16), false)])),
            call: Arc::new(|_, _, arguments| {
                let Argument::Uuid(id) = arguments[0] else {
                    return Err(TableFunctionError::Failed("no id".to_owned()));
                };
                if id.0 == 0 {
                    return Err(TableFunctionError::Refused("no id is 0".to_owned()));
                }
                let mut ids = FixedSizeBinaryBuilder::new(16);
                ids.append_value(id.to_bytes()).unwrap();
                RecordBatch::try_from_iter([("id", Arc::new(ids.finish()) as ArrayRef)])
                    .map_err(|error| TableFunctionError::Failed(error.to_string()))
            }),
        };
        let additions = Additions { functions: vec![echo, chosen()], tables: vec![whose()] };
        let engine = QueryEngine::with_cache(store.clone(), additions, QueryOptions::default(), cache.clone()).unwrap();
        let start = UnixNanos(UnixNanos::now().0 - 10 * 60_000_000_000).bucket();
        Self { engine, store, start, digests: AtomicU64::new(1), cache, directory }
    }

    /// The history: in memory, or flushed half way and at the end.
    pub(super) async fn with_history(flushed: bool) -> Self {
        let shop = Self::empty().await;
        let (mine, other) = (TenantId::default(), TenantId::new("other"));
        shop.events(&mine, &history()).await;
        shop.values(&mine, &[1.0, 2.0, 3.0]).await;
        if flushed {
            shop.store.flush().await.unwrap();
        }
        shop.events(&mine, &fillers()).await;
        // Late points of a minute that may already be in a chunk.
        shop.values(&mine, &[4.0, 100.0]).await;
        shop.values(&other, &[7.0]).await;
        let secret = Row { asset: "vault", name: "secret", trace: Some(99), span: Some(98), ..Row::default() };
        shop.events(&other, &[secret]).await;
        shop.link().await;
        if flushed {
            shop.store.flush().await.unwrap();
            assert!(shop.store.snapshot().events.chunks.len() >= 2, "{:?}", shop.store.statistics());
        }
        shop
    }

    pub(super) fn session(&self) -> Session {
        self.engine.session(whence_storage::Grant::trusted(TenantId::default()))
    }

    /// Rows of the answer as text, columns joined by `|`.
    pub(super) async fn ask(&self, sql: &str) -> Vec<String> {
        ask(&self.session(), sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// SQLSTATE of the error.
    pub(super) async fn refused(&self, sql: &str) -> &'static str {
        match ask(&self.session(), sql).await {
            Ok(rows) => panic!("{sql}: answered {rows:?}"),
            Err(error) => error.sqlstate().0,
        }
    }

    async fn append(&self, tenant: &TenantId, signal: Signal, rows: Rows, received: u64) {
        let body = self.digests.fetch_add(1, Ordering::Relaxed).to_be_bytes().to_vec();
        let request = MappedRequest {
            tenant: tenant.clone(),
            signal,
            received_at: UnixNanos::now(),
            digest: RequestDigest::of(tenant, signal, &body),
            body: body.into(),
            encoding: Encoding::Protobuf,
            received,
            rejected: 0,
            rows,
            assets: Vec::new(),
        };
        self.store.append(request).await.unwrap();
    }

    pub(super) async fn events(&self, tenant: &TenantId, rows: &[Row]) {
        let (logs, spans): (Vec<_>, Vec<_>) = rows.iter().cloned().partition(|row| row.log.is_some());
        for (signal, rows) in [(Signal::Traces, spans), (Signal::Logs, logs)] {
            if !rows.is_empty() {
                let batch = batch(tenant, self.start, &rows);
                self.append(tenant, signal, Rows::Events(batch), rows.len() as u64).await;
            }
        }
    }

    pub(super) async fn values(&self, tenant: &TenantId, values: &[f64]) {
        self.values_before(tenant, 0, values).await;
    }

    /// The same, so many minutes before.
    pub(super) async fn values_before(&self, tenant: &TenantId, minutes: i64, values: &[f64]) {
        let series = Series {
            id: SeriesId(42),
            asset_id: "checkout".to_owned(),
            metric_type: MetricType::Gauge,
            metric_name: "http.server.request.duration".to_owned(),
            unit: "s".to_owned(),
            dimensions: r#"{"route":"/pay"}"#.to_owned(),
        };
        let point = |value: &f64| MetricPoint {
            series: 0,
            timestamp: UnixNanos(self.start.0 + 1_000 - minutes * 60_000_000_000),
            start: UnixNanos(0),
            cumulative: false,
            value: PointValue::Number(*value),
        };
        let points =
            MetricPoints { series: vec![series], points: values.iter().map(point).collect(), exemplars: Vec::new() };
        self.append(tenant, Signal::Metrics, Rows::Metrics(points), values.len() as u64).await;
    }

    async fn link(&self) {
        let trace = TraceId(TRACE.to_be_bytes());
        let link = |strength, related, lag| CorrelationRow {
            tenant: TenantId::default(),
            correlation_type: "causal",
            relation: Relation::Call,
            primary: EventId::of_span(trace, SpanId(ROOT)),
            related,
            primary_timestamp: self.start,
            related_timestamp: UnixNanos(self.start.0 + lag),
            strength,
            confidence: 1.0,
            created_at: UnixNanos::now(),
            metadata: (strength < 0.5).then(|| r#"{"why":"weak"}"#.to_owned()),
        };
        let rows = [
            link(0.9, EventId::of_span(trace, SpanId(CHILD)), 5_000),
            link(0.1, EventId::from_halves(DIGEST, 3), 6_000),
        ];
        self.store.append_correlations(to_batch(&rows).unwrap()).await.unwrap();
    }
}

pub(super) async fn ask(session: &Session, sql: &str) -> Result<Vec<String>, crate::QueryError> {
    let rows = session.query(sql).await?;
    let batches = rows.collect_batches().await?;
    let mut lines = Vec::new();
    for batch in &batches {
        let columns: Vec<_> = batch.columns().iter().map(|c| crate::serve::text_column(c).unwrap()).collect();
        lines.extend(
            (0..batch.num_rows()).map(|row| columns.iter().map(|c| c[row].as_str()).collect::<Vec<_>>().join("|")),
        );
    }
    Ok(lines)
}

fn history() -> Vec<Row> {
    let span = |at, asset, name, span, parent| Row {
        at,
        asset,
        name,
        trace: Some(TRACE),
        span: Some(span),
        parent,
        severity: "info",
        payload: r#"{"http.route":"/pay","n":{"a":[1,{"b":"x"}]},"nothing":null}"#,
        ..Row::default()
    };
    let log = Row {
        at: 6_000,
        asset: "checkout",
        name: "failed",
        trace: Some(TRACE),
        span: Some(CHILD),
        log: Some((DIGEST, 3)),
        severity: "error",
        payload: "{}",
        ..Row::default()
    };
    vec![span(0, "frontend", "GET /", ROOT, None), span(5_000, "checkout", "pay", CHILD, Some(ROOT)), log]
}

fn fillers() -> Vec<Row> {
    let filler = |i: u64| Row {
        at: 1_000_000 * i as i64,
        asset: if i.is_multiple_of(2) { "checkout" } else { "cart" },
        name: "work",
        trace: Some(u128::from(i) << 3 | 1),
        span: Some(0x8000_0000_0000_0000 | i),
        severity: "info",
        payload: "{}",
        ..Row::default()
    };
    (0..FILLERS).map(filler).collect()
}

/// Stored columns.
fn batch(tenant: &TenantId, start: UnixNanos, rows: &[Row]) -> RecordBatch {
    let text =
        |of: &dyn Fn(&Row) -> Option<String>| Arc::new(rows.iter().map(of).collect::<StringViewArray>()) as ArrayRef;
    let fixed = |value: &'static str| text(&move |_| Some(value.to_owned()));
    let numbers = |of: &dyn Fn(&Row) -> Option<i64>| Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef;
    let times = |of: &dyn Fn(&Row) -> i64| {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(of)).with_timezone("UTC")) as ArrayRef
    };
    let mut traces = FixedSizeBinaryBuilder::new(16);
    for row in rows {
        match row.trace {
            Some(trace) => traces.append_value(trace.to_be_bytes()).unwrap(),
            None => traces.append_null(),
        }
    }
    let is_span = |row: &Row| row.log.is_none();
    let signal = |row: &Row| Some(if is_span(row) { "span" } else { "log" }.to_owned());
    let columns: Vec<ArrayRef> = vec![
        fixed_tenant(tenant, rows),
        times(&|row| UnixNanos(start.0 + row.at).micros()),
        Arc::new(Int16Array::from(vec![0; rows.len()])),
        times(&|_| UnixNanos::now().micros()),
        text(&signal),
        fixed("telemetry"),
        text(&signal),
        Arc::new(traces.finish()),
        numbers(&|row| row.span.map(|id| id as i64)),
        numbers(&|row| row.parent.map(|id| id as i64)),
        numbers(&|row| row.log.map(|(digest, _)| digest as i64)),
        Arc::new(rows.iter().map(|row| row.log.map(|(_, at)| at)).collect::<Int32Array>()),
        text(&|row| Some(row.asset.to_owned())),
        text(&|row| Some(row.severity.to_owned())),
        text(&|_| None),
        text(&|row| Some(row.name.to_owned())),
        text(&|row| is_span(row).then(|| "server".to_owned())),
        numbers(&|row| is_span(row).then_some(1_000_000)),
        text(&|row| is_span(row).then(|| "ok".to_owned())),
        text(&|row| (!is_span(row)).then(|| if row.body.is_empty() { "boom" } else { row.body }.to_owned())),
        text(&|_| None),
        text(&|_| None),
        fixed("{}"),
        text(&|row| Some(if row.payload.is_empty() { "{}" } else { row.payload }.to_owned())),
        text(&|_| None),
    ];
    RecordBatch::try_new(events::stored_schema(), columns).unwrap()
}

fn fixed_tenant(tenant: &TenantId, rows: &[Row]) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(rows.iter().map(|_| tenant.as_str())))
}
