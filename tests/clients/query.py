"""Queries Whence with psycopg 3: parameters, text and binary results, prepared statements, errors, two connections.

Usage: query.py PORT SERVICE TRACE_ID. Prints one JSON line with what it read.
"""

import datetime
import json
import sys
import uuid

import psycopg

port, service, trace_id = sys.argv[1], sys.argv[2], sys.argv[3]
address = f"host=127.0.0.1 port={port} dbname=whence user=anyone"
since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
result = {}
with psycopg.connect(address, autocommit=True) as connection:
    for binary in (False, True):
        rows = connection.execute(
            "SELECT id, timestamp, name, duration_ns, payload FROM events"
            " WHERE asset_id = %s AND signal = %s AND timestamp >= %s ORDER BY timestamp",
            (service, "span", since),
            binary=binary,
        ).fetchall()
        assert all(isinstance(row[0], uuid.UUID) for row in rows), rows
        assert all(isinstance(row[1], datetime.datetime) and row[1].tzinfo for row in rows), rows
        assert all(isinstance(row[3], int) for row in rows), rows
        payloads = [row[4] if isinstance(row[4], dict) else json.loads(row[4]) for row in rows]
        result["binary" if binary else "text"] = {
            "names": [row[2] for row in rows],
            "amounts": [payload.get("amount") for payload in payloads],
        }
    by_trace = "SELECT count(*) FROM events WHERE correlation_id = %s"
    result["by_uuid"] = connection.execute(by_trace, (uuid.UUID(trace_id),)).fetchone()[0]
    result["by_text"] = connection.execute(
        "SELECT count(*) FROM events WHERE trace_id = %s LIMIT 5", (trace_id,), prepare=True
    ).fetchone()[0]
    for refused in ("DELETE FROM events", "COPY events TO '/tmp/x'", "SELECT * FROM nosuchtable"):
        try:
            connection.execute(refused)
            result.setdefault("not_refused", []).append(refused)
        except psycopg.Error as error:
            result.setdefault("refused", []).append(error.sqlstate)
with psycopg.connect(address) as connection, connection.transaction():
    result["in_transaction"] = connection.execute("SELECT 1").fetchone()[0]
print(json.dumps(result), flush=True)
