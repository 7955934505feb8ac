//! `root_causes(from, to)`: what caused the trouble of a window, compared with up to an hour before it.
//!
//! One row for each asset that may have caused it, the likeliest first. That none was found is an answer, too: one row
//! without an asset, of the kind `none`, whose explanation says why.

use super::{Columns, batch, id_list_field, text_field, window};
use crate::confidence::confidence;
use crate::error::CorrelatorError;
use crate::functions::scan::Range;
use crate::method::causes::{self, Answer, Question};
use crate::method::incidents::Symptoms;
use crate::observe::{Observed, with_observed};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};
use whence_schema::tables::timestamp_type;
use whence_schema::{EventId, TenantId, UnixNanos};
use whence_storage::Snapshot;

/// Causes in an answer at most.
const MOST: usize = 50;
/// Shortest baseline in nanoseconds, and fewest events in it, that something can be compared with.
const SHORTEST_BASELINE: i64 = 60 * 1_000_000_000;
const FEWEST_BEFORE: usize = 50;

/// Columns of [`root_causes`].
pub fn root_causes_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("rank", DataType::Int32, false),
            text_field("asset_id", true),
            text_field("cause_kind", false),
            Field::new("strength", DataType::Float32, false),
            Field::new("confidence", DataType::Float32, true),
            Field::new("first_seen", timestamp_type(), true),
            id_list_field("evidence"),
            text_field("explanation", false),
        ]))
    });
    SCHEMA.clone()
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// 1 for the likeliest.
    pub rank: i32,
    /// The asset; `None` when no cause was found.
    pub asset: Option<String>,
    /// What the strongest evidence is, `none` when no cause was found.
    pub kind: &'static str,
    /// Effect size, 0 to 1.
    pub strength: f32,
    /// How likely this asset is the cause, 0 to 1.
    pub confidence: Option<f32>,
    /// How strong the evidence is, without a unit and without an upper bound.
    pub evidence_score: f64,
    /// The part of all evidence, 0 to 1, that speaks against this asset: what the confidence was calibrated from.
    pub evidence_share: f64,
    /// When the first evidence happened.
    pub first_seen: Option<UnixNanos>,
    /// Rows of `events` that show it, strongest evidence first.
    pub evidence: Vec<EventId>,
    /// One sentence with figures.
    pub explanation: String,
}

/// What caused what is different from `from` until before `to`. Blocks on file reads.
///
/// # Errors
///
/// When the store cannot be read, or the two times are no window.
pub fn root_causes(
    snapshot: &Snapshot,
    tenant: &TenantId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<RecordBatch, CorrelatorError> {
    to_batch(&find_root_causes(snapshot, tenant, from, to)?)
}

/// The rows of [`root_causes`]; never empty.
///
/// # Errors
///
/// As [`root_causes`].
pub fn find_root_causes(
    snapshot: &Snapshot,
    tenant: &TenantId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<Vec<Cause>, CorrelatorError> {
    let window = window(from, to)?;
    with_observed(snapshot, tenant, window, |observed| ranked(observed, window).0)
}

/// The answer from what was read, and what the window shows in short.
pub(crate) fn ranked(observed: &Observed, window: Range) -> (Vec<Cause>, Symptoms) {
    let seen = &observed.observations;
    let question = Question { from: window.from, to: window.to, baseline_from: observed.baseline_from };
    let Answer { causes, symptoms, uncounted } = causes::root_causes(seen, &question);
    let mut ranks: Vec<Cause> = Vec::new();
    for (rank, cause) in (1..).zip(causes.into_iter().take(MOST)) {
        // Each rank has a curve of its own, and those of later ones rest on fewer answers.
        let earlier = ranks.last().and_then(|cause| cause.confidence).unwrap_or(1.0);
        ranks.push(Cause {
            rank,
            asset: seen.assets.get(cause.asset as usize).cloned(),
            kind: cause.kind.name(),
            strength: cause.strength,
            confidence: Some(confidence(rank, cause.evidence_share).min(earlier)),
            evidence_score: cause.evidence_score,
            evidence_share: cause.evidence_share,
            first_seen: Some(cause.first_seen),
            evidence: cause.evidence,
            explanation: cause.explanation,
        });
    }
    if ranks.is_empty() {
        ranks.push(none(why_none(observed, window)));
    }
    if let Some(limits) = limits(observed, window) {
        ranks[0].explanation.push_str(&limits);
    }
    if uncounted > 0 {
        ranks[0]
            .explanation
            .push_str(&format!(" ({uncounted} steps and delays were too many different ones to count.)"));
    }
    (ranks, symptoms)
}

fn none(explanation: String) -> Cause {
    Cause {
        rank: 1,
        asset: None,
        kind: "none",
        strength: 0.0,
        confidence: None,
        evidence_score: 0.0,
        evidence_share: 0.0,
        first_seen: None,
        evidence: Vec::new(),
        explanation,
    }
}

/// Why no cause was found, in the order in which one would look.
fn why_none(observed: &Observed, window: Range) -> String {
    let seen = &observed.observations;
    let times = || {
        let spans = seen.spans.iter().map(|span| span.start);
        spans.chain(seen.logs.iter().map(|log| log.time)).chain(seen.points.iter().map(|point| point.time))
    };
    let before = times().filter(|time| *time < window.from).count();
    let during = times().count() - before;
    let length = window.from.0.saturating_sub(observed.baseline_from.0);
    if during == 0 {
        "No cause found: nothing was received of this time.".to_owned()
    } else if before == 0 {
        "No cause found: there is nothing before this time to compare it with.".to_owned()
    } else if length < SHORTEST_BASELINE || before < FEWEST_BEFORE {
        format!(
            "No cause found: the {before} events and points in the {} before this time are too little to compare it with.",
            duration(length)
        )
    } else {
        format!(
            "No cause found: in {during} events and points nothing stands out from the {} before.",
            duration(length)
        )
    }
}

/// What was left out, if something was.
fn limits(observed: &Observed, window: Range) -> Option<String> {
    let length = duration(window.from.0.saturating_sub(observed.baseline_from.0));
    match (observed.thinned, observed.cut) {
        (0 | 1, false) => None,
        (0 | 1, true) => Some(format!(" (Compared with the {length} before only: an hour holds too many events.)")),
        (of, _) => Some(format!(" (From one in {of} traces, and the {length} before: there are too many events.)")),
    }
}

/// A duration in nanoseconds for people.
fn duration(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    match seconds {
        0 => format!("{} ms", nanos / 1_000_000),
        1..=119 => format!("{seconds} s"),
        _ => format!("{} min", (seconds + 30) / 60),
    }
}

fn to_batch(causes: &[Cause]) -> Result<RecordBatch, CorrelatorError> {
    let out = Columns(causes);
    let columns = vec![
        out.int32s(|cause| cause.rank),
        out.texts(|cause| cause.asset.as_deref()),
        out.texts(|cause| Some(cause.kind)),
        out.float32s(|cause| cause.strength),
        out.optional_float32s(|cause| cause.confidence),
        out.optional_times(|cause| cause.first_seen),
        out.id_lists(|cause| &cause.evidence),
        out.texts(|cause| Some(&cause.explanation)),
    ];
    batch("root causes", root_causes_schema(), columns)
}
