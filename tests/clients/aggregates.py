"""Declares, reads and drops continuous aggregates with psycopg 3 and with ADBC over Flight SQL.

Usage: aggregates.py PGWIRE_PORT QUERY_PORT. Prints one JSON line with what it saw.
"""

import json
import sys

import adbc_driver_flightsql.dbapi as flight
import psycopg

pgwire, query = sys.argv[1], sys.argv[2]
address = f"host=127.0.0.1 port={pgwire} dbname=whence user=anyone"
HOURLY = (
    "CREATE MATERIALIZED VIEW IF NOT EXISTS {name} WITH (timescaledb.continuous) AS"
    " SELECT time_bucket('1 hour', timestamp) AS bucket, asset_id, {aggregates} FROM events GROUP BY 1, 2 WITH NO DATA"
)
result = {"notices": []}


def state(connection, statement):
    """How a statement is refused."""
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        return [error.sqlstate, error.diag.message_hint]
    return None


with psycopg.connect(address, autocommit=True) as connection:
    connection.add_notice_handler(lambda notice: result["notices"].append(notice.message_primary))
    tag = connection.execute(HOURLY.format(name="hourly", aggregates="count(*) AS n, max(payload->>'amount') AS most"))
    result["tag"] = tag.statusmessage
    connection.execute(HOURLY.format(name="hourly", aggregates="count(*) AS n"))
    connection.execute(HOURLY.format(name="people", aggregates="count(DISTINCT name) AS names"))
    connection.execute("REFRESH MATERIALIZED VIEW hourly")
    connection.execute("CALL refresh_continuous_aggregate('hourly', NULL, now())")
    bounded = "SELECT asset_id, sum(n), max(most) FROM hourly WHERE bucket > now() - INTERVAL '1 day' GROUP BY 1"
    result["read"] = [connection.execute(bounded, binary=binary).fetchall() for binary in (False, True)]
    result["people"] = connection.execute("SELECT names FROM people WHERE asset_id = %s", ("checkout",)).fetchall()
    result["drop_view"] = state(connection, "DROP VIEW hourly")
    result["plain"] = state(connection, "CREATE MATERIALIZED VIEW plain AS SELECT 1")
    result["volatile"] = state(
        connection, HOURLY.format(name="v", aggregates="count(*) FILTER (WHERE timestamp > now()) AS n")
    )
    connection.execute("ALTER MATERIALIZED VIEW people RENAME TO persons")
    result["dropped"] = connection.execute("DROP MATERIALIZED VIEW persons").statusmessage
with psycopg.connect(address) as connection:
    result["in_transaction"] = state(connection, "DROP MATERIALIZED VIEW hourly")

with flight.connect(f"grpc://127.0.0.1:{query}", autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute(HOURLY.format(name="by_flight", aggregates="count(*) AS n"))
    result["flight"] = cursor.fetchall()
    cursor.execute("SELECT sum(n) FROM by_flight")
    result["flight_read"] = [int(value) for (value,) in cursor.fetchall()]
    cursor.execute("DROP MATERIALIZED VIEW by_flight")
    result["flight_dropped"] = cursor.fetchall()
print(json.dumps(result, default=int), flush=True)
