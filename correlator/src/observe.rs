//! Reads a baseline and the window after it out of a snapshot into [`Observations`], the form the methods take.
//!
//! ```text
//! events   in memory:                 all, with payloads, which are there anyway
//!          chunks, without payloads:  most spans, log records and span events
//!          chunks, with payloads:     spans that call somebody, exceptions, changes, values of flags
//! metrics                             one point for each series and minute, its parts merged
//! ```
//!
//! Bounded: at most [`MOST_EVENTS`] spans, log records and span events with [`MOST_TEXT`] bytes of texts, and
//! [`MOST_POINTS`] points. An hour that holds more is first cut at its beginning, then thinned to whole traces, one in two, four, ... by a hash of their id;
//! [`Observed::thinned`] says to how many. Log records outside of traces, and series, are thinned likewise. One window is
//! read at a time: each takes up to half a GiB while it is asked about. Where somebody waits, chunks are decoded on a thread of
//! their own, a few batches ahead.

mod changes;
mod event_texts;
mod events;
mod names;
mod novelty;
mod points;
pub(crate) mod resources;

use self::events::Pace;
use crate::error::CorrelatorError;
use crate::functions::scan::Range;
use crate::method::observations::Observations;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use whence_schema::{Table, TenantId, UnixNanos};
use whence_storage::{Snapshot, bucket_of};

/// Held by whoever reads and compares a window.
static TURN: Mutex<()> = Mutex::new(());

/// Spans, log records and span events at most: some 100 bytes of memory each.
pub(crate) const MOST_EVENTS: usize = 2_000_000;
/// The same of an hour and the one before it, which are read while nobody waits.
const MOST_EVENTS_OF_HOURS: usize = 1_000_000;
/// Bytes of the texts of log records and span events at most.
const MOST_TEXT: usize = 128 << 20;
/// Points at most.
const MOST_POINTS: usize = 1_000_000;
/// Longest baseline.
const LONGEST_BASELINE: i64 = 3_600 * SECOND;
/// What a baseline is not cut below, however much there is.
const SHORTEST_BASELINE: i64 = 300 * SECOND;
const SECOND: i64 = 1_000_000_000;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) observations: Observations,
    /// Where the baseline begins: no more than an hour before the window, and not before the first event there is.
    pub(crate) baseline_from: UnixNanos,
    /// Of how many traces one was read: 1 when all were.
    pub(crate) thinned: u64,
    /// True when the baseline was cut because it held too much.
    pub(crate) cut: bool,
}

/// Reads `window` and its baseline and hands them to `ask`, one caller at a time. Blocks on file reads, and on others
/// who ask.
///
/// # Errors
///
/// When a chunk cannot be read.
pub(crate) fn with_observed<R>(
    snapshot: &Snapshot,
    tenant: &TenantId,
    window: Range,
    ask: impl FnOnce(&Observed) -> R,
) -> Result<R, CorrelatorError> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = observe(snapshot, tenant, window, MOST_EVENTS).map(|observed| ask(&observed));
    drop(turn);
    answer
}

/// Reads a full hour and the one before it, and hands them to `ask`, one caller at a time. Blocks on file reads, and on
/// others who ask.
///
/// Unlike what [`with_observed`] reads it does not depend on when it is read: what is too much is thinned, never cut at
/// its beginning by an estimate, and spans are left out that end more than `lateness` after the hour, whether they have
/// arrived or not.
///
/// # Errors
///
/// When a chunk cannot be read.
pub(crate) fn with_hour<R>(
    snapshot: &Snapshot,
    tenant: &TenantId,
    hour: Range,
    lateness: Duration,
    ask: impl FnOnce(&Observed) -> R,
) -> Result<R, CorrelatorError> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let range = Range { from: UnixNanos(hour.from.0.saturating_sub(LONGEST_BASELINE)), to: hour.to };
    let mut observed = events_in(snapshot, tenant, range, MOST_EVENTS_OF_HOURS)?;
    points::read(snapshot, tenant, range, MOST_POINTS, None, &mut observed.observations)?;
    let last = hour.to.0.saturating_add(lateness.as_nanos() as i64);
    observed.observations.spans.retain(|span| span.start.0.saturating_add_unsigned(span.duration_ns) <= last);
    observed.baseline_from = range.from;
    Ok(ask(&observed))
}

