#!/usr/bin/env bash
# How long it takes to find a rare phrase among log records in chunks: with what chunks know about their texts, without, and
# in DuckDB over the same files.
#
# Usage: benches/texts.sh [LOG RECORDS, default 2000000] [RUNS, default 10]
#   PYTHON=python3 needs psycopg; where it has duckdb and pytz too, DuckDB is asked the same over the same files
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/server.sh
items=${1:-2000000}
runs=${2:-10}
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
dsn="host=127.0.0.1 port=25432 dbname=whence user=bench"

start_server "$folder"
"$whence" load --endpoint $otlp --signal logs --total "$((items / 2))"
# One record with the phrase between all the others.
curl -fsS http://127.0.0.1:24318/v1/logs -H 'content-type: application/json' -d '{"resourceLogs": [{"resource": {"attributes":
  [{"key": "service.name", "value": {"stringValue": "checkout"}}]}, "scopeLogs": [{"logRecords": [{"timeUnixNano":
  "'"$(date +%s%N)"'", "severityNumber": 17, "body": {"stringValue": "certificate has expired: handshake aborted"},
  "attributes": [{"key": "peer.certificate", "value": {"stringValue": "serial-0f6e-4711"}}]}]}]}]}' > /dev/null
"$whence" load --endpoint $otlp --signal logs --total "$((items / 2))"
stop_server
start_server "$folder"
"$python" benches/settled.py "$dsn"
"$python" benches/texts.py "$dsn" "$runs" "$folder/data" "$server"
stop_server
