//! Walks the call graph: one front-end request in, its spans, logs and measurements out.

use crate::attributes::text;
use crate::random::{MILLISECOND, SECOND, latency};
use crate::shop::export::Items;
use crate::shop::fault::{Effect, FaultPlan, QueryEffect, REJECTION, database_exception, timeout};
use crate::shop::log_records::{Severity, in_span};
use crate::shop::span_attributes::{self, StatusCode, Visit};
use crate::shop::topology::{Call, FRONTEND, Protocol, ServiceIndex, Source, Step, Topology};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use rand::Rng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand_chacha::ChaCha8Rng;

/// A caller fails with an essential callee, save for this share (it has a fallback).
const FALLBACK: f64 = 0.03;
/// Runs of services in a front-end request, roughly: brings a rate per request down to one per run.
const RUNS_PER_REQUEST: f64 = 6.0;
/// Share of the successful runs behind the front end that write a log record.
const LOGGED: f64 = 0.35;
/// `flags` of a span: sampled, and known whether its parent is remote (bit 8) and that it is (bit 9).
const FLAGS_LOCAL_PARENT: u32 = 0x101;
const FLAGS_REMOTE_PARENT: u32 = 0x301;

/// What one front-end request leaves behind.
#[derive(Default)]
pub(crate) struct Trace {
    pub(crate) spans: Items<Span>,
    pub(crate) logs: Items<LogRecord>,
    pub(crate) measurements: Vec<Measurement>,
}

/// A duration for a histogram.
pub(crate) struct Measurement {
    pub(crate) source: Source,
    pub(crate) subject: Subject,
    pub(crate) end: u64,
    pub(crate) seconds: f64,
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
}

/// What was measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Subject {
    /// `http.server.request.duration` of an operation and status code.
    Server { operation: usize, status: StatusCode },
    /// `db.client.operation.duration` of a verb and table.
    Query { verb: &'static str, table: &'static str, failed: bool },
}

/// Simulates requests, one at a time.
pub(crate) struct Traffic<'a> {
    topology: &'a Topology,
    plan: &'a FaultPlan,
    rng: &'a mut ChaCha8Rng,
}

/// A run of an operation about to begin.
struct Arrival {
    service: ServiceIndex,
    operation: usize,
    start: u64,
    parent: Option<[u8; 8]>,
}

/// A run of an operation under way.
struct Run {
    source: Source,
    operation: usize,
    span_id: [u8; 8],
    start: u64,
}

/// State of one walk.
struct Walk {
    trace_id: [u8; 16],
    visit: Visit,
    trace: Trace,
}

/// How something ended.
struct Ended {
    at: u64,
    failure: Option<Failure>,
}

/// Why something failed.
struct Failure {
    status: StatusCode,
    /// Exception class, or what `error.type` says.
    class: String,
    message: String,
    /// It began here, and did not come from a callee.
    origin: bool,
}

impl<'a> Traffic<'a> {
    pub(crate) fn new(topology: &'a Topology, plan: &'a FaultPlan, rng: &'a mut ChaCha8Rng) -> Self {
        Traffic { topology, plan, rng }
    }

    /// One request to the front end.
    pub(crate) fn request(&mut self, start: u64) -> Trace {
        let operation = WeightedIndex::new(&self.topology.entry_weights).map_or(0, |weights| weights.sample(self.rng));
        let visit = Visit {
            user: self.rng.random_range(0..20_000),
            session: self.rng.random(),
            item: self.rng.random_range(1..5_000),
        };
        let mut walk = Walk { trace_id: self.trace_id(), visit, trace: Trace::default() };
        let arrival = Arrival { service: FRONTEND, operation, start, parent: None };
        self.serve(&mut walk, &arrival);
        walk.trace
    }

    fn trace_id(&mut self) -> [u8; 16] {
        self.rng.random_range(1..u128::MAX).to_be_bytes()
    }

    fn span_id(&mut self) -> [u8; 8] {
        self.rng.random_range(1..u64::MAX).to_be_bytes()
    }

    fn source(&mut self, service: ServiceIndex, at: u64) -> Source {
        let pod = self.rng.random_range(0..self.topology.services[service].pods);
        Source { service, revision: self.plan.revision(service, at), pod }
    }

