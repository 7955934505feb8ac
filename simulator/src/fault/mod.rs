//! Faults as mechanisms: how strong each is at an instant, and what it does to what it touches.

mod choose;
mod decoys;
mod parameters;
mod plan;
mod storm;
mod truth;

pub use plan::FaultChoice;
pub(crate) use plan::{FlagRule, Period, Plan, PlannedChange, Spike};

use crate::random::{MILLISECOND, log_normal};
use crate::truth::FaultKind;
use crate::world::{OperationRef, ServiceIndex};
use rand::Rng;

/// What a fault does.
#[derive(Clone, Debug)]
pub(crate) enum Mechanism {
    /// Time added to runs of an operation or of all operations; with `network` on the way to them.
    Delay { service: ServiceIndex, operation: Option<usize>, millis: f64, network: bool },
    /// Runs that throw.
    Throw { service: ServiceIndex, operation: Option<usize>, share: f64 },
    /// Threads that compete for each processor of instances.
    Stress { service: ServiceIndex, instances: Vec<usize>, threads: f64 },
    /// Memory that is full after `period` nanoseconds.
    Leak { service: ServiceIndex, instances: Vec<usize>, period: u64 },
    /// Connections that are left, and for how long they are held after use, in nanoseconds.
    Drain { service: ServiceIndex, connection: usize, limit: usize, hold: u64 },
    /// A peer takes longer.
    SlowPeer { peer: usize, millis: f64 },
    /// Instances of this revision or a later one do harm.
    Deployment { service: ServiceIndex, operation: Option<usize>, harm: Harm },
    /// Runs with the new variant of the flag do harm.
    Flag { service: ServiceIndex, operation: usize, harm: Harm },
    /// A service takes so many times as long until `trigger_end`.
    Storm { service: ServiceIndex, factor: f64, trigger_end: u64 },
    /// An instance of a service runs so many threads for each processor of its node.
    Burn { service: ServiceIndex, instance: usize, node: usize, threads: f64 },
}

/// What a new version or variant does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Harm {
    Delay { millis: f64 },
    Throw { share: f64 },
}

/// A fault under way from `onset` to `end`.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) onset: u64,
    pub(crate) end: u64,
    pub(crate) ramp: u64,
    pub(crate) mechanism: Mechanism,
    /// Index of the change that causes it.
    pub(crate) change: Option<usize>,
}

impl Fault {
    /// From 0 (not there) to 1 (at full strength).
    pub(crate) fn intensity(&self, at: u64) -> f64 {
        if at < self.onset || at >= self.end {
            0.0
        } else if at - self.onset >= self.ramp {
            1.0
        } else {
            (at - self.onset) as f64 / self.ramp as f64
        }
    }
}

/// A run about to begin.
#[derive(Clone, Copy)]
pub(crate) struct Begin {
    pub(crate) run: OperationRef,
    /// Revision of the instance.
    pub(crate) revision: u32,
    /// It got the new variant of a flag.
    pub(crate) flagged: bool,
    pub(crate) at: u64,
}

/// What faults do to one run.
#[derive(Clone, Copy, Default)]
pub(crate) struct RunEffect {
    /// Nanoseconds that the run waits.
    pub(crate) delay: u64,
    /// How many times the processor time it needs.
    pub(crate) slower: f64,
    pub(crate) fails: bool,
}

impl RunEffect {
    fn harm(&mut self, rng: &mut impl Rng, harm: Harm, intensity: f64) {
        match harm {
            Harm::Delay { millis } => self.delay += log_normal(rng, millis * intensity, 0.3),
            Harm::Throw { share } => self.fails |= rng.random_bool((share * intensity).clamp(0.0, 1.0)),
        }
    }
}

impl Plan {
    fn active(&self, at: u64) -> impl Iterator<Item = (&Fault, f64)> {
        self.faults.iter().map(move |fault| (fault, fault.intensity(at))).filter(|(_, intensity)| *intensity > 0.0)
    }

