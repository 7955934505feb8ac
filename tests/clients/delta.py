"""Counts the rows of the tables of Whence in a bucket with the package deltalake, which is none of ours.

Usage: delta.py ENDPOINT URL. Prints one JSON line: events by signal, points, correlations.
"""

import json
import sys

from deltalake import DeltaTable, QueryBuilder

endpoint, url = sys.argv[1:]
options = {
    "AWS_ENDPOINT_URL": endpoint,
    "AWS_ACCESS_KEY_ID": "test-key",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


def rows(table, columns):
    delta = DeltaTable(f"{url}/{table}", storage_options=options)
    answer = QueryBuilder().register("t", delta).execute(f"SELECT {columns}").read_all()
    names = answer.column_names
    return [dict(zip(names, row)) for row in zip(*(answer.column(name).to_pylist() for name in names))]


events = rows("events", "signal, count(*) AS n FROM t GROUP BY signal")
print(
    json.dumps(
        {
            "events": {row["signal"]: row["n"] for row in events},
            "points": rows("metrics", "sum(point_count) AS n FROM t")[0]["n"] or 0,
            "correlations": rows("correlations", "count(*) AS n FROM t")[0]["n"],
        }
    )
)
