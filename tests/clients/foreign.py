"""Reads Whence's tables with engines that know nothing of Whence: deltalake, polars, DuckDB.

Usage: foreign.py DATA ARCHITECTURE.md. Prints one JSON line: the files of each table, what every engine answers to the
statements below, and what DuckDB answers over the views that ARCHITECTURE.md defines.
"""

import json
import re
import sys

import deltalake
import duckdb
import polars

STATEMENTS = {
    "all": "SELECT count(*) AS n, sum(duration_ns) AS duration, count(DISTINCT trace_id) AS traces FROM events",
    "groups": "SELECT asset_id, signal, severity, count(*) AS n, sum(duration_ns) AS duration, max(body) AS body"
    " FROM events GROUP BY asset_id, signal, severity ORDER BY asset_id, signal, severity",
    "days": "SELECT day, count(*) AS n FROM events GROUP BY day ORDER BY day",
    "links": "SELECT relation, count(*) AS n, sum(CASE WHEN strength > 0.5 THEN 1 ELSE 0 END) AS strong"
    " FROM correlations GROUP BY relation ORDER BY relation",
    "points": "SELECT metric_name, sum(point_count) AS points, sum(value_count) AS counted, sum(value_sum) AS total,"
    " min(value_min) AS least, max(value_max) AS most FROM metrics GROUP BY metric_name ORDER BY metric_name",
}
DERIVED = {
    "ids": "SELECT id::text, parent_event_id::text, correlation_id::text, trace_id, span_id FROM events ORDER BY 1",
    "ends": "SELECT primary_event_id::text, related_event_id::text FROM correlations ORDER BY 1, 2",
    "series": "SELECT metric_name, epoch_us(timestamp), value_count, round(value_avg, 6), round(value_stddev, 6)"
    " FROM metrics ORDER BY 1, 2",
}

data, architecture = sys.argv[1:]
tables = {name: deltalake.DeltaTable(f"{data}/{name}") for name in ("events", "metrics", "correlations")}
files = {name: sorted(table.file_uris()) for name, table in tables.items()}

delta = deltalake.QueryBuilder()
for name, table in tables.items():
    delta = delta.register(name, table)
lazy = polars.SQLContext({name: polars.scan_delta(f"{data}/{name}") for name in tables})
duck = duckdb.connect()
for name, paths in files.items():
    listed = ", ".join(f"'{path.removeprefix('file://')}'" for path in paths)
    duck.execute(f"CREATE VIEW {name}_stored AS FROM read_parquet([{listed}], hive_partitioning = true)")

answers = {"deltalake": {}, "polars": {}, "duckdb": {}}
for name, statement in STATEMENTS.items():
    answers["deltalake"][name] = polars.DataFrame(delta.execute(statement)).rows()
    answers["polars"][name] = lazy.execute(statement).collect().rows()
    stored = re.sub(r"FROM (\w+)", r"FROM \1_stored", statement)
    answers["duckdb"][name] = duck.execute(stored).fetchall()

# Every block of SQL in the section is run as it stands.
section = open(architecture, encoding="utf-8").read().split("## The tables in other engines", 1)[1].split("\n## ", 1)[0]
for block in re.findall(r"```sql\n(.*?)```", section, re.DOTALL):
    duck.execute(block)
answers["documented"] = {name: duck.execute(statement).fetchall() for name, statement in DERIVED.items()}
print(json.dumps({"files": files, "answers": answers}, default=str), flush=True)
