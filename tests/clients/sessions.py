"""What psycopg 3 does beyond queries: pipelines, transactions, server-side cursors, COPY, cancelling, timeouts.

Usage: sessions.py PORT. Prints one JSON line of what it saw; each part that fails says so there.
"""

import csv
import io
import json
import sys
import threading
import traceback

import psycopg
from psycopg import sql

address = f"host=127.0.0.1 port={sys.argv[1]} dbname=whence user=anyone"
seen = {}


def part(function):
    """Runs one part on a connection of its own."""
    try:
        with psycopg.connect(address) as connection:
            seen[function.__name__] = function(connection)
    except Exception as error:  # every failure belongs in the answer
        traceback.print_exc()
        seen[function.__name__] = f"{type(error).__name__}: {error}"


def state_of(connection, statement, parameters=None):
    try:
        connection.execute(statement, parameters)
    except psycopg.Error as error:
        return error.sqlstate
    return None


@part
def pipeline(connection):
    connection.autocommit = True
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", (number,)) for number in range(5)]
        numbers = [cursor.fetchone()[0] for cursor in cursors]
    with connection.pipeline() as sent:
        connection.execute("SELECT 1")
        broken = connection.cursor()
        try:
            broken.execute("SELECT nope FROM events")
            sent.sync()
            state = None
        except psycopg.Error as error:
            state = error.sqlstate
    return [numbers, state, connection.execute("SELECT 2").fetchone()[0]]


@part
def transactions(connection):
    connection.execute("SELECT 1")
    inside = connection.info.transaction_status.name
    states = [state_of(connection, "SELECT nope FROM events"), state_of(connection, "SELECT 1")]
    connection.rollback()
    with connection.transaction():
        connection.execute("SELECT 1")
        try:
            with connection.transaction():
                connection.execute("SELECT nope FROM events")
        except psycopg.Error:
            pass
        after_savepoint = connection.execute("SELECT 2").fetchone()[0]
    return [inside, states, after_savepoint, connection.info.transaction_status.name]


@part
def named_cursor(connection):
    with connection.cursor(name="all of them") as cursor:
        cursor.itersize = 700
        cursor.execute("SELECT g FROM generate_series(1, %s) AS t(g) ORDER BY g", (5000,))
        iterated = sum(row[0] for row in cursor)
    with connection.cursor(name="parts", scrollable=False) as cursor:
        cursor.execute("SELECT g, g::text AS word FROM generate_series(1, 100) AS t(g) ORDER BY g")
        first = cursor.fetchone()
        two = cursor.fetchmany(2)
        cursor.scroll(10)
        after_move = cursor.fetchone()
        rest = len(cursor.fetchall())
        names = [column.name for column in cursor.description]
    with connection.cursor(name="binary one", binary=True) as cursor:
        cursor.execute("SELECT 1.5::float8, 'x', g FROM generate_series(1, 3) AS t(g) ORDER BY g")
        binary = cursor.fetchall()
    with connection.cursor(name="held", withhold=True) as cursor:
        cursor.execute("SELECT g FROM generate_series(1, 3) AS t(g) ORDER BY g")
        connection.commit()
        held = cursor.fetchall()
    return [iterated, first, two, after_move, rest, names, binary, held]


@part
def scroll_cursor(connection):
    with connection.cursor(name="both ways", scrollable=True) as cursor:
        cursor.execute("SELECT g FROM generate_series(1, 7) AS t(g) ORDER BY g")
        seen = [cursor.fetchmany(2)]
        cursor.scroll(-2)
        seen.append(cursor.fetchone())
        cursor.scroll(4, mode="absolute")
        seen.append(cursor.fetchall())
    connection.execute("DECLARE c SCROLL CURSOR FOR SELECT g FROM generate_series(1, 7) AS t(g) ORDER BY g")
    ways = ["LAST", "PRIOR", "BACKWARD 2", "ABSOLUTE -6", "RELATIVE 3", "RELATIVE 0", "BACKWARD ALL", "FORWARD ALL", "FIRST", "-1"]
    seen.append([[row[0] for row in connection.execute(f"FETCH {way} FROM c").fetchall()] for way in ways])
    moved = [connection.execute(f"MOVE {way} IN c").statusmessage for way in ("3", "BACKWARD ALL", "LAST")]
    connection.execute("DECLARE d NO SCROLL CURSOR FOR SELECT 1")
    return [seen, moved, state_of(connection, "FETCH BACKWARD 1 FROM d")]


@part
def cursors_end_with_their_transaction(connection):
    connection.execute("DECLARE c CURSOR FOR SELECT 1")
    one = connection.execute("FETCH ALL FROM c").fetchall()
    connection.commit()
    gone = state_of(connection, "FETCH 1 FROM c")
    connection.rollback()
    connection.autocommit = True
    return [one, gone, state_of(connection, "DECLARE c CURSOR FOR SELECT 1"), state_of(connection, "CLOSE nope")]


