#!/usr/bin/env bash
# How fast Python reads many rows: through Flight SQL into Arrow, and through the PostgreSQL wire with psycopg, text and
# binary, after a load into an empty server and a restart, so that the data is at rest in chunks. Needs the test clients
# (tests/clients/install). Usage: benches/read.sh [ROWS, default 5000000]
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/server.sh
rows=${1:-5000000}
python=${PYTHON:-${CARGO_TARGET_DIR:-target}/clients/python/bin/python}
folder=$(mktemp -d)
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
start_server "$folder"
"$whence" load --endpoint $otlp --signal traces --total "$rows"
stop_server
start_server "$folder"
"$python" - 24319 25432 "$rows" <<'PYTHON'
import sys
import time

import adbc_driver_flightsql.dbapi
import psycopg

flight, wire, wanted = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
sql = f"SELECT timestamp, asset_id, name, duration_ns, status, trace_id FROM events LIMIT {wanted}"


def through_flight():
    with adbc_driver_flightsql.dbapi.connect(f"grpc://127.0.0.1:{flight}", autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetch_arrow_table().num_rows


def through_wire(binary):
    address = f"host=127.0.0.1 port={wire} dbname=whence user=reader"
    with psycopg.connect(address, autocommit=True) as connection:
        cursor = connection.cursor(binary=binary)
        cursor.execute("SET statement_timeout = 0")
        # In pieces, as Python objects of all rows would take gigabytes.
        return sum(1 for _ in cursor.stream(sql, binary=binary, size=1_000))


through_flight()
speeds = {}
for name, read in [
    ("Flight SQL (adbc), Arrow table", through_flight),
    ("PostgreSQL wire (psycopg), text", lambda: through_wire(False)),
    ("PostgreSQL wire (psycopg), binary", lambda: through_wire(True)),
]:
    start = time.perf_counter()
    count = read()
    seconds = time.perf_counter() - start
    speeds[name] = count / seconds
    print(f"{name:36} {count:10,} rows in {seconds:7.2f} s: {count / seconds:12,.0f} rows/s", flush=True)
first, *others = speeds.values()
print(f"Flight is {first / max(others):.1f} times as fast as the faster of the others")
PYTHON
stop_server
