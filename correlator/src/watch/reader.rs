//! Reads one slot of a tenant from the store into a digest, or the minute of metric points that ends with it. Names and
//! templates keep their numbers from slot to slot.

use crate::error::CorrelatorError;
use crate::functions::scan::Range;
use crate::method::digest::Digest;
use crate::method::names::{AllNames, Names, Used};
use crate::method::observations::Observations;
use crate::method::slots::GridSlot;
use crate::method::templates::Templates;
use crate::observe::{events_in, levels_in};
use std::time::Duration;
use whence_schema::{BUCKET_NANOS, TenantId, UnixNanos};
use whence_storage::Snapshot;

/// How long before a slot the spans begin that are read with it: parents of those that begin in it.
const MARGIN: i64 = 10_000_000_000;
/// Events of one slot at most, with those around it; more are thinned to whole traces.
const MOST_EVENTS: usize = 200_000;
/// Points of one minute at most; more are thinned to some of the series.
const MOST_POINTS: usize = 100_000;

/// What the slots of one tenant have in common.
#[derive(Debug, Default)]
pub(crate) struct SlotReader {
    pub(crate) names: AllNames,
    pub(crate) templates: Templates,
}

/// A slot that was read.
#[derive(Debug)]
pub(crate) struct SlotRead {
    pub(crate) digest: Digest,
    /// Events that were read.
    pub(crate) events: u64,
    /// Of how many traces one was read: 1 when all were.
    pub(crate) thinned: u64,
}

impl SlotReader {
    /// Reads a slot and what belongs to its traces until `lateness` after it; `None` when nothing happened in it. Blocks
    /// on file reads.
    ///
    /// A span that ends later than that is left out, whether it has arrived or not: so that the digest is the same when
    /// the slot is read again after a start.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read.
    pub(crate) fn read(
        &mut self,
        snapshot: &Snapshot,
        tenant: &TenantId,
        slot: GridSlot,
        lateness: Duration,
    ) -> Result<Option<SlotRead>, CorrelatorError> {
        let to = UnixNanos(slot.end().0.saturating_add(lateness.as_nanos() as i64));
        let range = Range { from: UnixNanos(slot.start().0.saturating_sub(MARGIN)), to };
        let observed = events_in(snapshot, tenant, range, MOST_EVENTS)?;
        let mut seen = observed.observations;
        let events = (seen.spans.len() + seen.logs.len()) as u64;
        if events == 0 {
            return Ok(None);
        }
        seen.spans.retain(|span| span.start.0.saturating_add_unsigned(span.duration_ns) <= to.0);
        self.number(&mut seen);
        let digest = Digest::of(&seen, slot, &mut self.templates);
        Ok((!digest.is_empty()).then_some(SlotRead { digest, events, thinned: observed.thinned.max(1) }))
    }

    /// Reads the levels of processes in the minute that ends with a slot. Blocks on file reads.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read.
    pub(crate) fn read_levels(
        &mut self,
        snapshot: &Snapshot,
        tenant: &TenantId,
        slot: GridSlot,
    ) -> Result<Observations, CorrelatorError> {
        let to = slot.end();
        let range = Range { from: UnixNanos(to.0.saturating_sub(BUCKET_NANOS)), to };
        let mut seen = levels_in(snapshot, tenant, range, MOST_POINTS)?;
        let assets = numbers(&mut self.names.assets, &seen.assets);
        let metrics = numbers(&mut self.names.metrics, &seen.metrics);
        for point in &mut seen.points {
            (point.asset, point.metric) = (assets[point.asset as usize], metrics[point.metric as usize]);
        }
        Ok(seen)
    }

    /// Forgets names and templates that are not used; returns how many of each.
    pub(crate) fn retain(&mut self, mut used: Used) -> (u64, u64) {
        let templates = self.templates.retain(&used.templates);
        used.assets.extend(used.templates.iter().filter_map(|template| self.templates.asset(*template)));
        (self.names.retain(&used), templates)
    }

    /// Names and messages for which there was no room, each time they were met.
    pub(crate) fn refused(&self) -> u64 {
        self.names.refused() + self.templates.refused
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.names.bytes() + self.templates.bytes()
    }

    /// Gives names the numbers that they have in other slots.
    fn number(&mut self, seen: &mut Observations) {
        let assets = numbers(&mut self.names.assets, &seen.assets);
        let operations = numbers(&mut self.names.operations, &seen.operations);
        for span in &mut seen.spans {
            span.asset = assets[span.asset as usize];
            span.operation = operations[span.operation as usize];
            span.peer = span.peer.map(|peer| assets[peer as usize]);
        }
        for log in &mut seen.logs {
            log.asset = assets[log.asset as usize];
        }
    }
}

fn numbers(names: &mut Names, texts: &[String]) -> Vec<u32> {
    texts.iter().map(|text| names.number(text)).collect()
}