def copied(connection, statement):
    with connection.cursor().copy(statement) as copy:
        return b"".join(bytes(block) for block in copy).decode()


QUESTION = "SELECT g, CASE WHEN g = 2 THEN NULL ELSE E'a\\tb, \"c\"' END AS word, g = 1 AS one FROM generate_series(1, 2) AS t(g) ORDER BY g"


@part
def copy(connection):
    text = copied(connection, f"COPY ({QUESTION}) TO STDOUT")
    options = copied(connection, f"COPY ({QUESTION}) TO STDOUT WITH (FORMAT csv, HEADER true, DELIMITER ';', NULL 'nil')")
    as_csv = copied(connection, f"COPY ({QUESTION}) TO STDOUT (FORMAT csv)")
    of_table = copied(connection, "COPY asset_metadata (asset_id) TO STDOUT WITH CSV HEADER")
    with connection.cursor().copy("COPY (SELECT g, g * 2 FROM generate_series(1, 4) AS t(g) ORDER BY g) TO STDOUT") as rows:
        rows.set_types(["int8", "int8"])
        numbers = list(rows.rows())
    return {"text": text, "options": options, "csv": list(csv.reader(io.StringIO(as_csv))), "table": of_table, "rows": numbers}


@part
def copy_refused(connection):
    connection.autocommit = True
    refused = ["COPY events FROM STDIN", "COPY events TO '/tmp/x'", "COPY (SELECT 1) TO PROGRAM 'cat'", "COPY (SELECT nope) TO STDOUT"]
    return [state_of(connection, statement) for statement in refused]


ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) WHERE a.x + b.y = 3"


@part
def cancel(connection):
    connection.autocommit = True
    timer = threading.Timer(0.3, connection.cancel_safe)
    timer.start()
    state = state_of(connection, ENDLESS)
    timer.join()
    return [state, connection.execute("SELECT 1").fetchone()[0]]


@part
def timeout(connection):
    connection.autocommit = True
    connection.execute("SET statement_timeout = '300ms'")
    states = [state_of(connection, ENDLESS)]
    # Holds while rows are on their way, too.
    many = "SELECT g, repeat('x', 1000) FROM generate_series(1, 1000000000) AS t(g)"
    try:
        for _ in connection.cursor().stream(many):
            pass
        states.append(None)
    except psycopg.Error as error:
        states.append(error.sqlstate)
    return states


@part
def activity(connection):
    connection.autocommit = True
    mine = connection.info.backend_pid
    with psycopg.connect(address, autocommit=True, application_name="the other") as other:
        other.execute("SELECT 1")
        found = connection.execute(
            "SELECT state, query, application_name, usename, datname FROM pg_stat_activity WHERE pid = %s",
            (other.info.backend_pid,),
        ).fetchone()
        active = connection.execute(
            "SELECT state FROM pg_stat_activity WHERE pid = pg_backend_pid()").fetchone()
        worker = []
        thread = threading.Thread(target=lambda: worker.append(state_of(other, ENDLESS)))
        thread.start()
        while connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'", (other.info.backend_pid,)
        ).fetchone()[0] == 0:
            pass
        canceled = connection.execute("SELECT pg_cancel_backend(%s)", (other.info.backend_pid,)).fetchone()[0]
        thread.join()
        unknown = connection.execute("SELECT pg_cancel_backend(1)").fetchone()[0]
    own = connection.execute("SELECT pg_backend_pid()").fetchone()[0] == mine
    return [found, active, canceled, worker, unknown, own]


@part
def errors(connection):
    connection.autocommit = True

    def told(statement):
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            return [error.sqlstate, error.diag.statement_position]
        return None

    return {
        statement: told(statement)
        for statement in (
            "SELEC 1",
            "SELECT 1 FROM events WHERE",
            "SELECT nope FROM events",
            "SELECT name FROM nosuch",
            "SELECT nosuch(1)",
            "SELECT 1 / 0",
            "SELECT 'x'::int",
            "SHOW nosuch",
        )
    }


@part
def names_and_types(connection):
    cursor = connection.execute(
        sql.SQL("SELECT id, timestamp, name, duration_ns, payload, count(*), 1, now(), 1.5::numeric, true, '1 hour'::interval,"
                " ARRAY[1,2], 'a'::text, current_date FROM events GROUP BY 1, 2, 3, 4, payload LIMIT 0"))
    types = psycopg.postgres.types
    return [[column.name, types[column.type_code].name] for column in cursor.description]


print(json.dumps(seen, default=str), flush=True)
