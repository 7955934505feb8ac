#![allow(clippy::unwrap_used)]

use super::load::from_text;
use super::*;
use std::path::Path;

fn error(text: &str) -> String {
    from_text(Path::new("otel.yaml"), text).unwrap_err().to_string()
}

#[test]
fn the_documented_file_says_what_the_defaults_are() {
    let text = include_str!("../../config/otel.yaml");
    assert_eq!(from_text(Path::new("config/otel.yaml"), text).unwrap(), Config::default());
}

#[test]
fn an_unknown_key_is_named_with_line_path_and_the_nearest_known_key() {
    let message = error("exporters:\n  hypertables:\n    durabilty: fsync\n");
    for part in ["otel.yaml, line 3", "exporters.hypertables", "durabilty", "did you mean `durability`?"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_wrong_value_is_named_with_its_key() {
    let message = error("exporters: { hypertables: { retention: { events: 90 } } }");
    assert!(message.contains("exporters.hypertables.retention.events") && message.contains("90d"), "{message}");
    let message = error("exporters: { hypertables: { memory_mib: 1 } }");
    assert!(message.contains("memory_mib is '1'") && message.contains("64"), "{message}");
    for (key, value, remedy) in
        [("lateness", "off", "1s to 5m"), ("memory_mib", "0", "65536"), ("core_share", "0", "0.001")]
    {
        let message = error(&format!("exporters: {{ hypertables: {{ incidents: {{ {key}: {value} }} }} }}"));
        assert!(message.contains(&format!("incidents.{key} is '{value}'")) && message.contains(remedy), "{message}");
    }
}

#[test]
fn an_address_others_can_reach_needs_auth_none() {
    let open = "receivers: { otlp: { protocols: { grpc: { endpoint: 0.0.0.0:4317 } } } }\n";
    assert!(error(open).contains("auth: none"));
    for auth in ["none", "keys"] {
        from_text(Path::new("x"), &format!("{open}service: {{ auth: {auth} }}\n")).unwrap();
    }
}

#[test]
fn a_pipeline_can_only_name_what_there_is() {
    let message = error("service: { pipelines: { traces: { receivers: [jaeger], exporters: [hypertables] } } }");
    assert!(message.contains("service.pipelines.traces.receivers is 'jaeger'"), "{message}");
}

#[test]
fn the_environment_fills_in_and_a_missing_variable_is_named_with_its_line() {
    let config = from_text(Path::new("x"), "exporters: { hypertables: { path: '${env:WHENCE_X:-/srv/a}' } }").unwrap();
    assert_eq!(config.exporters.hypertables.path, PathBuf::from("/srv/a"));
    let message = error("# ${env:IGNORED}\nexporters: { hypertables: { path: '${env:WHENCE_MISSING}' } }");
    assert!(message.contains("line 2") && message.contains("WHENCE_MISSING"), "{message}");
}

#[test]
fn the_command_line_wins_over_files_and_later_files_over_earlier_ones() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let a = write("a.yaml", "exporters: { hypertables: { memory_mib: 100, path: /a } }");
    let b = write("b.yaml", "exporters: { hypertables: { memory_mib: 200 } }");
    let config = load(&[a, b], &["exporters.hypertables.durability=os".to_owned()]).unwrap();
    let store = &config.exporters.hypertables;
    assert_eq!((store.memory_mib, store.path.to_str(), store.durability), (200, Some("/a"), Durability::Os));
    let message = load(&[], &["exporters.hypertable.path=x".to_owned()]).unwrap_err().to_string();
    assert!(message.contains("did you mean `hypertables`?"), "{message}");
}

#[test]
fn a_tenant_can_have_a_retention_of_its_own() {
    let text = "exporters: { hypertables: { retention: { tenants: { acme: { events: 30d, metrics: off } } } } }";
    let retention = from_text(Path::new("x"), text).unwrap().exporters.hypertables.retention;
    let acme = TenantRetention { events: Some(Age::days(30)), metrics: Some(Age(None)), correlations: None };
    assert_eq!((retention.tenants["acme"].clone(), retention.events), (acme, Age::days(365)));
}

#[test]
fn what_is_set_without_effect_is_told_and_what_cannot_be_kept_is_refused() {
    let text = "extensions: { query: { cache: { memory_mib: 0, redis_url: 'redis://127.0.0.1' } } }";
    let config = from_text(Path::new("x"), text).unwrap();
    assert!(config.warnings()[0].contains("extensions.query.cache.redis_url"));
    assert_eq!(Config::default().warnings(), Vec::<String>::new());
    assert!(error("exporters: { hypertables: { grace: 2h } }").contains("grace is '7200s'"));
    for (key, value) in [("queue_timeout", "off"), ("max_statements", "0"), ("memory_per_query_mib", "1")] {
        let message = error(&format!("extensions: {{ query: {{ {key}: {value} }} }}"));
        assert!(message.contains(&format!("extensions.query.{key} is '{value}'")), "{message}");
    }
}

#[test]
fn a_continuous_aggregate_is_checked_with_the_place_and_the_remedy() {
    let declared = |body: &str| format!("extensions:\n  query:\n    continuous_aggregates:\n{body}");
    let query = "SELECT time_bucket('1 hour', timestamp) AS bucket, count(*) AS n FROM events GROUP BY 1";
    let text = declared(&format!("      a: {query}\n      b:\n        query: {query}\n        tenants: [acme]\n"));
    let config = from_text(Path::new("x"), &text).unwrap();
    let aggregates = configured(&config.extensions.query.continuous_aggregates);
    let seen: Vec<_> = aggregates.iter().map(|known| (known.name.as_str(), known.tenants.len())).collect();
    assert_eq!((seen, aggregates[1].query.as_str()), (vec![("a", 0), ("b", 1)], query));
    for (body, line, parts) in [
        ("      a: SELECT count(*) FROM events\n", 4, ["continuous_aggregates.a", "GROUP BY"]),
        ("      a:\n        query: SELEC 1\n", 5, ["continuous_aggregates.a.query", "syntax error"]),
        ("      a:\n        qery: SELECT 1\n", 5, ["continuous_aggregates.a", "did you mean `query`?"]),
        ("      events: SELECT 1\n", 4, ["continuous_aggregates", "it is one of Whence's own"]),
    ] {
        let message = error(&declared(body));
        assert!(message.contains(&format!("otel.yaml, line {line}")), "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    assert!(error("extensions: { query: { max_continuous_aggregates: 10001 } }").contains("from 0 to 10000"));
}
