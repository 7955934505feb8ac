//! The series a tenant has: their limit, and the last cumulative values, kept over restarts.
//!
//! # Saved form, version 1
//!
//! ```text
//! version (1 byte) | JSON array of [tenant, series id as hexadecimal, last seen, start, time, value or null]
//! value    {"n": number} | {"h": [count, sum, bounds, counts]} | {"e": [count, sum, scale, zero, offset, counts, offset,
//!          counts]} | {"s": [count, sum]}
//! ```
//!
//! Floating-point numbers are saved as their bits: a value read back one step too high would look like a reset.

use super::increase::Last;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use whence_schema::{ExponentialBuckets, MetricType, PointValue, Series, SeriesId, TenantId, UnixNanos};

const VERSION: u8 = 1;
/// Serving time after which a series that no longer reports is forgotten.
const IDLE_NANOS: i64 = 2 * 3_600 * 1_000_000_000;

/// Position of a series in the registry, until the next [`Registry::forget_idle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot(pub(crate) u32);

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) tenant: TenantId,
    pub(crate) id: SeriesId,
    pub(crate) last: Option<Last>,
    pub(crate) overflow: bool,
    seen: UnixNanos,
}

/// Every known series.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    slots: Vec<Known>,
    index: HashMap<(TenantId, SeriesId), Slot>,
    per_tenant: HashMap<TenantId, usize>,
}

impl Registry {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot of a series; the tenant's overflow series when the tenant has `limit` series already.
    pub(crate) fn resolve(&mut self, tenant: &TenantId, id: SeriesId, limit: usize, now: UnixNanos) -> Slot {
        if let Some(slot) = self.index.get(&(tenant.clone(), id)) {
            self.slots[slot.0 as usize].seen = now;
            return *slot;
        }
        let count = self.per_tenant.entry(tenant.clone()).or_default();
        let overflow = *count >= limit;
        let id = if overflow { OVERFLOW } else { id };
        if overflow && let Some(slot) = self.index.get(&(tenant.clone(), id)) {
            return *slot;
        }
        *count += 1;
        self.insert(Known { tenant: tenant.clone(), id, last: None, overflow, seen: now })
    }

