//! Builds the stored columns of `events`, row by row, without an intermediate row type per column.

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Int16Builder, Int32Builder, Int64Builder, StringViewArray, StringViewBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::buffer::Buffer;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use whence_schema::tables::events::stored_schema;
use whence_schema::{RequestDigest, Severity, SpanId, TraceId, UnixNanos};

/// Batches of fewer rows give their builders' spare room back: a stream of one-row requests would otherwise hold
/// kilobytes a row.
const COMPACT_BELOW_ROWS: usize = 256;

/// One row, borrowed from the message.
pub(super) struct EventRow<'a> {
    pub(super) timestamp: UnixNanos,
    pub(super) signal: &'static str,
    pub(super) source_module: &'a str,
    pub(super) event_type: &'a str,
    pub(super) trace: Option<TraceId>,
    pub(super) span: Option<SpanId>,
    pub(super) parent: Option<SpanId>,
    /// Set for log records and span events.
    pub(super) position: Option<u32>,
    pub(super) severity: Severity,
    pub(super) name: Option<&'a str>,
    pub(super) kind: Option<&'static str>,
    pub(super) duration_ns: Option<i64>,
    pub(super) status: Option<&'static str>,
    pub(super) body: Option<&'a str>,
    pub(super) agent: Option<&'a str>,
    pub(super) model: Option<&'a str>,
    pub(super) payload: &'a str,
    pub(super) rule: Option<&'a str>,
}

pub(super) struct EventRows<'a> {
    tenant: &'a str,
    created_at: i64,
    digest: i64,
    resource: ResourceView,
    asset_id: String,
    environment: Option<String>,
    rows: usize,
    tenant_ids: StringViewBuilder,
    timestamps: TimestampMicrosecondBuilder,
    timestamp_nanos: Int16Builder,
    created: TimestampMicrosecondBuilder,
    signals: StringViewBuilder,
    modules: StringViewBuilder,
    event_types: StringViewBuilder,
    traces: FixedSizeBinaryBuilder,
    spans: Int64Builder,
    parents: Int64Builder,
    digests: Int64Builder,
    positions: Int32Builder,
    assets: StringViewBuilder,
    severities: StringViewBuilder,
    environments: StringViewBuilder,
    names: StringViewBuilder,
    kinds: StringViewBuilder,
    durations: Int64Builder,
    statuses: StringViewBuilder,
    bodies: StringViewBuilder,
    agents: StringViewBuilder,
    models: StringViewBuilder,
    resources: StringViewBuilder,
    payloads: StringViewBuilder,
    metadata: StringViewBuilder,
}

/// Where the current resource's JSON lies in the `resource` column: written once, pointed at by every row.
struct ResourceView {
    block: u32,
    length: u32,
}

impl<'a> EventRows<'a> {
    pub(super) fn new(tenant: &'a str, received_at: UnixNanos, digest: RequestDigest, capacity: usize) -> Self {
        let text = || StringViewBuilder::with_capacity(capacity);
        // Values of these columns repeat within a request; equal ones share their bytes.
        let repeated = || StringViewBuilder::with_capacity(capacity).with_deduplicate_strings();
        Self {
            tenant,
            created_at: received_at.micros(),
            digest: digest.short() as i64,
            resource: ResourceView { block: 0, length: 0 },
            asset_id: String::new(),
            environment: None,
            rows: 0,
            tenant_ids: repeated(),
            timestamps: TimestampMicrosecondBuilder::with_capacity(capacity),
            timestamp_nanos: Int16Builder::with_capacity(capacity),
            created: TimestampMicrosecondBuilder::with_capacity(capacity),
            signals: text(),
            modules: repeated(),
            event_types: repeated(),
            traces: FixedSizeBinaryBuilder::with_capacity(capacity, 16),
            spans: Int64Builder::with_capacity(capacity),
            parents: Int64Builder::with_capacity(capacity),
            digests: Int64Builder::with_capacity(capacity),
            positions: Int32Builder::with_capacity(capacity),
            assets: repeated(),
            severities: text(),
            environments: repeated(),
            names: repeated(),
            kinds: text(),
            durations: Int64Builder::with_capacity(capacity),
            statuses: text(),
            bodies: text(),
            agents: repeated(),
            models: repeated(),
            resources: text(),
            payloads: text(),
            metadata: repeated(),
        }
    }

