#!/usr/bin/env bash
# How long queries take, as the table in the README: medians of 30 runs through the PostgreSQL wire over spans spread over
# seven days, at rest in chunks, with a line for each target; then the same while 50,000 spans a second arrive; and a trace
# by its id among as many spans spread over a year.
#
# Usage: benches/queries.sh [SPANS, default 2000000] [RUNS, default 30]
#   PYTHON=python3 needs psycopg; where it has duckdb and pytz, or chdb, too, they are asked the same over the same files
#   OTLPLOAD=/path/to/otlpload fills the tables with that generator instead of `whence load`
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/server.sh
items=${1:-2000000}
runs=${2:-30}
python=${PYTHON:-python3}
folder=$(mktemp -d)
loader=
trap '[ -z "$loader" ] || kill "$loader" 2>/dev/null; [ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
dsn="host=127.0.0.1 port=25432 dbname=whence user=bench"

# Starts a server over spans spread over so many hours, at rest.
start_over() {
  start_server "$folder"
  if [ -n "${OTLPLOAD:-}" ]; then
    "$OTLPLOAD" --endpoint $otlp --signal traces --total "$items" --batch 1000 --services 20 --time-span "$1h" > /dev/null
  else
    "$whence" load --endpoint $otlp --signal traces --total "$items" --spread "$1"
  fi
  stop_server
  start_server "$folder"
  # Compaction has finished what it would finish by itself.
  "$python" benches/settled.py "$dsn"
}

start_over 168
export WHENCE_AT_REST="$folder/at_rest.json"
"$python" benches/queries.py "$dsn" "$runs" --data "$folder/data" \
  --more "$whence" load --endpoint $otlp --signal traces --rate 1000 --duration 30
"$whence" load --endpoint $otlp --signal traces --rate 50000 --duration 600 > /dev/null &
loader=$!
sleep 10
"$python" benches/queries.py "$dsn" "$runs" --ingest
kill $loader
wait $loader || true
loader=
stop_server
rm -rf "$folder"
mkdir "$folder"
start_over 8760
"$python" benches/queries.py "$dsn" "$runs" --year
stop_server