/// Reads `window` and its baseline, at most `most` events.
pub(crate) fn observe(
    snapshot: &Snapshot,
    tenant: &TenantId,
    window: Range,
    most: usize,
) -> Result<Observed, CorrelatorError> {
    let Baseline { from, cut, expected } = baseline(snapshot, tenant, window, most);
    let range = Range { from, to: window.to };
    let mut reading = events::Reading::new(range, most, true);
    reading.read(snapshot, tenant, expected, Pace::Ahead)?;
    let mut observed = reading.finish();
    points::read(snapshot, tenant, range, MOST_POINTS, None, &mut observed.observations)?;
    observed.cut = cut;
    observed.baseline_from = first_time(&observed.observations).map_or(window.from, |first| first.min(window.from));
    Ok(observed)
}

/// Reads the spans and logs of a range and nothing else, at most `most` of them. Blocks on file reads.
///
/// # Errors
///
/// When a chunk cannot be read.
pub(crate) fn events_in(
    snapshot: &Snapshot,
    tenant: &TenantId,
    range: Range,
    most: usize,
) -> Result<Observed, CorrelatorError> {
    let expected = rows_in(snapshot, tenant, range);
    if expected <= 0.0 {
        return Ok(Observed::default());
    }
    let mut reading = events::Reading::new(range, most, false);
    reading.read(snapshot, tenant, expected, Pace::OneThread)?;
    Ok(reading.finish())
}

/// Reads the points of the minutes that begin in a range of those series by which incidents are found, at most `most` of
/// them. Blocks on file reads.
///
/// # Errors
///
/// When a chunk cannot be read.
pub(crate) fn levels_in(
    snapshot: &Snapshot,
    tenant: &TenantId,
    range: Range,
    most: usize,
) -> Result<Observations, CorrelatorError> {
    let mut seen = Observations::default();
    points::read(snapshot, tenant, range, most, Some(points::MAY_STAND_OUT), &mut seen)?;
    Ok(seen)
}

/// When the first thing happened. The start of a minute says little about when its points were measured, so points do
/// not count where there are events.
fn first_time(seen: &Observations) -> Option<UnixNanos> {
    let spans = seen.spans.iter().map(|span| span.start);
    let first = spans.chain(seen.logs.iter().map(|log| log.time)).min();
    first.or_else(|| seen.points.iter().map(|point| point.time).min())
}

/// Where to begin reading.
struct Baseline {
    from: UnixNanos,
    /// True when it is shorter than an hour because that would hold too many rows.
    cut: bool,
    /// About how many rows there are from an hour before the window to its end.
    expected: f64,
}

fn baseline(snapshot: &Snapshot, tenant: &TenantId, window: Range, most: usize) -> Baseline {
    let back = |nanos: i64| UnixNanos(window.from.0.saturating_sub(nanos));
    let hour = Range { from: back(LONGEST_BASELINE), to: window.from };
    let (before, during) = (rows_in(snapshot, tenant, hour), rows_in(snapshot, tenant, window));
    let expected = before + during;
    if expected <= most as f64 {
        return Baseline { from: hour.from, cut: false, expected };
    }
    let length = window.to.0.saturating_sub(window.from.0).clamp(SHORTEST_BASELINE, LONGEST_BASELINE);
    let room = (most as f64 - during).max(0.0);
    let share = if before > 0.0 { room / before } else { 1.0 };
    let fits = ((LONGEST_BASELINE as f64 * share) as i64).clamp(length, LONGEST_BASELINE);
    Baseline { from: back(fits), cut: fits < LONGEST_BASELINE, expected }
}

/// About how many events a range holds, from the times and sizes of memory and chunks alone.
fn rows_in(snapshot: &Snapshot, tenant: &TenantId, range: Range) -> f64 {
    let events = snapshot.table(Table::Events);
    let bucket = bucket_of(tenant.as_str());
    let chunks = events.chunks.iter().filter(|chunk| chunk.bucket == bucket);
    let in_chunks = chunks.map(|chunk| {
        let (from, to) = (chunk.min_time.0.max(range.from.0), chunk.max_time.0.min(range.to.0));
        let length = (chunk.max_time.0 - chunk.min_time.0).max(1) as f64;
        if to < from { 0.0 } else { chunk.rows as f64 * ((to - from).max(1) as f64 / length).min(1.0) }
    });
    let in_memory = events.batches.iter().map(|batch| events::rows_of(batch, tenant, range) as f64);
    in_chunks.chain(in_memory).sum()
}

/// Whether what has this hash stays when one in `of` does.
fn stays(hash: u64, of: u64) -> bool {
    // `of` is a power of two.
    hash & (of - 1) == 0
}
