"""psycopg against the wire: types, parameters in text and binary, portals, errors, cancel. Arguments: port, id of a span."""
import datetime, decimal, sys, threading, time, uuid
import psycopg
from psycopg.rows import dict_row

port, span = sys.argv[1], sys.argv[2]
url = f"host=127.0.0.1 port={port} user=anyone dbname=whence"
with psycopg.connect(url, autocommit=True) as connection:
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        row = cursor.execute("SELECT id, timestamp, payload, duration_ns, body, parent_event_id FROM events WHERE id = %s", [span]).fetchone()
        assert row[0] == uuid.UUID(span), row
        assert isinstance(row[1], datetime.datetime) and row[1].utcoffset() == datetime.timedelta(0), row
        assert row[2]["http.route"] == "/pay" and row[3] == 1_000_000 and row[4] is None and row[5] is None, row
        assert cursor.execute("SELECT name FROM events WHERE id = %b", [uuid.UUID(span)]).fetchone() == ("GET /",)
        assert cursor.execute("SELECT name FROM events WHERE id = %t", [uuid.UUID(span)]).fetchone() == ("GET /",)
        now = datetime.datetime.now(datetime.timezone.utc)
        hour = datetime.timedelta(hours=1)
        for style in ("%b", "%t"):
            sql = f"SELECT count(*) FROM events WHERE timestamp BETWEEN {style} AND {style} AND duration_ns > {style}"
            assert cursor.execute(sql, [now - hour, now + hour, 5]).fetchone()[0] > 100
            assert cursor.execute(f"SELECT count(*) FROM events WHERE timestamp > now() - {style}::interval", [hour]).fetchone()[0] > 100
        assert cursor.execute("SELECT count(*) FROM events WHERE asset_id = ANY(%s)", [["frontend", "nope"]]).fetchone() == (1,)
        assert cursor.execute("SELECT 1 AS one FROM events LIMIT %s", [2]).fetchall() == [(1,), (1,)]
        values = cursor.execute(
            "SELECT 1::smallint, 2::int, 3::bigint, 1.5::real, 2.5::double precision, true, 'x'::text, NULL, "
            "INTERVAL '1 minute', '2024-01-02'::date, 1.25::numeric(10,2), ARRAY[1,2], ARRAY['a','b'], X'00ff'").fetchone()
        assert values == (1, 2, 3, 1.5, 2.5, True, "x", None, datetime.timedelta(minutes=1), datetime.date(2024, 1, 2),
                          decimal.Decimal("1.25"), [1, 2], ["a", "b"], b"\x00\xff"), values
        bucket, width, sketch = cursor.execute("SELECT timestamp, time_bucket, sketch FROM metrics").fetchone()
        assert width == datetime.timedelta(minutes=1) and sketch[0] == 1, (width, sketch)
        assert cursor.execute("SELECT strength FROM correlations WHERE strength > %s", [0.8]).fetchone()[0] > 0.89
    # Prepared on the server, run many times.
    for i in range(7):
        assert connection.execute("SELECT %s::int + 1", [i], prepare=True).fetchone() == (i + 1,)
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::text", [str(i)]) for i in range(5)]
    assert [c.fetchone()[0] for c in cursors] == ["0", "1", "2", "3", "4"]
    assert sum(1 for _ in connection.cursor().stream("SELECT value FROM generate_series(1, 20000)")) == 20_000
    assert connection.execute("").statusmessage is None or True
    assert connection.execute("SHOW server_version").fetchone() == ("16.6",)
    connection.execute("SET statement_timeout = '10min'")
    assert connection.execute("SHOW statement_timeout").fetchone() == ("10min",)
    for sql, state in [("SELECT nope FROM events", "42703"), ("DELETE FROM events", "25006"), ("SELECT * FROM nope", "42P01"),
                       ("SELECT %s::int", "22P02")]:
        try:
            connection.execute(sql, ["x"] if "%s" in sql else None)
            raise AssertionError(sql)
        except psycopg.Error as error:
            assert error.sqlstate == state, (sql, error.sqlstate, error)
    # A cancel request ends a running statement; the connection goes on.
    timer = threading.Timer(0.3, connection.cancel)
    timer.start()
    started = time.time()
    try:
        connection.execute("SELECT count(*) FROM generate_series(1, 1000000000000) WHERE value % 7 = 3")
        raise AssertionError("not canceled")
    except psycopg.errors.QueryCanceled:
        assert time.time() - started < 5
    assert connection.execute("SELECT 1").fetchone() == (1,)
with psycopg.connect(url) as connection:
    with connection.transaction():
        assert connection.cursor(row_factory=dict_row).execute("SELECT 1 AS a").fetchone() == {"a": 1}
    try:
        connection.execute("SELECT nope")
    except psycopg.Error:
        pass
    connection.rollback()
    assert connection.execute("SELECT 2").fetchone() == (2,)
try:
    psycopg.connect(f"host=127.0.0.1 port={port} user=anyone dbname=nope")
    raise AssertionError("connected to a database that does not exist")
except psycopg.OperationalError as error:
    assert "does not exist" in str(error), error
print("psycopg is content")
