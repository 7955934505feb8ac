"""Runs statements as Grafana does: one after another over the PostgreSQL wire, by the simple protocol.

Usage: statements.py PORT < JSON list of statements. Prints a JSON list of {"columns", "rows"} or {"error"}.
"""

import json
import sys

import psycopg

outcomes = []
address = f"host=127.0.0.1 port={sys.argv[1]} dbname=whence user=grafana"
with psycopg.connect(address, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
    for statement in json.load(sys.stdin):
        try:
            cursor = connection.execute(statement)
            rows = [[None if value is None else str(value) for value in row] for row in cursor.fetchall()]
            outcomes.append({"columns": [column.name for column in cursor.description], "rows": rows})
        except psycopg.Error as error:
            outcomes.append({"error": f"{error.sqlstate} {error}"})
print(json.dumps(outcomes), flush=True)
