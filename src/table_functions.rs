//! The correlator's table functions as the query engine knows them. Neither crate knows the other: this is the arrow
//! between them.

use std::sync::Arc;
use whence_correlator::{causal_chain, causal_chain_schema, service_graph, service_graph_schema, trace, trace_schema};
use whence_query::{Argument, ArgumentKind, TableFunction};

/// `trace(trace_id)`, `causal_chain(event_id)` and `service_graph(from, to)`.
pub fn all() -> Vec<TableFunction> {
    vec![
        TableFunction {
            name: "trace",
            arguments: &[ArgumentKind::TraceId],
            schema: trace_schema(),
            call: Arc::new(|snapshot, tenant, arguments| match arguments {
                [Argument::TraceId(id)] => trace(snapshot, tenant, *id).map_err(|e| e.to_string()),
                _ => Err(mismatch("trace")),
            }),
        },
        TableFunction {
            name: "causal_chain",
            arguments: &[ArgumentKind::Uuid],
            schema: causal_chain_schema(),
            call: Arc::new(|snapshot, tenant, arguments| match arguments {
                [Argument::Uuid(id)] => causal_chain(snapshot, tenant, *id).map_err(|e| e.to_string()),
                _ => Err(mismatch("causal_chain")),
            }),
        },
        TableFunction {
            name: "service_graph",
            arguments: &[ArgumentKind::Timestamp, ArgumentKind::Timestamp],
            schema: service_graph_schema(),
            call: Arc::new(|snapshot, tenant, arguments| match arguments {
                [Argument::Timestamp(from), Argument::Timestamp(to)] => {
                    service_graph(snapshot, tenant, *from, *to).map_err(|e| e.to_string())
                }
                _ => Err(mismatch("service_graph")),
            }),
        },
    ]
}

/// The engine checks arguments against the kinds above before it calls.
fn mismatch(name: &str) -> String {
    format!("{name} was called with other kinds of arguments than it declares")
}
