//! `temporal_links(from, to)`: trouble that keeps following other trouble, and changes with what they changed, as rows or
//! as links to be stored.

use super::{Columns, batch, id_field, text_field, text_list_field, window};
use crate::confidence::link_confidence;
use crate::error::CorrelatorError;
use crate::functions::scan::Range;
use crate::method::causes::Question;
use crate::method::links::{Link, Test, false_discoveries, links};
use crate::method::neighbours::Tie;
use crate::observe::{Observed, with_observed};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::json;
use std::sync::{Arc, LazyLock};
use whence_schema::tables::correlations::CorrelationRow;
use whence_schema::{TenantId, UnixNanos};
use whence_storage::Snapshot;

/// Columns of [`temporal_links`].
///
/// `lag_ms` is between the moments at which the two were known: of a span that failed its end, of one that was slow when
/// it had lasted longer than usual. `confidence` is how likely it is that cause and effect lie on the way of one fault, by
/// its calibration on simulated systems (`confidence.rs`). `p`, `q` and `tests` are null of `change`. `via` says what makes
/// two assets neighbours: `call`, or the kind of the places that both run at, whose names are `shared`.
pub fn temporal_links_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            id_field("primary_event_id", false),
            id_field("related_event_id", false),
            text_field("cause_asset", false),
            text_field("effect_asset", false),
            text_field("relation", false),
            Field::new("lag_ms", DataType::Float64, false),
            Field::new("strength", DataType::Float32, false),
            Field::new("confidence", DataType::Float32, false),
            Field::new("p", DataType::Float64, true),
            Field::new("q", DataType::Float64, true),
            Field::new("tests", DataType::Int64, true),
            Field::new("support", DataType::Int64, false),
            text_field("via", true),
            text_list_field("shared"),
        ]))
    });
    SCHEMA.clone()
}

/// The links whose effect happened from `from` until before `to`, by time. The hour before is evidence as well: an order
/// shows in no less than five onsets, so a day says more than an incident. Blocks on file reads.
///
/// # Errors
///
/// When the store cannot be read, or the two times are no window.
pub fn temporal_links(
    snapshot: &Snapshot,
    tenant: &TenantId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<RecordBatch, CorrelatorError> {
    let found = with_links(snapshot, tenant, window(from, to)?, |links, assets| {
        let name = |asset: u32| assets.get(asset as usize).cloned().unwrap_or_default();
        let named = |link: Link| Named {
            cause: name(link.cause.asset),
            effect: name(link.effect.asset),
            shared: link.tie.as_ref().map(Tie::shared_names).unwrap_or_default(),
            link,
        };
        links.into_iter().map(named).collect::<Vec<Named>>()
    })?;
    let out = Columns(&found);
    let test = |of: fn(&Test) -> f64| out.optional_float64s(move |Named { link, .. }| link.test.as_ref().map(of));
    let columns = vec![
        out.ids(|Named { link, .. }| Some(link.cause.event)),
        out.ids(|Named { link, .. }| Some(link.effect.event)),
        out.texts(|named| Some(&named.cause)),
        out.texts(|named| Some(&named.effect)),
        out.texts(|Named { link, .. }| Some(link.relation.as_str())),
        out.float64s(|Named { link, .. }| milliseconds(link.lag_nanos)),
        out.float32s(|Named { link, .. }| link.strength as f32),
        out.float32s(|Named { link, .. }| link_confidence(link.relation, link.score)),
        test(|test| test.p),
        test(|test| test.q),
        out.int64s(|Named { link, .. }| link.test.map(|test| test.tests as i64)),
        out.int64s(|Named { link, .. }| Some(i64::from(link.support))),
        out.texts(|Named { link, .. }| link.tie.as_ref().and_then(Tie::via)),
        out.text_lists(|named| &named.shared),
    ];
    batch("temporal links", temporal_links_schema(), columns)
}

/// A link with names for what it has numbers for.
struct Named {
    cause: String,
    effect: String,
    shared: Vec<String>,
    link: Link,
}

/// A link as it would be stored, and what a row of `correlations` has no columns for.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundLink {
    /// Name of the asset of the cause.
    pub cause_asset: String,
    /// Name of the asset of the effect.
    pub effect_asset: String,
    /// What confidence is calibrated from, 0 to 1.
    pub score: f64,
    /// The link; `created_at` is the end of the window that was asked about.
    pub row: CorrelationRow,
}

