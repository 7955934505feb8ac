//! The correlator's table functions as the query engine knows them. Neither crate knows the other: this is the arrow
//! between them.

use std::sync::Arc;
use whence_correlator::{
    CorrelatorError, attribute_lift, attribute_lift_schema, blast_radius, blast_radius_schema, causal_chain,
    causal_chain_schema, changes, changes_schema, critical_path, critical_path_schema, incidents, incidents_schema,
    log_patterns, log_patterns_schema, placements, placements_schema, root_causes, root_causes_schema, service_graph,
    service_graph_schema, temporal_links, temporal_links_schema, trace, trace_schema,
};
use whence_query::{Argument, ArgumentKind, TableFunction, TableFunctionError};

/// All of them.
pub fn all() -> Vec<TableFunction> {
    let mut functions = about_events();
    functions.extend(about_windows());
    functions.push(comparing_events());
    functions
}

/// `trace(trace_id)`, `critical_path(trace_id)`, `causal_chain(event_id)` and `blast_radius(event_id)`.
fn about_events() -> Vec<TableFunction> {
    vec![
        TableFunction {
            name: "trace",
            description: "the events of one trace, depth first",
            arguments: &[ArgumentKind::TraceId],
            schema: trace_schema(),
            call: Arc::new(|snapshot, tenant, arguments| match arguments {
                [Argument::TraceId(id)] => trace(snapshot, tenant, *id).map_err(why),
                _ => Err(mismatch()),
            }),
        },
        TableFunction {
            name: "critical_path",
            description: "the spans that decided how long a trace took",
            arguments: &[ArgumentKind::TraceId],
            schema: critical_path_schema(),
            call: Arc::new(|snapshot, tenant, arguments| match arguments {
                [Argument::TraceId(id)] => critical_path(snapshot, tenant, *id).map_err(why),
                _ => Err(mismatch()),
            }),
        },
        TableFunction {
            name: "causal_chain",
            description: "from an event to its cause, step by step",
            arguments: &[ArgumentKind::Uuid],
            schema: causal_chain_schema(),
            call: Arc::new(|snapshot, tenant, arguments| match arguments {
                [Argument::Uuid(id)] => causal_chain(snapshot, tenant, *id).map_err(why),
                _ => Err(mismatch()),
            }),
        },
        TableFunction {
            name: "blast_radius",
            description: "what the failure or delay of an event reached",
            arguments: &[ArgumentKind::Uuid],
            schema: blast_radius_schema(),
            call: Arc::new(|snapshot, tenant, arguments| match arguments {
                [Argument::Uuid(id)] => blast_radius(snapshot, tenant, *id).map_err(why),
                _ => Err(mismatch()),
            }),
        },
    ]
}

/// What is asked about the time from a first until before a second moment.
fn about_windows() -> Vec<TableFunction> {
    vec![
        TableFunction::of_window(
            "service_graph",
            "who calls whom, how often and how well",
            service_graph_schema(),
            |snapshot, tenant, from, to| service_graph(snapshot, tenant, from, to).map_err(why),
        ),
        TableFunction::of_window(
            "root_causes",
            "what caused the trouble of a window, the likeliest first",
            root_causes_schema(),
            |snapshot, tenant, from, to| root_causes(snapshot, tenant, from, to).map_err(why),
        ),
        TableFunction::of_window(
            "changes",
            "deployments, flags and other changes",
            changes_schema(),
            |snapshot, tenant, from, to| changes(snapshot, tenant, from, to).map_err(why),
        ),
        TableFunction::of_window(
            "log_patterns",
            "messages with what varies masked, and how many of each, now and before",
            log_patterns_schema(),
            |snapshot, tenant, from, to| log_patterns(snapshot, tenant, from, to).map_err(why),
        ),
        TableFunction::of_window(
            "incidents",
            "when something was wrong, found without being told",
            incidents_schema(),
            |snapshot, tenant, from, to| incidents(snapshot, tenant, from, to).map_err(why),
        ),
        TableFunction::of_window(
            "temporal_links",
            "trouble that keeps following other trouble, and what changes changed",
            temporal_links_schema(),
            |snapshot, tenant, from, to| temporal_links(snapshot, tenant, from, to).map_err(why),
        ),
        TableFunction::of_window(
            "placements",
            "which assets ran in which pods, on which nodes and hosts",
            placements_schema(),
            |snapshot, tenant, from, to| placements(snapshot, tenant, from, to).map_err(why),
        ),
    ]
}

/// `attribute_lift(bad, good, from, to)`.
fn comparing_events() -> TableFunction {
    TableFunction {
        name: "attribute_lift",
        description: "values of attributes that are over-represented among bad events",
        arguments: &[
            ArgumentKind::Condition("bad"),
            ArgumentKind::Condition("good"),
            ArgumentKind::Timestamp,
            ArgumentKind::Timestamp,
        ],
        schema: attribute_lift_schema(),
        call: Arc::new(|snapshot, tenant, arguments| match arguments {
            [
                Argument::Condition(bad),
                Argument::Condition(good),
                Argument::Timestamp(from),
                Argument::Timestamp(to),
            ] => attribute_lift(snapshot, tenant, (bad, good), *from, *to).map_err(why),
            _ => Err(mismatch()),
        }),
    }
}

fn why(error: CorrelatorError) -> TableFunctionError {
    if error.is_refusal() {
        TableFunctionError::Refused(error.to_string())
    } else {
        TableFunctionError::Failed(error.to_string())
    }
}

/// The engine checks arguments against the kinds above before it calls.
fn mismatch() -> TableFunctionError {
    TableFunctionError::Failed("called with other kinds of arguments than it declares".to_owned())
}
