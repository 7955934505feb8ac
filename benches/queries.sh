#!/usr/bin/env bash
# How long the three query patterns of the README take: p50 and p95 of 30 runs each over HTTP, after mixed load into an
# empty server and a restart, so that the data is at rest in chunks. Usage: benches/queries.sh [ITEMS, default 2000000]
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/server.sh
items=${1:-2000000}
folder=$(mktemp -d)
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
start_server "$folder"
"$whence" load --endpoint $otlp --signal mixed --total "$items"
stop_server
start_server "$folder"
measure() {
  local name=$1 statement=$2 run
  for run in $(seq 32); do
    curl -fsS -o /dev/null -w '%{time_total}\n' --data-binary "$statement" "$sql?format=csv"
  done | tail -n 30 | sort -n |
    awk -v name="$name" '{t[NR] = $1 * 1000} END {printf "%-45s p50 %7.1f ms   p95 %7.1f ms\n", name, t[15], t[29]}'
}
measure 'newest 1,000 events of one asset in 24 h' \
  "SELECT * FROM events WHERE asset_id = 'checkout' AND timestamp >= NOW() - INTERVAL '24 hours' ORDER BY timestamp DESC LIMIT 1000"
measure 'hourly average and p99 of a metric by asset' \
  "SELECT time_bucket('1 hour', timestamp) AS bucket, asset_id, avg(value_avg), max(value_p99) FROM metrics
   WHERE metric_name = 'http.server.request.duration' AND timestamp >= NOW() - INTERVAL '7 days' GROUP BY 1, 2 ORDER BY 1 DESC"
measure 'strong links with both of their events, 1 h' \
  "SELECT e1.id, e1.event_type, e2.id, e2.event_type, c.correlation_type, c.strength
   FROM correlations c JOIN events e1 ON c.primary_event_id = e1.id JOIN events e2 ON c.related_event_id = e2.id
   WHERE c.timestamp >= NOW() - INTERVAL '1 hour' AND c.strength > 0.8 ORDER BY c.strength DESC"
stop_server
