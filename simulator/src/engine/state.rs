//! What a simulation consists of at an instant.

use crate::engine::slab::{Key, Slab};
use crate::telemetry::Recorder;
use crate::world::{OperationRef, ServiceIndex, World};
use rand_chacha::ChaCha8Rng;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// Why something failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The service's own code threw.
    Exception,
    /// Something that happens now and then.
    Accident,
    /// Too many requests wait already.
    Overloaded,
    /// The instance is down.
    Refused,
    /// The instance died while the request was under way.
    Killed,
    /// The caller gave up waiting for an answer.
    TimedOut { millis: u32 },
    /// No connection of a pool was free in time.
    NoConnection { connection: usize, millis: u32 },
    /// The peer did not answer in time.
    QueryTimedOut { connection: usize, millis: u32 },
    /// A call failed, and the service cannot do without it.
    Upstream { target: OperationRef, status: u16 },
}

impl Failure {
    /// The status that callers see. 0: no answer came.
    pub(crate) fn status(self) -> u16 {
        match self {
            Failure::Exception | Failure::Accident | Failure::NoConnection { .. } | Failure::QueryTimedOut { .. } => {
                500
            }
            Failure::Overloaded => 503,
            Failure::Refused | Failure::Killed | Failure::TimedOut { .. } => 0,
            Failure::Upstream { status: 0 | 504, .. } => 504,
            Failure::Upstream { .. } => 500,
        }
    }

    /// It began in the service that reports it.
    pub(crate) fn is_own(self) -> bool {
        !matches!(self, Failure::Upstream { .. })
    }
}

/// What a span and everything in it share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
}

/// What a request carries through all services.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) user: u32,
    /// Number that stands for `{id}` in routes.
    pub(crate) item: u32,
}

/// Why an operation runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trigger {
    /// A request, of a user if no call waits for the answer.
    Request { call: Option<Key> },
    /// A message, with the context of its producer.
    Message { producer: Option<([u8; 16], [u8; 8])>, id: u64 },
    /// Another run of the same service, which does not wait.
    Background,
}

/// A run of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) operation: OperationRef,
    pub(crate) machine: usize,
    /// The process that serves it, as [`Recorder`] knows it.
    pub(crate) pod: u32,
    pub(crate) context: Context,
    pub(crate) trigger: Trigger,
    pub(crate) visit: Visit,
    /// When its span begins.
    pub(crate) start: u64,
    /// It has a worker, which it must give back.
    pub(crate) working: bool,
    pub(crate) stage: usize,
    /// Steps of the stage that are not done.
    pub(crate) pending: u32,
    pub(crate) failure: Option<Failure>,
    /// All steps are done.
    pub(crate) finishing: bool,
    /// Index of the flag that it asked for, and whether it got the new variant.
    pub(crate) flag: Option<(usize, bool)>,
}

/// Which step of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StepRef {
    pub(crate) stage: usize,
    pub(crate) step: usize,
}

/// One attempt of a call or a query.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) run: Key,
    pub(crate) step: StepRef,
    /// Attempts before this one.
    pub(crate) number: u32,
    pub(crate) span_id: [u8; 8],
    pub(crate) start: u64,
    /// Where it comes from, and how often that instance had died then.
    pub(crate) machine: usize,
    pub(crate) epoch: u32,
    /// It has a connection.
    pub(crate) connected: bool,
    pub(crate) failure: Option<Failure>,
}

/// The connections of an instance to one peer.
#[derive(Default)]
pub(crate) struct Pool {
    pub(crate) used: usize,
    pub(crate) waiting: VecDeque<Key>,
}

/// An instance of a service.
pub(crate) struct Machine {
    pub(crate) service: ServiceIndex,
    /// Index of the instance in its service.
    pub(crate) instance: usize,
    pub(crate) node: usize,
    pub(crate) pod: u32,
    pub(crate) up: bool,
    /// When its process started.
    pub(crate) started: u64,
    /// Of its code: 0 is the version of the beginning.
    pub(crate) revision: u32,
    /// Deployments so far.
    pub(crate) generation: u32,
    /// Restarts of its pod so far.
    pub(crate) restarts: u32,
    /// Times it died.
    pub(crate) epoch: u32,
    /// Runs that have a worker, and those that wait for one.
    pub(crate) working: usize,
    pub(crate) backlog: VecDeque<Key>,
    /// Runs that use a processor.
    pub(crate) running: usize,
    pub(crate) pools: Vec<Pool>,
    /// Processor time used since metrics were collected, in nanoseconds.
    pub(crate) busy: u64,
}

impl Machine {
    pub(crate) fn place(&self) -> (ServiceIndex, usize) {
        (self.service, self.instance)
    }
}

/// Something that happens at an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A user's request.
    Arrival,
    /// A run reaches its instance.
    Reach(Key),
    /// A run has used its processor time.
    Worked(Key),
    /// A call is answered.
    Answer(Key, Option<Failure>),
    /// A caller has waited long enough.
    GiveUp(Key),
    /// A call is tried again.
    Retry { run: Key, step: StepRef, number: u32 },
    /// A peer has answered, or the client has given up.
    Queried(Key),
    /// A run has waited long enough for a connection.
    NoConnection(Key),
    /// A connection comes back late.
    Release { machine: usize, epoch: u32, connection: usize },
    /// Metrics are collected.
    Collect,
    /// A change is reported; `reverted` says that it is taken back.
    Announce { change: usize, reverted: bool },
    /// An instance gets new code.
    Replace { machine: usize, revision: u32 },
    /// One more instance.
    Join { machine: usize },
    /// Memory is full.
    Kill { machine: usize, fault: usize },
    /// A killed instance is back.
    Recover { machine: usize, fault: usize },
    /// An instance with a leak is restarted in good time.
    Restart { machine: usize },
    /// Everything that waits for a service is turned away.
    Shed { service: ServiceIndex },
}

struct Entry {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest; of two at the same time, the one that was planned first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// What is to happen, in order of time.
#[derive(Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Entry>,
    planned: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: u64, event: Event) {
        self.planned += 1;
        self.heap.push(Entry { at, number: self.planned, event });
    }

    /// The next event, if it is before an instant.
    pub(crate) fn next_before(&mut self, until: u64) -> Option<(u64, Event)> {
        if self.heap.peek()?.at >= until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}

/// All that changes during a simulation.
pub(crate) struct State {
    pub(crate) rng: ChaCha8Rng,
    pub(crate) now: u64,
    pub(crate) agenda: Agenda,
    pub(crate) runs: Slab<Run>,
    pub(crate) attempts: Slab<Attempt>,
    pub(crate) machines: Vec<Machine>,
    /// First machine of each service; those of a service follow each other.
    pub(crate) first: Vec<usize>,
    /// Runs that use a processor of each node.
    pub(crate) running: Vec<usize>,
    pub(crate) recorder: Recorder,
}

impl State {
    pub(crate) fn machine(&self, service: ServiceIndex, instance: usize) -> usize {
        self.first[service] + instance
    }

    /// The machines of a service.
    pub(crate) fn machines_of(&self, world: &World, service: ServiceIndex) -> std::ops::Range<usize> {
        let first = self.first[service];
        first..first + world.services[service].instances.len()
    }
}