    /// The SERVER span of an operation, with everything below it.
    fn serve(&mut self, walk: &mut Walk, arrival: &Arrival) -> Ended {
        let &Arrival { service, operation, start, parent } = arrival;
        let run = Run { source: self.source(service, start), operation, span_id: self.span_id(), start };
        let self_ms = self.topology.services[service].operations[operation].self_ms;
        let mut now = start + latency(self.rng, self_ms * 0.6);
        let effect = self.plan.effect(self.rng, service, operation, start);
        if let Effect::Delay(nanos) = effect {
            now += nanos;
        }
        let mut ended = match effect {
            Effect::Reject => Ended { at: now, failure: Some(self.rejection(service)) },
            _ => self.run_steps(walk, &run, now),
        };
        let by_chance = self.rng.random_bool(self.plan.background_error_rate / RUNS_PER_REQUEST);
        if ended.failure.is_none() && (by_chance || effect == Effect::Throw) {
            ended.failure = Some(self.exception(service, operation, by_chance && effect == Effect::None));
        }
        ended.at += latency(self.rng, self_ms * 0.4);
        self.finish_server(walk, &run, parent, &ended);
        ended
    }

    fn rejection(&self, service: ServiceIndex) -> Failure {
        Failure {
            status: 503,
            class: REJECTION.into(),
            message: self.plan.rejection(self.topology, service),
            origin: true,
        }
    }

    fn exception(&self, service: ServiceIndex, operation: usize, by_chance: bool) -> Failure {
        let service = &self.topology.services[service];
        let message = if by_chance {
            "connection reset by peer".into()
        } else {
            format!("unexpected value in {}", service.span_name(operation))
        };
        Failure { status: 500, class: service.exception.into(), message, origin: true }
    }

    /// The steps of an operation in order, until one fails that it cannot do without.
    fn run_steps(&mut self, walk: &mut Walk, run: &Run, mut now: u64) -> Ended {
        let topology = self.topology;
        for step in &topology.services[run.source.service].operations[run.operation].steps {
            match step {
                Step::Query { .. } => {
                    let ended = self.query(walk, run, step, now);
                    now = ended.at;
                    if ended.failure.is_some() {
                        return ended;
                    }
                }
                Step::Call(call) if self.rng.random_bool(call.probability) => {
                    let ended = self.call(walk, run, call, now);
                    now = ended.at;
                    let Some(failure) = ended.failure else { continue };
                    if call.essential && !self.rng.random_bool(FALLBACK) {
                        return Ended { at: now, failure: Some(failure) };
                    }
                    let callee = topology.services[call.service].name;
                    let message = format!("continuing without {callee}: {}", failure.message);
                    self.log(walk, run, now, Severity::Warning, message, vec![text("error.type", failure.class)]);
                }
                Step::Call(_) => {}
                Step::Publish { topic, service, operation } => {
                    now = self.publish(walk, run, topic, (*service, *operation), now);
                }
            }
            now += latency(self.rng, 0.05);
        }
        Ended { at: now, failure: None }
    }

    /// The CLIENT span of a call and what it leads to. A caller that waits too long gives up; the callee does not.
    fn call(&mut self, walk: &mut Walk, run: &Run, call: &Call, start: u64) -> Ended {
        let span_id = self.span_id();
        let callee = &self.topology.services[call.service];
        let arrival = Arrival {
            service: call.service,
            operation: call.operation,
            start: start + latency(self.rng, 0.3),
            parent: Some(span_id),
        };
        let served = self.serve(walk, &arrival);
        let answered = served.at + latency(self.rng, 0.3);
        let deadline = start + timeout(self.topology, call.service);
        let name = callee.span_name(call.operation);
        let (at, status, failure) = if answered > deadline {
            let waited = (deadline - start) / MILLISECOND;
            let message = format!("{}: {name} timed out after {waited} ms", callee.name);
            (deadline, 0, Some(Failure { status: 504, class: "timeout".into(), message, origin: false }))
        } else if let Some(cause) = served.failure {
            // Who waited for somebody who gave up waiting answers the same; every other failure is an internal error.
            let status = if cause.status == 504 { 504 } else { 500 };
            let message = format!("{}: {name} failed: {}", callee.name, cause.class);
            let class = cause.status.to_string();
            (answered, cause.status, Some(Failure { status, class, message, origin: false }))
        } else {
            (answered, 200, None)
        };
        let mut span = self.span(walk, span_id, Some(run.span_id), SpanKind::Client, name, (start, at));
        span.attributes = span_attributes::client(callee, call.operation, &walk.visit, status);
        mark_failed(&mut span, failure.as_ref());
        walk.trace.spans.push((run.source, span));
        Ended { at, failure }
    }