    /// What faults do to a run.
    pub(crate) fn run_effect(&self, rng: &mut impl Rng, begin: Begin) -> RunEffect {
        let mut effect = RunEffect { slower: 1.0, ..Default::default() };
        let here = |service: ServiceIndex, operation: Option<usize>| {
            service == begin.run.service && operation.is_none_or(|operation| operation == begin.run.operation)
        };
        for (fault, intensity) in self.active(begin.at) {
            match fault.mechanism {
                Mechanism::Delay { service, operation, millis, network: false } if here(service, operation) => {
                    effect.harm(rng, Harm::Delay { millis }, intensity);
                }
                Mechanism::Throw { service, operation, share } if here(service, operation) => {
                    effect.harm(rng, Harm::Throw { share }, intensity);
                }
                Mechanism::Deployment { service, operation, harm }
                    if begin.revision > 0 && here(service, operation) =>
                {
                    effect.harm(rng, harm, intensity);
                }
                Mechanism::Flag { service, operation, harm } if begin.flagged && here(service, Some(operation)) => {
                    effect.harm(rng, harm, intensity);
                }
                Mechanism::Storm { service, factor, trigger_end } if here(service, None) && begin.at < trigger_end => {
                    effect.slower *= factor;
                }
                _ => {}
            }
        }
        effect
    }

    /// Nanoseconds more on the way to an operation.
    pub(crate) fn network_delay(&self, rng: &mut impl Rng, to: OperationRef, at: u64) -> u64 {
        let mut delay = 0;
        for (fault, intensity) in self.active(at) {
            if let Mechanism::Delay { service, operation, millis, network: true } = fault.mechanism
                && service == to.service
                && operation.is_none_or(|operation| operation == to.operation)
            {
                delay += log_normal(rng, millis * intensity, 0.2);
            }
        }
        delay
    }

    /// Threads of others that compete for each processor of an instance.
    pub(crate) fn stress(&self, (service, instance): (ServiceIndex, usize), at: u64) -> f64 {
        let of_fault = |(fault, intensity): (&Fault, f64)| match &fault.mechanism {
            Mechanism::Stress { service: stressed, instances, threads }
                if *stressed == service && instances.contains(&instance) =>
            {
                threads * intensity
            }
            _ => 0.0,
        };
        self.active(at).map(of_fault).sum()
    }

    /// Threads of a noisy neighbour for each processor of a node.
    pub(crate) fn burn(&self, node: usize, at: u64) -> f64 {
        let of_fault = |(fault, intensity): (&Fault, f64)| match fault.mechanism {
            Mechanism::Burn { node: burning, threads, .. } if burning == node => threads * intensity,
            _ => 0.0,
        };
        self.active(at).map(of_fault).sum()
    }

    /// Whether an instance is the noisy neighbour.
    pub(crate) fn burns(&self, (service, instance): (ServiceIndex, usize), at: u64) -> bool {
        self.active(at).any(|(fault, _)| match fault.mechanism {
            Mechanism::Burn { service: burning, instance: of, .. } => (burning, of) == (service, instance),
            _ => false,
        })
    }

    /// How full the memory of an instance is that started at `started`, from 0 (as usual) to 1.
    pub(crate) fn leaked(&self, (service, instance): (ServiceIndex, usize), started: u64, at: u64) -> f64 {
        let of_fault = |(fault, _): (&Fault, f64)| match &fault.mechanism {
            Mechanism::Leak { service: leaking, instances, period }
                if *leaking == service && instances.contains(&instance) =>
            {
                at.saturating_sub(started.max(fault.onset)) as f64 / *period as f64
            }
            _ => 0.0,
        };
        self.active(at).map(of_fault).sum::<f64>().min(1.0)
    }

    /// Connections that are left of a pool, and for how long each is held after use.
    pub(crate) fn drained(&self, service: ServiceIndex, connection: usize, at: u64) -> Option<(usize, u64)> {
        self.active(at).find_map(|(fault, _)| match fault.mechanism {
            Mechanism::Drain { service: drained, connection: of, limit, hold }
                if (drained, of) == (service, connection) =>
            {
                Some((limit, hold))
            }
            _ => None,
        })
    }

    /// Nanoseconds more that a peer takes.
    pub(crate) fn peer_delay(&self, rng: &mut impl Rng, peer: usize, at: u64) -> u64 {
        let mut delay = 0;
        for (fault, intensity) in self.active(at) {
            if let Mechanism::SlowPeer { peer: slow, millis } = fault.mechanism
                && slow == peer
            {
                delay += log_normal(rng, millis * intensity, 0.4);
            }
        }
        delay
    }
}

/// Share of the time that an instance collects garbage, and the longest pause in nanoseconds, by how full it is.
pub(crate) fn garbage_collection(full: f64) -> (f64, u64) {
    (0.01 + 0.6 * full.powi(3), ((8.0 + 600.0 * full.powi(3)) * MILLISECOND as f64) as u64)
}

#[cfg(test)]
mod tests;