/// The rows of [`temporal_links`] as links for `correlations`. Blocks on file reads.
///
/// # Errors
///
/// As [`temporal_links`].
pub fn find_links(
    snapshot: &Snapshot,
    tenant: &TenantId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<Vec<FoundLink>, CorrelatorError> {
    with_links(snapshot, tenant, window(from, to)?, |links, assets| {
        let name = |asset: u32| assets.get(asset as usize).cloned().unwrap_or_default();
        let found = |link: Link| FoundLink {
            cause_asset: name(link.cause.asset),
            effect_asset: name(link.effect.asset),
            score: link.score,
            row: row(tenant, &link, to),
        };
        links.into_iter().map(found).collect()
    })
}

/// Of a window whose streams of onsets are turned against each other, so that they have nothing to do with each other:
/// how many tests there are and how many discoveries, all of them false, for each of so many turns. Blocks on file reads.
///
/// # Errors
///
/// As [`temporal_links`].
pub fn find_false_discoveries(
    snapshot: &Snapshot,
    tenant: &TenantId,
    (from, to): (UnixNanos, UnixNanos),
    turns: u32,
) -> Result<Vec<(usize, usize)>, CorrelatorError> {
    with_observed(snapshot, tenant, window(from, to)?, |observed| {
        false_discoveries(&observed.observations, &question(observed, to), turns)
    })
}

fn with_links<R>(
    snapshot: &Snapshot,
    tenant: &TenantId,
    window: Range,
    take: impl FnOnce(Vec<Link>, &[String]) -> R,
) -> Result<R, CorrelatorError> {
    with_observed(snapshot, tenant, window, |observed| {
        let found = links(&observed.observations, window.from, &question(observed, window.to));
        take(found, &observed.observations.assets)
    })
}

/// All of what was read is baseline to the question: the window after it is empty.
fn question(observed: &Observed, to: UnixNanos) -> Question {
    Question { from: to, to, baseline_from: observed.baseline_from }
}

/// A link to be stored, of a tenant, found at `created_at`.
pub(crate) fn row(tenant: &TenantId, link: &Link, created_at: UnixNanos) -> CorrelationRow {
    CorrelationRow {
        tenant: tenant.clone(),
        correlation_type: link.correlation_type,
        relation: link.relation,
        primary: link.cause.event,
        related: link.effect.event,
        primary_timestamp: link.cause.time,
        related_timestamp: link.effect.time,
        strength: link.strength as f32,
        confidence: link_confidence(link.relation, link.score),
        created_at,
        metadata: Some(evidence(link)),
    }
}

/// What `metadata` says beside relation and method, which are written when it is read.
fn evidence(link: &Link) -> String {
    let mut evidence = json!({
        "lag_ms": milliseconds(link.lag_nanos),
        "cause_kind": link.kinds.0,
        "effect_kind": link.kinds.1,
        "support": link.support,
        "of": link.of,
        "score": link.score,
    });
    if let (Some(contrast), Some(evidence)) = (link.contrast, evidence.as_object_mut()) {
        evidence.insert("contrast".to_owned(), json!(contrast));
    }
    if let (Some(tie), Some(evidence)) = (&link.tie, evidence.as_object_mut()) {
        evidence.insert("via".to_owned(), json!(tie.via()));
        if !tie.shared.is_empty() {
            evidence.insert("shared".to_owned(), json!(tie.shared_names()));
        }
    }
    if let (Some(test), Some(evidence)) = (link.test, evidence.as_object_mut()) {
        evidence.insert("p".to_owned(), json!(test.p));
        evidence.insert("q".to_owned(), json!(test.q));
        evidence.insert("tests".to_owned(), json!(test.tests));
        evidence.insert("direction_p".to_owned(), json!(test.direction_p));
    }
    evidence.to_string()
}

fn milliseconds(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}
