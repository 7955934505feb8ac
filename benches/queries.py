"""Times queries of `benches/queries.sh` through the PostgreSQL wire and prints its table, with a line for each target.

Usage: queries.py DSN RUNS [--ingest] [--year] [--data FOLDER] [--more COMMAND...]
  --ingest  rows arrive meanwhile: only what is asked then; reads the medians at rest from the file $WHENCE_AT_REST
  --year    a trace by its id only: the tables hold a year
  --data    folder of the tables: what of DuckDB and chDB is installed is asked the same over the same files
  --more    a command that adds rows for 30 seconds, between two looks at the dashboard

Answers are read by libpq and not turned into objects of Python, which takes longer than most of these queries. Statements
go by the simple protocol: each is parsed and planned.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import psycopg
from psycopg.pq import ExecStatus

DSN, RUNS = sys.argv[1], int(sys.argv[2])
OPTIONS = sys.argv[3:]
MORE = OPTIONS[OPTIONS.index("--more") + 1 :] if "--more" in OPTIONS else None
DATA = OPTIONS[OPTIONS.index("--data") + 1] if "--data" in OPTIONS else None
AT_REST = os.environ.get("WHENCE_AT_REST")

NEWEST = """SELECT * FROM events WHERE asset_id = 'checkout' AND timestamp >= now() - INTERVAL '24 hours'
ORDER BY timestamp DESC LIMIT 1000"""
HOURLY = """SELECT time_bucket('1 hour', timestamp) AS hour, asset_id, count(*), avg(duration_ns), {what} FROM events
WHERE timestamp >= now() - INTERVAL '7 days' AND signal = 'span' GROUP BY 1, 2"""
EXACT = HOURLY.format(what="percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ns)")
SKETCH = HOURLY.format(what="approx_percentile(0.95, percentile_agg(duration_ns))")
PARTIAL = HOURLY.format(what="max(duration_ns), stddev(duration_ns)")
LINKS = """SELECT e1.id, e1.event_type, e2.id, e2.event_type, c.correlation_type, c.strength FROM correlations c
JOIN events e1 ON c.primary_event_id = e1.id JOIN events e2 ON c.related_event_id = e2.id
WHERE c.timestamp >= now() - INTERVAL '4 hours' AND c.timestamp < now() - INTERVAL '3 hours' AND c.strength > 0.8
ORDER BY c.strength DESC"""

# Name, statement, milliseconds with caches off and with what is kept. `None`: no target.
QUERIES = [
    ("newest 1,000 rows of one asset in 24 h, all columns", NEWEST, 12, 7),
    ("hourly count, average, exact p95 by asset, 7 days", EXACT, 60, None),
    ("the same with approx_percentile", SKETCH, None, 10),
    ("hourly count, average, max, deviation by asset, 7 days", PARTIAL, None, 10),
    ("strong links of one hour joined with both events", LINKS, 15, 8),
    ("all of one trace by id, no time given", "SELECT * FROM trace('{trace}')", 8, None),
]

# As Grafana asks for 24 hours in a graph of some 700 pixels: two minutes a point, macros of its TimescaleDB switch.
GRAPH = """SELECT time_bucket('120.000s',timestamp) AS "time", {column} AS metric, {value} FROM events
WHERE timestamp BETWEEN '{from_}' AND '{to}' {where} GROUP BY 1, 2 ORDER BY 1"""
TABLE = """SELECT {column}, {value} FROM events WHERE timestamp BETWEEN '{from_}' AND '{to}' {where} GROUP BY 1 ORDER BY 2 DESC"""
ONE = """SELECT {value} FROM events WHERE timestamp BETWEEN '{from_}' AND '{to}' {where}"""
SPAN, SERVED = "AND signal = 'span'", "AND signal = 'span' AND kind IN ('server', 'consumer')"
CHECKOUT = f"AND asset_id = 'checkout' {SERVED}"
P95 = "approx_percentile(0.95, percentile_agg(duration_ns / 1e6)) AS p95"
PANELS = [
    (ONE, {"value": "count(*) AS spans", "where": SPAN}),
    (ONE, {"value": "count(*) AS failed", "where": f"{SPAN} AND status = 'error'"}),
    (ONE, {"value": "avg(duration_ns) / 1e6 AS average", "where": SERVED}),
    (GRAPH, {"column": "asset_id", "value": "count(*) AS spans", "where": SPAN}),
    (GRAPH, {"column": "asset_id", "value": "count(*) AS failed", "where": f"{SPAN} AND status = 'error'"}),
    (GRAPH, {"column": "severity", "value": "count(*) AS records", "where": ""}),
    (GRAPH, {"column": "name", "value": "count(*) AS requests", "where": CHECKOUT}),
    (GRAPH, {"column": "name", "value": "avg(duration_ns) / 1e6 AS average", "where": CHECKOUT}),
    (GRAPH, {"column": "'all'", "value": "count(*) FILTER (WHERE status = 'error') * 1.0 / count(*)", "where": CHECKOUT}),
    (TABLE, {"column": "asset_id", "value": f"count(*), avg(duration_ns) / 1e6, {P95}", "where": SPAN}),
    (TABLE, {"column": "name", "value": "count(*), max(duration_ns) / 1e6", "where": f"AND asset_id = 'checkout' {SPAN}"}),
    (TABLE, {"column": "event_type", "value": "count(*)", "where": ""}),
]

verdicts = []


def verdict(name, value, target, unit="ms", least=False):
    met = value >= target if least else value <= target
    verdicts.append(f"{'met   ' if met else 'MISSED'} {name}: {value:.1f} {unit}, target {target} {unit}")


class Connection:
    def __init__(self):
        self.connection = psycopg.connect(DSN, autocommit=True)

    def ask(self, sql):
        result = self.connection.pgconn.exec_(sql.encode())
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise RuntimeError(f"{result.error_message.decode()}: {sql}")
        return result


def rows_of(result):
    return [tuple(result.get_value(r, c) for c in range(result.nfields)) for r in range(result.ntuples)]


def timed(ask, sql):
    began = time.perf_counter()
    result = ask(sql)
    return (time.perf_counter() - began) * 1000, result


def measure(name, ask, sql, count):
    timed(ask, sql)
    times = sorted(timed(ask, sql)[0] for _ in range(RUNS))
    rows = count(ask(sql))
    p50, p95 = statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.95))]
    print(f"{name:<58} p50 {p50:7.1f} ms  least {times[0]:7.1f}  p95 {p95:7.1f}  {rows:6} rows", flush=True)
    return p50


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def dashboard(connection, to):
    """Milliseconds of each panel, and the answers."""
    panels = [text.format(**parts, from_=iso(to - 86_400), to=iso(to)) for text, parts in PANELS]
    answers = [timed(connection.ask, panel) for panel in panels]
    return [took for took, _ in answers], [sorted(rows_of(result), key=repr) for _, result in answers]


def same(a, b):
    """Floating-point sums may differ in their last digits, with the order in which parts were added."""
    if a == b or a is None or b is None:
        return a == b
    try:
        return abs(float(a) - float(b)) <= 1e-9 * max(abs(float(a)), abs(float(b)))
    except ValueError:
        return False


def same_answers(a, b):
    return all(
        len(x) == len(y) and all(len(r) == len(s) and all(map(same, r, s)) for r, s in zip(x, y)) for x, y in zip(a, b)
    )


def at_rest(connection, trace):
    medians = {}
    for cache in ["off", "on"]:
        connection.ask(f"SET whence.cache = {cache}")
        print(f"-- cache {cache}")
        for name, sql, plain, kept in QUERIES:
            p50 = measure(name, connection.ask, sql.format(trace=trace), lambda result: result.ntuples)
            target = plain if cache == "off" else kept
            if target:
                verdict(f"{name} (cache {cache})", p50, target)
            medians[f"{name}, cache {cache}"] = p50
    return medians


def dashboards(connection):
    connection.ask("SET whence.cache = on")
    now = time.time()
    first, _ = dashboard(connection, now)
    for step in range(1, RUNS):
        dashboard(connection, now + step / RUNS)
    if MORE:
        subprocess.run(MORE, check=True, stdout=subprocess.DEVNULL)
    later = time.time()
    again, answers = dashboard(connection, later)
    # The same look at the dashboard, moved on by a second each time, and then without caches.
    warm = [dashboard(connection, later + step)[0] for step in range(1, 11)]
    connection.ask("SET whence.cache = off")
    plain = [dashboard(connection, later) for _ in range(10)]
    assert same_answers(plain[0][1], answers), "the cached dashboard differs"
    total = statistics.median(sum(times) for times, _ in plain)
    moved = statistics.median(sum(times) for times in warm)
    print("-- dashboard of 12 panels over 24 h, milliseconds of each panel")
    show = lambda name, times: print(f"{name:<26} {sum(times):6.0f}  " + " ".join(f"{time:5.1f}" for time in times))
    show("first look", first)
    show("again after 30 s of ingest", again)
    show("moved on by a second", min(warm, key=sum))
    show("caches off", min((times for times, _ in plain), key=sum))
    verdict("dashboard after 30 s, times faster than uncached", total / sum(again), 10, "times", least=True)
    verdict("dashboard moved on, times faster than uncached", total / moved, 10, "times", least=True)
    return {"dashboard, caches off": total, "dashboard, again": sum(again)}


def while_rows_arrive(connection, trace):
    before = json.load(open(AT_REST))
    for cache in ["off", "on"]:
        connection.ask(f"SET whence.cache = {cache}")
        print(f"-- cache {cache}, while 50,000 spans a second arrive")
        for name, sql, *_ in QUERIES:
            p50 = measure(name, connection.ask, sql.format(trace=trace), lambda result: result.ntuples)
            verdict(f"{name}, times slower while rows arrive (cache {cache})", p50 / before[f"{name}, cache {cache}"], 2, "times")


def others():
    files = f"read_parquet('{DATA}/events/*/*/*.parquet')"
    asked = [
        (QUERIES[0][0], NEWEST),
        (QUERIES[1][0], EXACT.replace("percentile_cont", "quantile_cont")),
        (QUERIES[3][0], PARTIAL),
    ]
    try:
        import duckdb

        engine = duckdb.connect()
        engine.execute("SET TimeZone = 'UTC'")
        print(f"-- DuckDB {duckdb.__version__} over the same files")
        for name, sql in asked:
            sql = sql.replace("FROM events", f"FROM {files}").replace("'1 hour'", "INTERVAL '1 hour'")
            sql = sql.replace("quantile_cont(0.95) WITHIN GROUP (ORDER BY duration_ns)", "quantile_cont(duration_ns, 0.95)")
            measure(name, lambda sql: engine.execute(sql).fetchall(), sql, len)
    except ImportError:
        print("-- DuckDB is not installed")
    try:
        from chdb import session

        engine = session.Session()
        print("-- chDB over the same files")
        for name, sql in asked:
            sql = sql.replace("FROM events", f"FROM file('{DATA}/events/*/*/*.parquet', Parquet)")
            sql = sql.replace("time_bucket('1 hour', timestamp)", "toStartOfHour(timestamp)").replace("stddev(", "stddevSamp(")
            sql = sql.replace("quantile_cont(0.95) WITHIN GROUP (ORDER BY duration_ns)", "quantileExactInclusive(0.95)(duration_ns)")
            measure(name, lambda sql: engine.query(sql, "Native"), sql, lambda result: result.rows_read())
    except ImportError:
        print("-- chDB is not installed")


def main():
    connection = Connection()
    print(f"{rows_of(connection.ask('SELECT count(*) FROM events'))[0][0].decode()} events", flush=True)
    found = connection.ask("SELECT trace_id FROM events WHERE trace_id IS NOT NULL LIMIT 1 OFFSET 5000")
    trace = rows_of(found)[0][0].decode()
    if "--year" in OPTIONS:
        name, sql, target, _ = QUERIES[5]
        name += ", in 365 days of chunks"
        connection.ask("SET whence.cache = off")
        verdict(name, measure(name, connection.ask, sql.format(trace=trace), lambda result: result.ntuples), target)
    elif "--ingest" in OPTIONS:
        while_rows_arrive(connection, trace)
    else:
        medians = at_rest(connection, trace)
        if DATA:
            others()
        medians |= dashboards(connection)
        if AT_REST:
            json.dump(medians, open(AT_REST, "w"))
    print("-- targets")
    print("\n".join(verdicts), flush=True)


main()