    /// Rows that follow belong to this resource.
    pub(super) fn begin_resource(&mut self, resource: &super::resource::ResourceRows) {
        self.asset_id.clone_from(&resource.asset_id);
        self.environment.clone_from(&resource.environment);
        let length = resource.json.len() as u32;
        let block = self.resources.append_block(Buffer::from_vec(resource.json.clone()));
        self.resource = ResourceView { block, length };
    }

    pub(super) fn push(&mut self, row: &EventRow<'_>) {
        self.rows += 1;
        self.tenant_ids.append_value(self.tenant);
        self.timestamps.append_value(row.timestamp.micros());
        self.timestamp_nanos.append_value(row.timestamp.sub_micros());
        self.created.append_value(self.created_at);
        self.signals.append_value(row.signal);
        self.modules.append_value(row.source_module);
        self.event_types.append_value(row.event_type);
        match row.trace {
            // The builder was made for 16 bytes, so this cannot fail.
            Some(trace) => self.traces.append_value(trace.0).unwrap_or_default(),
            None => self.traces.append_null(),
        }
        self.spans.append_option(row.span.map(SpanId::stored));
        self.parents.append_option(row.parent.map(SpanId::stored));
        self.digests.append_option(row.position.map(|_| self.digest));
        self.positions.append_option(row.position.map(|p| p as i32));
        self.assets.append_value(&self.asset_id);
        self.severities.append_value(row.severity.as_str());
        self.environments.append_option(self.environment.as_deref());
        self.names.append_option(row.name);
        self.kinds.append_option(row.kind);
        self.durations.append_option(row.duration_ns);
        self.statuses.append_option(row.status);
        self.bodies.append_option(row.body);
        self.agents.append_option(row.agent);
        self.models.append_option(row.model);
        if self.resources.try_append_view(self.resource.block, 0, self.resource.length).is_err() {
            self.resources.append_value("{}");
        }
        self.payloads.append_value(row.payload);
        match row.rule {
            Some(rule) => self.metadata.append_value(format!("{{\"rule\":{}}}", serde_json::Value::from(rule))),
            None => self.metadata.append_null(),
        }
    }

    /// The stored columns, in the order of [`stored_schema`].
    pub(super) fn finish(mut self) -> RecordBatch {
        let compact = self.rows < COMPACT_BELOW_ROWS;
        let text = |builder: &mut StringViewBuilder| -> ArrayRef {
            let array: StringViewArray = builder.finish();
            Arc::new(if compact { array.gc() } else { array })
        };
        let columns: Vec<ArrayRef> = vec![
            text(&mut self.tenant_ids),
            Arc::new(self.timestamps.finish().with_timezone("UTC")),
            Arc::new(self.timestamp_nanos.finish()),
            Arc::new(self.created.finish().with_timezone("UTC")),
            text(&mut self.signals),
            text(&mut self.modules),
            text(&mut self.event_types),
            Arc::new(self.traces.finish()),
            Arc::new(self.spans.finish()),
            Arc::new(self.parents.finish()),
            Arc::new(self.digests.finish()),
            Arc::new(self.positions.finish()),
            text(&mut self.assets),
            text(&mut self.severities),
            text(&mut self.environments),
            text(&mut self.names),
            text(&mut self.kinds),
            Arc::new(self.durations.finish()),
            text(&mut self.statuses),
            text(&mut self.bodies),
            text(&mut self.agents),
            text(&mut self.models),
            text(&mut self.resources),
            text(&mut self.payloads),
            text(&mut self.metadata),
        ];
        // The columns above are the schema's, one for one; a test maps every kind of row.
        RecordBatch::try_new(stored_schema(), columns).unwrap_or_else(|_| RecordBatch::new_empty(stored_schema()))
    }
}