    fn insert(&mut self, known: Known) -> Slot {
        let slot = Slot(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        self.index.insert((known.tenant.clone(), known.id), slot);
        self.slots.push(known);
        slot
    }

    pub(crate) fn get(&mut self, slot: Slot) -> &mut Known {
        &mut self.slots[slot.0 as usize]
    }

    /// Forgets series that were not seen for two hours before `now`. Slots change.
    pub(crate) fn forget_idle(&mut self, now: UnixNanos) {
        if !self.slots.iter().any(|known| now.0.saturating_sub(known.seen.0) > IDLE_NANOS) {
            return;
        }
        self.retain(|known| now.0.saturating_sub(known.seen.0) <= IDLE_NANOS);
    }

    /// Forgets the series of a tenant. Slots change.
    pub(crate) fn forget(&mut self, tenant: &TenantId) {
        self.retain(|known| known.tenant != *tenant);
    }

    fn retain(&mut self, keep: impl Fn(&Known) -> bool) {
        let slots = std::mem::take(&mut self.slots);
        *self = Self::default();
        for known in slots.into_iter().filter(keep) {
            *self.per_tenant.entry(known.tenant.clone()).or_default() += 1;
            self.insert(known);
        }
    }

    pub(crate) fn save(&self) -> Vec<u8> {
        let rows: Vec<Saved> = self.slots.iter().map(Saved::from).collect();
        let mut bytes = vec![VERSION];
        // Plain numbers and texts cannot fail to serialise; should they, the series begin anew as after a crash.
        if let Err(error) = serde_json::to_writer(&mut bytes, &rows) {
            tracing::error!(%error, "series state not saved");
            bytes.truncate(1);
            bytes.extend_from_slice(b"[]");
        }
        bytes
    }

    /// `None` when `bytes` is of no known form.
    pub(crate) fn load(bytes: &[u8]) -> Option<Self> {
        let rows: Vec<Saved> = serde_json::from_slice(bytes.strip_prefix(&[VERSION])?).ok()?;
        let mut registry = Self::default();
        for row in rows {
            let tenant = TenantId::new(&row.0);
            let id = SeriesId(u128::from_str_radix(&row.1, 16).ok()?);
            let last = row.5.map(|value| Last {
                start: UnixNanos(row.3),
                timestamp: UnixNanos(row.4),
                value: PointValue::from(value),
            });
            *registry.per_tenant.entry(tenant.clone()).or_default() += 1;
            registry.insert(Known { tenant, id, last, overflow: id == OVERFLOW, seen: UnixNanos(row.2) });
        }
        Some(registry)
    }
}

const OVERFLOW: SeriesId = SeriesId(u128::MAX);

/// What the overflow series looks like.
pub(crate) fn overflow_series() -> Arc<Series> {
    Arc::new(Series {
        id: OVERFLOW,
        asset_id: "unknown".to_owned(),
        metric_type: MetricType::Gauge,
        metric_name: "otel.metric.overflow".to_owned(),
        unit: String::new(),
        dimensions: r#"{"otel.metric.overflow":true}"#.to_owned(),
    })
}

#[derive(Serialize, Deserialize)]
struct Saved(String, String, i64, i64, i64, Option<SavedValue>);

#[derive(Serialize, Deserialize, Clone, Copy)]
struct Bits(u64);

impl From<f64> for Bits {
    fn from(value: f64) -> Self {
        Self(value.to_bits())
    }
}

impl From<Bits> for f64 {
    fn from(bits: Bits) -> Self {
        Self::from_bits(bits.0)
    }
}

#[derive(Serialize, Deserialize)]
enum SavedValue {
    #[serde(rename = "n")]
    Number(Bits),
    #[serde(rename = "h")]
    Histogram(u64, Option<Bits>, Vec<Bits>, Vec<u64>),
    #[serde(rename = "e")]
    Exponential(u64, Option<Bits>, i32, u64, i32, Vec<u64>, i32, Vec<u64>),
    #[serde(rename = "s")]
    Summary(u64, Bits),
}

impl From<&Known> for Saved {
    fn from(known: &Known) -> Self {
        let last = known.last.as_ref();
        Self(
            known.tenant.as_str().to_owned(),
            format!("{:x}", known.id.0),
            known.seen.0,
            last.map_or(0, |last| last.start.0),
            last.map_or(0, |last| last.timestamp.0),
            last.map(|last| SavedValue::from(&last.value)),
        )
    }
}

impl From<&PointValue> for SavedValue {
    fn from(value: &PointValue) -> Self {
        match value {
            PointValue::Number(number) => Self::Number((*number).into()),
            PointValue::Histogram { count, sum, bounds, counts, .. } => Self::Histogram(
                *count,
                sum.map(Bits::from),
                bounds.iter().map(|b| Bits::from(*b)).collect(),
                counts.clone(),
            ),
            PointValue::ExponentialHistogram { count, sum, scale, zero_count, positive, negative, .. } => {
                Self::Exponential(
                    *count,
                    sum.map(Bits::from),
                    *scale,
                    *zero_count,
                    positive.offset,
                    positive.counts.clone(),
                    negative.offset,
                    negative.counts.clone(),
                )
            }
            PointValue::Summary { count, sum, .. } => Self::Summary(*count, (*sum).into()),
        }
    }
}

impl From<SavedValue> for PointValue {
    fn from(value: SavedValue) -> Self {
        let (min, max) = (None, None);
        match value {
            SavedValue::Number(number) => Self::Number(number.into()),
            SavedValue::Histogram(count, sum, bounds, counts) => {
                let bounds = bounds.into_iter().map(f64::from).collect();
                Self::Histogram { count, sum: sum.map(f64::from), min, max, bounds, counts }
            }
            SavedValue::Exponential(count, sum, scale, zero_count, offset, counts, negative_offset, negative) => {
                Self::ExponentialHistogram {
                    count,
                    sum: sum.map(f64::from),
                    min,
                    max,
                    scale,
                    zero_count,
                    positive: ExponentialBuckets { offset, counts },
                    negative: ExponentialBuckets { offset: negative_offset, counts: negative },
                }
            }
            SavedValue::Summary(count, sum) => Self::Summary { count, sum: sum.into(), quantiles: Vec::new() },
        }
    }
}
