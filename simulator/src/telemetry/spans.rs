//! Spans of runs, calls, queries and messages.

use super::failures::{stack_trace, words};
use super::{Recorder, attributes};
use crate::attributes::text;
use crate::engine::{Failure, Run, Trigger};
use crate::fault::Plan;
use crate::world::{Call, Query, World};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

/// `flags` of a span: sampled, and known whether its parent is remote (bit 8) and that it is (bit 9).
const FLAGS_LOCAL_PARENT: u32 = 0x101;
const FLAGS_REMOTE_PARENT: u32 = 0x301;

impl Recorder {
    /// A run has ended: its span, its logs and its duration.
    pub(crate) fn run(&mut self, world: &World, plan: &Plan, run: &Run, end: u64) {
        self.measure_run(world, run, end);
        self.log_run(world, run, end);
        if !self.keeps_span(world, run) {
            return;
        }
        let service = &world.services[run.operation.service];
        let operation = world.operation(run.operation);
        let status = run.failure.map_or(200, Failure::status);
        let ids = (run.context.span_id, run.context.parent);
        let (kind, mut attributes) = match run.trigger {
            Trigger::Request { .. } => (SpanKind::Server, attributes::server(service, operation, run.visit, status)),
            Trigger::Message { id, .. } => {
                (SpanKind::Consumer, attributes::message(&operation.route, id, Some(&service.name)))
            }
            Trigger::Background => (SpanKind::Internal, Vec::new()),
        };
        if matches!(run.trigger, Trigger::Request { call: None }) {
            attributes.push(attributes::user(run.visit));
        }
        let mut span = self.span(run, ids, kind, operation.name.clone(), (run.start, end));
        span.attributes = attributes;
        if matches!(run.trigger, Trigger::Request { call: Some(_) }) {
            span.flags = FLAGS_REMOTE_PARENT;
        }
        if let Trigger::Message { producer: Some((trace_id, span_id)), .. } = run.trigger {
            let (trace_id, span_id) = (trace_id.to_vec(), span_id.to_vec());
            span.links.push(Link { trace_id, span_id, flags: FLAGS_REMOTE_PARENT, ..Default::default() });
        }
        if let Some((rule, on)) = run.flag {
            let attributes = vec![
                text("feature_flag.key", plan.flags[rule].key.as_str()),
                text("feature_flag.result.variant", if on { "on" } else { "off" }),
                text("feature_flag.provider.name", "flagd"),
            ];
            span.events.push(self.event("feature_flag.evaluation", run, run.start + 1_000, attributes));
        }
        if let Some(failure) = run.failure {
            self.fail(world, run, &mut span, failure, end);
        }
        self.spans.push((run.pod, span));
    }

    /// An attempt of a call has ended.
    pub(crate) fn call(
        &mut self,
        world: &World,
        run: &Run,
        (span_id, start): ([u8; 8], u64),
        call: &Call,
        failure: Option<Failure>,
        end: u64,
    ) {
        if !self.keeps_span(world, run) {
            return;
        }
        let (caller, callee) = (&world.services[run.operation.service], &world.services[call.target.service]);
        let operation = world.operation(call.target);
        let status = failure.map_or(200, Failure::status);
        let ids = (span_id, Some(run.context.span_id));
        let mut span = self.span(run, ids, SpanKind::Client, operation.name.clone(), (start, end));
        span.attributes = attributes::client(caller, callee, operation, run.visit, status);
        if let Some(failure) = failure {
            let class = match failure {
                Failure::TimedOut { .. } => "timeout".to_string(),
                Failure::Refused => "connection_refused".to_string(),
                Failure::Killed => "connection_reset".to_string(),
                other => other.status().to_string(),
            };
            span.status = Some(Status { code: 2, message: format!("{}: {class}", callee.name) });
            span.attributes.push(text("error.type", class));
        }
        self.spans.push((run.pod, span));
    }

    /// A query has ended.
    pub(crate) fn query(
        &mut self,
        world: &World,
        run: &Run,
        (span_id, start): ([u8; 8], u64),
        query: &Query,
        failure: Option<Failure>,
        end: u64,
    ) {
        let service = &world.services[run.operation.service];
        self.measure_query(service, run, query, (start, end), failure.is_some(), span_id);
        if !self.keeps_span(world, run) {
            return;
        }
        let peer = &world.peers[service.connections[query.connection].peer];
        let ids = (span_id, Some(run.context.span_id));
        let mut span = self.span(run, ids, SpanKind::Client, attributes::query_name(peer, query), (start, end));
        span.attributes = attributes::query(service, peer, query, failure.is_none());
        if let Some(failure) = failure {
            self.fail(world, run, &mut span, failure, end);
        }
        self.spans.push((run.pod, span));
    }

    /// A message was sent.
    pub(crate) fn message(
        &mut self,
        world: &World,
        run: &Run,
        topic: &str,
        (span_id, id): ([u8; 8], u64),
        times: (u64, u64),
    ) {
        if !self.keeps_span(world, run) {
            return;
        }
        let ids = (span_id, Some(run.context.span_id));
        let mut span = self.span(run, ids, SpanKind::Producer, format!("send {topic}"), times);
        span.attributes = attributes::message(topic, id, None);
        self.spans.push((run.pod, span));
    }

    /// Status ERROR, `error.type`, and an exception if it began here.
    fn fail(&self, world: &World, run: &Run, span: &mut Span, failure: Failure, at: u64) {
        let service = &world.services[run.operation.service];
        let words = words(world, run, failure);
        span.attributes.push(text("error.type", words.class.as_str()));
        if failure.is_own() {
            let attributes = vec![
                text("exception.type", words.class.as_str()),
                text("exception.message", words.message.as_str()),
                text("exception.stacktrace", stack_trace(service.language, &service.name, &words)),
            ];
            span.events.push(self.event("exception", run, at, attributes));
        }
        span.status = Some(Status { code: 2, message: words.message });
    }

    fn event(
        &self,
        name: &str,
        run: &Run,
        at: u64,
        attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>,
    ) -> Event {
        Event { time_unix_nano: self.clock(run.pod, at), name: name.into(), attributes, ..Default::default() }
    }

    fn span(
        &self,
        run: &Run,
        (id, parent): ([u8; 8], Option<[u8; 8]>),
        kind: SpanKind,
        name: String,
        (start, end): (u64, u64),
    ) -> Span {
        Span {
            trace_id: run.context.trace_id.to_vec(),
            span_id: id.to_vec(),
            parent_span_id: parent.map(Vec::from).unwrap_or_default(),
            flags: FLAGS_LOCAL_PARENT,
            name,
            kind: kind as i32,
            start_time_unix_nano: self.clock(run.pod, start),
            end_time_unix_nano: self.clock(run.pod, end.max(start + 1)),
            ..Default::default()
        }
    }
}
