"""Queries Whence over Flight SQL with the ADBC driver.

Usage: flight.py PORT SERVICE. Prints one JSON line with what it read.
"""

import datetime
import json
import sys
import threading
import uuid

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pyarrow

port, service = sys.argv[1], sys.argv[2]
result = {}


def connect(**options):
    return adbc_driver_flightsql.dbapi.connect(f"grpc://127.0.0.1:{port}", db_kwargs=options, autocommit=True)


def error_of(action):
    try:
        action()
    except adbc_driver_manager.Error as error:
        return [type(error).__name__, str(error)]
    return None


with connect() as connection, connection.cursor() as cursor:
    cursor.execute(
        "SELECT id, timestamp, name, duration_ns, payload, status FROM events WHERE signal = 'span' ORDER BY timestamp"
    )
    table = cursor.fetch_arrow_table()
    result["types"] = {field.name: str(field.type) for field in table.schema}
    rows = table.to_pylist()
    assert all(isinstance(row["id"], uuid.UUID) for row in rows), rows
    assert all(row["timestamp"].tzinfo for row in rows), rows
    result["names"] = [row["name"] for row in rows]
    result["ids"] = [str(row["id"]) for row in rows]
    since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    counted = "SELECT count(*) AS n FROM events WHERE asset_id = $1 AND timestamp >= $2 AND duration_ns >= $3"
    cursor.execute(counted, (service, since, 1))
    result["bound"] = cursor.fetchone()[0]
    cursor.execute("SELECT count(*) AS n FROM events WHERE id = $1", (result["ids"][0],))
    result["by_id"] = cursor.fetchone()[0]
    # Prepared once, bound twice; NULL, and an array.
    cursor.adbc_prepare("SELECT $1::bigint + 1 AS n")
    result["twice"] = []
    for value in (41, None):
        cursor.execute("SELECT $1::bigint + 1 AS n", (value,))
        result["twice"].append(cursor.fetchone()[0])
    cursor.execute("SELECT n FROM generate_series(1, 100000) AS t(n) ORDER BY n")
    reader = cursor.fetch_record_batch()
    result["streamed"] = [sum(batch.num_rows for batch in reader)]
    for statement in ("DELETE FROM events", "SELECT nope FROM events", "SELECT * FROM nosuchtable", "SELECT 1; SELECT 2"):
        result.setdefault("refused", {})[statement] = error_of(lambda: cursor.execute(statement))
    ingest = error_of(lambda: cursor.adbc_ingest("events", pyarrow.table({"a": [1]}), mode="append"))
    result["refused"]["ingest"] = ingest
    update = error_of(lambda: cursor.executemany("INSERT INTO events VALUES ($1)", [(1,)]))
    result["refused"]["update"] = update
    # Still usable after errors.
    cursor.execute("SELECT 1")
    result["after"] = cursor.fetchone()[0]

    # Canceled from another thread while rows stream.
    cursor.execute("SELECT a.n FROM generate_series(1, 100000) AS a(n), generate_series(1, 100000) AS b(n)")
    reader = cursor.fetch_record_batch()
    reader.read_next_batch()
    threading.Thread(target=cursor.adbc_cancel).start()

    def drain():
        for _ in reader:
            pass

    try:
        drain()
        result["canceled"] = None
    except Exception as error:  # pyarrow has a class of its own for it
        result["canceled"] = [type(error).__name__, str(error)]

with connect() as connection:
    info = connection.adbc_get_info()
    result["vendor"] = info["vendor_name"]
    result["table_types"] = connection.adbc_get_table_types()
    objects = connection.adbc_get_objects(depth="all", db_schema_filter="public").read_all().to_pylist()
    result["tables"] = {
        table["table_name"]: [column["column_name"] for column in table["table_columns"]]
        for catalog in objects
        for schema in catalog["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
    }
    result["catalogs"] = [catalog["catalog_name"] for catalog in objects]
    schema = connection.adbc_get_table_schema("correlations", db_schema_filter="public")
    result["table_schema"] = {field.name: str(field.type) for field in schema}

# The handshake: a name and a password become a token.
with connect(username="anyone", password="anything") as connection, connection.cursor() as cursor:
    cursor.execute("SELECT 1")
    result["basic"] = cursor.fetchone()[0]

print(json.dumps(result), flush=True)
