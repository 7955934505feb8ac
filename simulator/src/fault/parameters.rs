//! Ranges of the parameters of faults. Every parameter that a detector could be fitted to is a [`Scale`].

use crate::purpose::Scale;

/// Length of a fault in seconds.
pub(super) const DURATION: Scale = Scale::linear(120.0, 600.0);
/// Time to the full strength as a share of the length, for faults with a ramp.
pub(super) const RAMP: Scale = Scale::linear(0.1, 0.55);
/// Added time in milliseconds.
pub(super) const DELAY_MS: Scale = Scale::logarithmic(80.0, 2500.0);
/// Share of runs that fail.
pub(super) const FAILING: Scale = Scale::linear(0.1, 1.0);
/// Competing threads for each processor, of an instance or of a node.
pub(super) const THREADS: Scale = Scale::logarithmic(3.0, 16.0);
/// Time until memory is full as a share of the length.
pub(super) const FILLING: Scale = Scale::linear(0.35, 0.95);
/// Demand for a drained pool in relation to what it can do.
pub(super) const DEMAND: Scale = Scale::linear(1.1, 3.0);
/// Time that a slow peer takes more, in milliseconds.
pub(super) const PEER_DELAY_MS: Scale = Scale::logarithmic(60.0, 3000.0);
/// Share of the requests that get a flag's new variant.
pub(super) const VARIANT: Scale = Scale::linear(0.15, 1.0);
/// Length of the trigger of a retry storm in seconds.
pub(super) const TRIGGER: Scale = Scale::linear(20.0, 45.0);
/// How many times as long a service takes during the trigger.
pub(super) const TRIGGER_FACTOR: Scale = Scale::logarithmic(8.0, 30.0);
/// Traffic of a benign spike in relation to the usual.
pub(super) const SPIKE: Scale = Scale::linear(1.4, 2.6);
/// Length of a benign spike in seconds.
pub(super) const SPIKE_LENGTH: Scale = Scale::linear(40.0, 200.0);
