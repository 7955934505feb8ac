//! Failures in the words of those that report them.

use crate::engine::{Failure, Run};
use crate::world::{Operation, World};

/// Class and message of a failure.
pub(super) struct Words {
    pub(super) class: String,
    pub(super) message: String,
}

/// A failure as the service reports it that ran into it.
pub(super) fn words(world: &World, run: &Run, failure: Failure) -> Words {
    let service = &world.services[run.operation.service];
    let address = |connection: usize| world.peers[service.connections[connection].peer].address.as_str();
    let of = |class: &str, message: String| Words { class: class.into(), message };
    match failure {
        Failure::Exception => of(&service.exception, service.complaint.into()),
        Failure::Accident => of(accident(service.language), "connection reset by peer".into()),
        Failure::Overloaded => of("Overloaded", format!("more than {} requests wait", service.backlog)),
        Failure::Refused => of("ConnectionRefused", "connection refused".into()),
        Failure::Killed => of("ConnectionReset", "connection closed before an answer".into()),
        Failure::TimedOut { millis } => of("timeout", format!("no answer within {millis} ms")),
        Failure::NoConnection { connection, millis } => of(
            no_connection(service.language),
            format!("{}: no connection of the pool was free within {millis} ms", address(connection)),
        ),
        Failure::QueryTimedOut { connection, millis } => of(
            query_timeout(service.language),
            format!("{}: statement cancelled after {millis} ms", address(connection)),
        ),
        Failure::Upstream { target, status } => {
            let callee = &world.services[target.service].name;
            let Operation { name, .. } = world.operation(target);
            let how = if status == 0 { "no answer".to_string() } else { format!("status {status}") };
            of("UpstreamError", format!("{callee}: {name} failed: {how}"))
        }
    }
}

/// A failure as a caller sees it, who knows only what came back.
pub(super) fn seen_by_caller(failure: Failure) -> String {
    match failure {
        Failure::TimedOut { millis } => format!("no answer within {millis} ms"),
        Failure::Refused => "connection refused".into(),
        Failure::Killed => "connection closed before an answer".into(),
        other => format!("status {}", other.status()),
    }
}

fn accident(language: &str) -> &'static str {
    match language {
        "java" => "java.io.IOException",
        "go" => "*net.OpError",
        "python" => "ConnectionResetError",
        "dotnet" => "System.IO.IOException",
        _ => "Error",
    }
}

fn no_connection(language: &str) -> &'static str {
    match language {
        "java" => "java.sql.SQLTransientConnectionException",
        "go" => "*pool.TimeoutError",
        "python" => "psycopg_pool.PoolTimeout",
        "dotnet" => "System.InvalidOperationException",
        _ => "PoolTimeoutError",
    }
}

fn query_timeout(language: &str) -> &'static str {
    match language {
        "java" => "java.sql.SQLTimeoutException",
        "go" => "*context.deadlineExceededError",
        "python" => "psycopg.errors.QueryCanceled",
        "dotnet" => "System.TimeoutException",
        _ => "QueryTimeoutError",
    }
}

/// A stack trace as the language prints it.
pub(super) fn stack_trace(language: &str, service: &str, Words { class, message }: &Words) -> String {
    match language {
        "java" => format!("{class}: {message}\n\tat org.{service}.Service.run(Service.java:118)"),
        "python" => format!(
            "Traceback (most recent call last):\n  File \"/app/{service}.py\", line 74, in run\n{class}: {message}"
        ),
        "nodejs" => format!("{class}: {message}\n    at run (/app/{service}.js:61:13)"),
        _ => format!("{class}: {message}\n  in {service}::run"),
    }
}