    /// The CLIENT span of a query.
    fn query(&mut self, walk: &mut Walk, run: &Run, step: &Step, start: u64) -> Ended {
        let service = &self.topology.services[run.source.service];
        let (Step::Query { statement, verb, table, median_ms }, Some(database)) = (step, &service.database) else {
            return Ended { at: start, failure: None };
        };
        let span_id = self.span_id();
        let effect = self.plan.query_effect(self.rng, run.source.service, start);
        let nanos = match effect {
            QueryEffect::None => latency(self.rng, *median_ms),
            QueryEffect::Slow(nanos) | QueryEffect::Fail(nanos) => nanos,
        };
        let at = start + nanos;
        let waited = nanos / MILLISECOND;
        let failure = matches!(effect, QueryEffect::Fail(_)).then(|| Failure {
            status: 500,
            class: database_exception(service.language).into(),
            message: format!("{}: no connection within {waited} ms", database.address),
            origin: true,
        });
        let mut span =
            self.span(walk, span_id, Some(run.span_id), SpanKind::Client, format!("{verb} {table}"), (start, at));
        span.attributes = span_attributes::query(database, statement, verb, table);
        mark_failed(&mut span, failure.as_ref());
        if let Some(failure) = &failure {
            span.events
                .push(exception_event(span_attributes::exception(service, &failure.class, &failure.message), at));
        }
        walk.trace.spans.push((run.source, span));
        let subject = Subject::Query { verb, table, failed: failure.is_some() };
        self.measure(walk, run.source, subject, (start, at), span_id);
        if matches!(effect, QueryEffect::Slow(_)) {
            let message = format!("slow query on {}: {verb} {table} took {waited} ms", database.address);
            self.log(
                walk,
                run,
                at,
                Severity::Warning,
                message,
                vec![text("server.address", database.address.as_str())],
            );
        }
        Ended { at, failure }
    }

    /// The PRODUCER span of a message, and the CONSUMER span in a trace of its own that links to it.
    fn publish(&mut self, walk: &mut Walk, run: &Run, topic: &str, to: (ServiceIndex, usize), start: u64) -> u64 {
        let (producer_id, message_id) = (self.span_id(), self.rng.random());
        let sent = start + latency(self.rng, 1.2);
        let name = format!("send {topic}");
        let mut producer = self.span(walk, producer_id, Some(run.span_id), SpanKind::Producer, name, (start, sent));
        producer.attributes = span_attributes::message(topic, message_id, None);
        walk.trace.spans.push((run.source, producer));

        let begin = sent + latency(self.rng, 20.0);
        let service = &self.topology.services[to.0];
        let end = begin + latency(self.rng, service.operations[to.1].self_ms * 4.0);
        let producer_trace = walk.trace_id;
        walk.trace_id = self.trace_id();
        let consumer_run =
            Run { source: self.source(to.0, begin), operation: to.1, span_id: self.span_id(), start: begin };
        let kind = SpanKind::Consumer;
        let mut consumer = self.span(walk, consumer_run.span_id, None, kind, service.span_name(to.1), (begin, end));
        consumer.attributes = span_attributes::message(topic, message_id, Some(service.name));
        consumer.links.push(Link {
            trace_id: producer_trace.to_vec(),
            span_id: producer_id.to_vec(),
            flags: FLAGS_REMOTE_PARENT,
            ..Default::default()
        });
        walk.trace.spans.push((consumer_run.source, consumer));
        let message = format!("confirmation of order {} sent", walk.visit.item);
        self.log(walk, &consumer_run, end, Severity::Info, message, Vec::new());
        walk.trace_id = producer_trace;
        sent
    }

