"""Comes to every door with good, wrong and no API keys.

Usage: keys.py GRPC_PORT PGWIRE_PORT ACME_KEY BETA_KEY WRITE_ONLY_KEY. Prints one JSON line: what each was told.
"""

import json
import sys

import grpc
import psycopg

grpc_port, pg_port, acme, beta, write_only = sys.argv[1:6]
WRONG = "pk_live_" + "x" * 40
result = {"grpc": {}, "postgres": {}, "assets": {}}

with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
    export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    for name, key in (("none", None), ("wrong", WRONG), ("good", write_only)):
        metadata = [("authorization", f"Bearer {key}")] if key else []
        try:
            export(b"", timeout=30, metadata=metadata)
            result["grpc"][name] = ["OK", ""]
        except grpc.RpcError as error:
            result["grpc"][name] = [error.code().name, error.details()]


def connect(password, user="anybody"):
    return psycopg.connect(
        host="127.0.0.1", port=pg_port, dbname="whence", user=user, password=password, autocommit=True, connect_timeout=30
    )


for name, password in (("none", None), ("wrong", WRONG), ("write only", write_only)):
    try:
        connect(password).close()
        result["postgres"][name] = "let in"
    except psycopg.OperationalError as error:
        result["postgres"][name] = str(error)

# Two tenants at the same time, with statements of one name, and every way of asking for another tenant that comes to mind.
with connect(acme, user="beta") as first, connect(beta, user="acme") as second:
    for name, connection in (("acme", first), ("beta", second)):
        statement = "SELECT DISTINCT asset_id, tenant_id FROM events ORDER BY 1"
        result["assets"][name] = [connection.execute(statement, prepare=True).fetchall() for _ in range(3)]
    attempts = [
        "SELECT count(*) FROM events WHERE tenant_id = 'beta'",
        "SELECT count(*) FROM events WHERE tenant_id <> 'acme' OR true AND tenant_id = 'beta'",
        "SELECT count(*) FROM public.events e, public.events f WHERE e.tenant_id <> f.tenant_id",
        "SELECT count(*) FROM metrics WHERE tenant_id = 'beta'",
        "SELECT count(*) FROM asset_metadata WHERE tenant_id = 'beta'",
        "SELECT count(*) FROM whence.ingest_ledger WHERE tenant_id = 'beta'",
        "SELECT count(*) FROM whence.queries WHERE query LIKE '%beta_secret%'",
        "SELECT count(*) FROM service_graph(now() - interval '1 day', now()) WHERE asset_id = 'beta-service'",
    ]
    second.execute("SELECT 1 AS beta_secret FROM events").fetchall()
    second.execute("SET application_name = 'beta_secret'")
    result["broken_out"] = []
    for attempt in attempts:
        try:
            if first.execute(attempt).fetchone()[0] != 0:
                result["broken_out"].append(attempt)
        except psycopg.Error as error:
            if "beta-service" in str(error):
                result["broken_out"].append(attempt)
    refused = [
        "SELECT * FROM beta.events",
        "SELECT * FROM events_stored",
        "SELECT * FROM whence.public.events_stored",
        "SELECT * FROM control.api_key",
        "SELECT * FROM api_key",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM pg_ls_dir('/')",
        "SELECT lo_import('/etc/passwd')",
        "COPY events TO '/tmp/whence-broken-out'",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "SET datafusion.catalog.default_schema = 'beta'",
        "INSERT INTO events SELECT * FROM events",
        "DO $$ BEGIN END $$",
        "LOAD 'x'",
    ]
    result["not_refused"] = []
    for attempt in refused:
        try:
            first.execute(attempt)
            if not attempt.startswith("SET"):
                result["not_refused"].append(attempt)
        except psycopg.Error:
            pass
    # What SET may do is to be forgotten; never to show other rows.
    for attempt in ("SET search_path = beta", "SET ROLE beta", "SET SESSION AUTHORIZATION beta"):
        try:
            first.execute(attempt)
        except psycopg.Error:
            pass
    result["after_set"] = first.execute("SELECT DISTINCT tenant_id FROM public.events").fetchall()
    plan = "\n".join(str(row) for row in first.execute("EXPLAIN VERBOSE SELECT * FROM events").fetchall())
    plan += "\n".join(str(row) for row in first.execute("EXPLAIN ANALYZE SELECT count(*) FROM events").fetchall())
    result["plan_names_the_other"] = "beta" in plan
print(json.dumps(result), flush=True)
