//! `log_patterns(from, to)`: the messages of log records and span events with what varies in them masked, and how often
//! each was written, now and in the hour before.

use super::{Columns, batch, id_field, text_field, time_field, window};
use crate::error::CorrelatorError;
use crate::functions::scan::Range;
use crate::method::observations::LogSeen;
use crate::method::templates::Templates;
use crate::observe::{Observed, with_observed};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use hashbrown::HashMap;
use std::sync::{Arc, LazyLock};
use whence_schema::{EventId, Severity, TenantId, UnixNanos};
use whence_storage::Snapshot;
use xxhash_rust::xxh3::xxh3_64;

/// Columns of [`log_patterns`]. `pattern_id` is the same for the same pattern, whenever it is asked for; `expected` is
/// how often it would have been written at the rate of the baseline; where there were too many events, counts are of one
/// trace of `one_in`.
pub fn log_patterns_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            text_field("pattern_id", false),
            text_field("asset_id", false),
            text_field("pattern", false),
            text_field("severity", true),
            Field::new("count", DataType::Int64, false),
            Field::new("count_before", DataType::Int64, false),
            Field::new("expected", DataType::Float64, false),
            time_field("first_seen"),
            id_field("example_event_id", false),
            Field::new("one_in", DataType::Int64, false),
        ]))
    });
    SCHEMA.clone()
}

/// The patterns of messages from `from` until before `to`, and those of the hour before that are missing now; by how
/// much their number differs from what was to be expected. Blocks on file reads.
///
/// # Errors
///
/// When the store cannot be read, or the two times are no window.
pub fn log_patterns(
    snapshot: &Snapshot,
    tenant: &TenantId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<RecordBatch, CorrelatorError> {
    let window = window(from, to)?;
    let patterns = with_observed(snapshot, tenant, window, |observed| patterns(observed, window))?;
    let out = Columns(&patterns);
    let columns = vec![
        out.texts(|pattern| Some(&pattern.id)),
        out.texts(|pattern| Some(&pattern.asset)),
        out.texts(|pattern| Some(&pattern.text)),
        out.texts(|pattern| pattern.severity.map(Severity::as_str)),
        out.int64s(|pattern| Some(pattern.count)),
        out.int64s(|pattern| Some(pattern.count_before)),
        out.float64s(|pattern| pattern.expected),
        out.times(|pattern| pattern.first_seen),
        out.ids(|pattern| Some(pattern.example)),
        out.int64s(|pattern| Some(pattern.one_in)),
    ];
    batch("patterns of logs", log_patterns_schema(), columns)
}

#[derive(Debug)]
struct Pattern {
    id: String,
    asset: String,
    text: String,
    severity: Option<Severity>,
    count: i64,
    count_before: i64,
    expected: f64,
    first_seen: UnixNanos,
    example: EventId,
    one_in: i64,
}

/// What was counted of one template.
struct Counted<'a> {
    count: i64,
    count_before: i64,
    most_severe: u8,
    /// The first in the window, else the last before it.
    example: &'a LogSeen,
}

fn patterns(observed: &Observed, window: Range) -> Vec<Pattern> {
    let seen = &observed.observations;
    let mut logs: Vec<&LogSeen> = seen.logs.iter().filter(|log| !log.body.is_empty()).collect();
    logs.sort_unstable_by_key(|log| (log.time, log.id));
    let mut templates = Templates::default();
    let mut counted: HashMap<(u32, u32), Counted<'_>> = HashMap::new();
    for log in logs {
        let template = templates.of(log.asset, &log.body);
        let pattern = counted.entry((log.asset, template)).or_insert(Counted {
            count: 0,
            count_before: 0,
            most_severe: 0,
            example: log,
        });
        pattern.most_severe = pattern.most_severe.max(log.severity);
        if log.time < window.from {
            pattern.count_before += 1;
            pattern.example = log;
        } else {
            if pattern.count == 0 {
                pattern.example = log;
            }
            pattern.count += 1;
        }
    }
    let length = |from: UnixNanos, to: UnixNanos| to.0.saturating_sub(from.0).max(0) as f64;
    let before = length(observed.baseline_from, window.from);
    let ratio = if before > 0.0 { length(window.from, window.to) / before } else { 0.0 };
    let pattern = |((asset, template), counted): ((u32, u32), Counted<'_>)| {
        let text = templates.text(template);
        Pattern {
            id: format!("{:016x}", xxh3_64(text.as_bytes())),
            asset: seen.assets.get(asset as usize).cloned().unwrap_or_default(),
            text,
            severity: Severity::from_otlp(i32::from(counted.most_severe)),
            count: counted.count,
            count_before: counted.count_before,
            expected: counted.count_before as f64 * ratio,
            first_seen: counted.example.time,
            example: counted.example.id,
            one_in: i64::try_from(observed.thinned.max(1)).unwrap_or(i64::MAX),
        }
    };
    let mut patterns: Vec<Pattern> = counted.into_iter().map(pattern).collect();
    patterns.sort_by(|a, b| {
        surprise(b).total_cmp(&surprise(a)).then_with(|| (&a.asset, &a.text).cmp(&(&b.asset, &b.text)))
    });
    patterns
}

/// How far a count is from what was to be expected, in standard deviations of a Poisson count, whichever way.
fn surprise(pattern: &Pattern) -> f64 {
    (pattern.count as f64 - pattern.expected).abs() / (pattern.expected + 1.0).sqrt()
}