    fn finish_server(&mut self, walk: &mut Walk, run: &Run, parent: Option<[u8; 8]>, ended: &Ended) {
        let service = &self.topology.services[run.source.service];
        let status = ended.failure.as_ref().map_or(200, |failure| failure.status);
        let name = service.span_name(run.operation);
        let mut span = self.span(walk, run.span_id, parent, SpanKind::Server, name, (run.start, ended.at));
        if parent.is_some() {
            span.flags = FLAGS_REMOTE_PARENT;
        }
        span.attributes = span_attributes::server(service, run.operation, &walk.visit, status);
        if run.source.service == FRONTEND {
            span.attributes.extend(span_attributes::visitor(&walk.visit));
        }
        mark_failed(&mut span, ended.failure.as_ref());
        if let Some(failure) = ended.failure.as_ref().filter(|failure| failure.origin) {
            let attributes = span_attributes::exception(service, &failure.class, &failure.message);
            span.events.push(exception_event(attributes, ended.at));
        }
        walk.trace.spans.push((run.source, span));
        let subject = Subject::Server { operation: run.operation, status };
        self.measure(walk, run.source, subject, (run.start, ended.at), run.span_id);
        self.log_outcome(walk, run, ended, status);
    }

    fn log_outcome(&mut self, walk: &mut Walk, run: &Run, ended: &Ended, status: StatusCode) {
        let service = &self.topology.services[run.source.service];
        let name = service.span_name(run.operation);
        let milliseconds = (ended.at - run.start) / MILLISECOND;
        match &ended.failure {
            Some(failure) => {
                let class = if failure.origin { failure.class.as_str() } else { "UpstreamError" };
                let attributes = span_attributes::exception(service, class, &failure.message);
                self.log(
                    walk,
                    run,
                    ended.at,
                    Severity::Error,
                    format!("{name} failed: {}", failure.message),
                    attributes,
                );
            }
            None if ended.at - run.start > SECOND => {
                let cpu = if self.plan.lacks_cpu(run.source.service, run.start) { ", waiting for CPU" } else { "" };
                let message = format!("{name} was slow: {milliseconds} ms{cpu}");
                self.log(walk, run, ended.at, Severity::Warning, message, Vec::new());
            }
            None if run.source.service == FRONTEND || self.rng.random_bool(LOGGED) => {
                let attributes = match service.protocol {
                    Protocol::Http => vec![text("http.route", service.http_route(run.operation))],
                    _ => vec![text("rpc.method", service.operations[run.operation].route.as_str())],
                };
                let message = format!("{name} {status} in {milliseconds} ms");
                self.log(walk, run, ended.at, Severity::Info, message, attributes);
            }
            None => {}
        }
    }

    fn span(
        &self,
        walk: &Walk,
        id: [u8; 8],
        parent: Option<[u8; 8]>,
        kind: SpanKind,
        name: String,
        (start, end): (u64, u64),
    ) -> Span {
        Span {
            trace_id: walk.trace_id.to_vec(),
            span_id: id.to_vec(),
            parent_span_id: parent.map(Vec::from).unwrap_or_default(),
            flags: FLAGS_LOCAL_PARENT,
            name,
            kind: kind as i32,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            ..Default::default()
        }
    }

    fn measure(&self, walk: &mut Walk, source: Source, subject: Subject, (start, end): (u64, u64), span_id: [u8; 8]) {
        let seconds = (end - start) as f64 / SECOND as f64;
        walk.trace.measurements.push(Measurement { source, subject, end, seconds, trace_id: walk.trace_id, span_id });
    }

    fn log(&self, walk: &mut Walk, run: &Run, at: u64, severity: Severity, message: String, attributes: Vec<KeyValue>) {
        let record = in_span(at, severity, &walk.trace_id, &run.span_id, message, attributes);
        walk.trace.logs.push((run.source, record));
    }
}

/// Status ERROR and `error.type`.
fn mark_failed(span: &mut Span, failure: Option<&Failure>) {
    let Some(failure) = failure else { return };
    span.attributes.push(text("error.type", failure.class.as_str()));
    span.status = Some(Status { code: 2, message: failure.message.clone() });
}

fn exception_event(attributes: Vec<KeyValue>, at: u64) -> Event {
    Event { time_unix_nano: at, name: "exception".into(), attributes, ..Default::default() }
}
