//! What the demo shows, every line of it from SQL; only the injected fault, printed for comparison, comes from the
//! simulation.

use crate::commands::query::table;
use crate::config::Config;
use crate::http_client::{Answer, query};
use std::collections::HashMap;
use whence_simulator::{ShopFault, ShopScenario};

/// Failing front-end requests whose chains are followed.
const CHAINS: usize = 40;

pub(super) async fn tell(endpoint: &str, scenario: &ShopScenario) -> anyhow::Result<()> {
    heading("What arrived");
    show(endpoint, "SELECT signal, event_type, count(*) AS events FROM events GROUP BY 1, 2 ORDER BY 3 DESC").await?;
    show(endpoint, "SELECT count(DISTINCT metric_name) AS metrics, sum(point_count) AS points FROM metrics").await?;
    show(
        endpoint,
        "SELECT correlation_type, metadata->>'relation' AS relation, count(*) AS links \
         FROM correlations GROUP BY 1, 2 ORDER BY 3 DESC",
    )
    .await?;
    heading("Who calls whom: service_graph(from, to)");
    let graph = query(endpoint, "SELECT * FROM service_graph(now() - INTERVAL '1 hour', now())").await?;
    print!("{}", render_graph(&graph));

    let Some(found) = find_cause(endpoint).await? else {
        println!("\nCause found: none, no front-end request failed.");
        return Ok(());
    };
    heading(&format!("Why did {} fail? causal_chain('{}')", found.effect, found.event_id));
    show(
        endpoint,
        &format!(
            "SELECT depth, asset_id, relation, name, status, duration_ns / 1000000 AS ms, \
             round(CAST(strength AS double precision), 2) AS strength \
             FROM causal_chain('{}') ORDER BY depth",
            found.event_id
        ),
    )
    .await?;
    show_changes(endpoint, &found.service).await?;
    println!(
        "\nCause found: {} ({} of {} failing front-end requests lead there; {})",
        found.service, found.agreeing, found.followed, found.evidence
    );
    let truth = scenario.ground_truth();
    println!(
        "Injected: {} in {}, operation {}, after a change ({})",
        fault_words(truth.kind),
        truth.culprit_service,
        truth.culprit_operation,
        truth.change_name
    );
    Ok(())
}

fn fault_words(kind: ShopFault) -> &'static str {
    match kind {
        ShopFault::SlowThenFailingDatabase => "a slow, then failing database",
        ShopFault::Exception => "an exception",
        ShopFault::CpuContention => "CPU contention",
        ShopFault::BadConfiguration => "a bad configuration",
    }
}

fn heading(text: &str) {
    println!("\n== {text}");
}

async fn show(endpoint: &str, sql: &str) -> anyhow::Result<()> {
    println!("{}", table(&query(endpoint, sql).await?));
    Ok(())
}

struct Found {
    service: String,
    evidence: String,
    effect: String,
    event_id: String,
    agreeing: usize,
    followed: usize,
}

/// Follows the chains of the failing entry requests; the service at the end of most of them is the cause.
async fn find_cause(endpoint: &str) -> anyhow::Result<Option<Found>> {
    // An entry is a span without a parent. The asset with most failing entries is where users hurt.
    let sql = format!(
        "SELECT id, asset_id, name FROM events WHERE signal = 'span' AND status = 'error' \
         AND parent_event_id IS NULL AND kind = 'server' ORDER BY timestamp DESC LIMIT {CHAINS}"
    );
    let failing = query(endpoint, &sql).await?;
    let mut ends: HashMap<String, Vec<(usize, String)>> = HashMap::new();
    for row in 0..failing.rows.len() {
        let chain = query(
            endpoint,
            &format!(
                "SELECT asset_id, name, status, detail FROM causal_chain('{}') ORDER BY depth DESC LIMIT 1",
                failing.text(row, 0)
            ),
        )
        .await?;
        if !chain.rows.is_empty() {
            let (name, detail) = (chain.text(0, 1), chain.text(0, 3));
            let evidence = if detail.is_empty() { format!("'{name}'") } else { format!("'{name}': {detail}") };
            ends.entry(chain.text(0, 0)).or_default().push((row, evidence));
        }
    }
    let Some((service, rows)) = ends.into_iter().max_by(|a, b| (a.1.len(), &b.0).cmp(&(b.1.len(), &a.0))) else {
        return Ok(None);
    };
    let (row, evidence) = rows[0].clone();
    Ok(Some(Found {
        service,
        evidence,
        effect: format!("{} '{}'", failing.text(row, 1), failing.text(row, 2)),
        event_id: failing.text(row, 0),
        agreeing: rows.len(),
        followed: failing.rows.len(),
    }))
}

async fn show_changes(endpoint: &str, service: &str) -> anyhow::Result<()> {
    println!("Changes of {service} in the last hour:");
    let service = service.replace('\'', "''");
    show(
        endpoint,
        &format!(
            "SELECT timestamp, event_type, body FROM events WHERE asset_id = '{service}' \
             AND event_type IN ('deployment', 'feature_flag') AND signal = 'log' \
             AND timestamp >= now() - INTERVAL '1 hour' ORDER BY timestamp DESC LIMIT 5"
        ),
    )
    .await
}

/// The graph as a tree from its entry points; a service that was shown before is not unfolded again.
fn render_graph(graph: &Answer) -> String {
    let column = |name: &str| graph.columns.iter().position(|c| c.name == name).unwrap_or(usize::MAX);
    let (caller, callee) = (column("caller"), column("callee"));
    let (calls, errors, p95) = (column("calls"), column("errors"), column("p95_ms"));
    let mut below: HashMap<String, Vec<usize>> = HashMap::new();
    for row in 0..graph.rows.len() {
        below.entry(graph.text(row, caller)).or_default().push(row);
    }
    let mut out = String::new();
    let mut shown = Vec::new();
    // Entry points have no caller.
    let mut stack: Vec<(usize, usize)> =
        below.get("").map(|rows| rows.iter().rev().map(|row| (*row, 0)).collect()).unwrap_or_default();
    while let Some((row, depth)) = stack.pop() {
        let name = graph.text(row, callee);
        let number = |column| graph.text(row, column);
        let failing = if number(errors) == "0" { String::new() } else { format!(", {} failed", number(errors)) };
        let p95: f64 = number(p95).parse().unwrap_or(0.0);
        let again = shown.contains(&name) && below.contains_key(&name);
        let mark = if again { " (see above)" } else { "" };
        let indent = "   ".repeat(depth);
        out.push_str(&format!("{indent}{name}: {} calls{failing}, p95 {p95:.0} ms{mark}\n", number(calls)));
        if !again && depth < 12 {
            let rows = below.get(&name).map(Vec::as_slice).unwrap_or_default();
            stack.extend(rows.iter().rev().map(|row| (*row, depth + 1)));
        }
        shown.push(name);
    }
    out
}

pub(super) fn how_to_connect(config: &Config) {
    let pgwire = config.extensions.query.pgwire.endpoint;
    heading("Ask it yourself");
    println!("psql -h {} -p {} whence", pgwire.ip(), pgwire.port());
    println!("Grafana: add a PostgreSQL data source, host {pgwire}, database whence, any user, TLS off");
    println!("HTTP: curl -d 'SELECT count(*) FROM events' http://{}/v1/sql", config.extensions.query.http.endpoint);
    println!("OTLP: point any SDK or Collector at {} (gRPC)", config.receivers.otlp.protocols.grpc.endpoint);
}
