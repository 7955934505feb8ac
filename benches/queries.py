"""Times queries of `benches/queries.sh` through the PostgreSQL wire and prints its table.

Usage: queries.py DSN RUNS [DATA]: DATA is the folder of the tables; where the Python package `duckdb` is installed, the
same questions are then put to DuckDB over the same Parquet files.
"""

import statistics
import subprocess
import sys
import time

import psycopg
from psycopg.types.json import set_json_loads

# JSON stays text: parsing it is the reader's own work.
set_json_loads(bytes)

DSN, RUNS = sys.argv[1], int(sys.argv[2])
DATA = sys.argv[3] if len(sys.argv) > 3 else None

NEWEST = """SELECT * FROM events WHERE asset_id = 'checkout' AND timestamp >= now() - INTERVAL '24 hours'
ORDER BY timestamp DESC LIMIT 1000"""
HOURLY = """SELECT time_bucket('1 hour', timestamp) AS hour, asset_id, count(*), avg(duration_ns), {p95} FROM events
WHERE timestamp >= now() - INTERVAL '7 days' AND signal = 'span' GROUP BY 1, 2"""
EXACT = HOURLY.format(p95="percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ns)")
PARTIAL = HOURLY.format(p95="max(duration_ns), stddev(duration_ns)")
LINKS = """SELECT e1.id, e1.event_type, e2.id, e2.event_type, c.correlation_type, c.strength FROM correlations c
JOIN events e1 ON c.primary_event_id = e1.id JOIN events e2 ON c.related_event_id = e2.id
WHERE c.timestamp >= now() - INTERVAL '4 hours' AND c.timestamp < now() - INTERVAL '3 hours' AND c.strength > 0.8
ORDER BY c.strength DESC"""

DAY = "timestamp BETWEEN '{from_}' AND '{to}'"
PANELS = [
    f"SELECT {column} AS series, time_bucket('{width}', timestamp) AS time, {value} FROM events WHERE {DAY} {where} "
    "GROUP BY 1, 2"
    for column, width, value, where in [
        ("asset_id", "5 minutes", "count(*)", ""),
        ("asset_id", "5 minutes", "avg(duration_ns)", "AND signal = 'span'"),
        ("asset_id", "5 minutes", "max(duration_ns)", "AND kind = 'server'"),
        ("asset_id", "5 minutes", "count(*) FILTER (WHERE status = 'error')", "AND signal = 'span'"),
        ("severity", "5 minutes", "count(*)", ""),
        ("event_type", "15 minutes", "count(*)", ""),
        ("source_module", "15 minutes", "count(*)", ""),
        ("name", "1 hour", "count(*)", "AND kind = 'server'"),
        ("name", "1 hour", "avg(duration_ns)", "AND kind = 'client'"),
        ("asset_id", "1 hour", "stddev(duration_ns)", "AND signal = 'span'"),
        ("environment", "1 hour", "count(*)", ""),
        ("asset_id", "1 hour", "sum(duration_ns)", "AND status = 'error'"),
    ]
]


def timed(cursor, sql):
    began = time.perf_counter()
    cursor.execute(sql)
    rows = cursor.fetchall()
    return (time.perf_counter() - began) * 1000, rows


def measure(name, cursor, sql, target="", runs=RUNS):
    timed(cursor, sql)
    times = sorted(timed(cursor, sql)[0] for _ in range(runs))
    rows = len(timed(cursor, sql)[1])
    p50, p95 = statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.95))]
    print(f"{name:<66} p50 {p50:8.1f} ms  p95 {p95:8.1f} ms  {rows:6} rows  {target}", flush=True)
    return p50


def dashboard(cursor, to):
    from_ = to - 86_400
    times = {"from_": iso(from_), "to": iso(to)}
    began = time.perf_counter()
    answers = [sorted(timed(cursor, panel.format(**times))[1], key=repr) for panel in PANELS]
    return (time.perf_counter() - began) * 1000, answers


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def same(a, b):
    """Floating-point sums may differ in their last digits, with the order in which parts were added."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-9 * max(abs(a), abs(b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def main():
    with psycopg.connect(DSN, autocommit=True) as connection:
        cursor = connection.cursor()
        print(f"{timed(cursor, 'SELECT count(*) FROM events')[1][0][0]} events", flush=True)
        for cache in ["off", "on"]:
            cursor.execute(f"SET whence.cache = {cache}")
            print(f"-- cache {cache}")
            measure("newest 1,000 rows of one asset in 24 h", cursor, NEWEST, "target 12, then 7")
            measure("hourly count, average, exact p95 by asset, 7 days", cursor, EXACT, "target 60")
            measure("hourly count, average, max, stddev by asset, 7 days", cursor, PARTIAL, "target 10 from partials")
            measure("strong links of one hour joined with both events", cursor, LINKS, "target 15, then 8")
            trace = timed(cursor, "SELECT trace_id FROM events WHERE trace_id IS NOT NULL LIMIT 1 OFFSET 5000")[1][0][0]
            measure("all of one trace by id, no time given", cursor, f"SELECT * FROM trace('{trace}')", "target 8")
        cursor.execute("SET whence.cache = on")
        now = time.time()
        first, _ = dashboard(cursor, now)
        subprocess.run(sys.argv[4:], check=True, stdout=subprocess.DEVNULL) if len(sys.argv) > 4 else time.sleep(30)
        later = time.time()
        again, answers = dashboard(cursor, later)
        cursor.execute("SET whence.cache = off")
        plain, expected = min((dashboard(cursor, later) for _ in range(3)), key=lambda result: result[0])
        assert all(map(same, answers, expected)), "the cached dashboard differs"
        print(f"dashboard of 12 panels over 24 h: first {first:.0f} ms, again after 30 s {again:.0f} ms, uncached {plain:.0f} ms")
    if DATA:
        duckdb_too()


def duckdb_too():
    try:
        import duckdb
    except ImportError:
        return
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    files = f"read_parquet('{DATA}/events/*/*/*.parquet')"
    print(f"-- DuckDB {duckdb.__version__} over the same files")
    for name, sql in [
        ("newest 1,000 rows of one asset in 24 h", NEWEST),
        ("hourly count, average, max, stddev by asset, 7 days", PARTIAL),
    ]:
        measure(name, connection, sql.replace("FROM events", f"FROM {files}").replace("'1 hour'", "INTERVAL '1 hour'"))


main()
