"""asyncpg with its pool. Usage: pool.py PORT. Prints one JSON line of what it saw."""

import asyncio
import datetime
import json
import sys
import traceback
import uuid

import asyncpg


async def parameters(pool):
    async with pool.acquire() as connection:
        since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
        limited = await connection.fetch(
            "SELECT id, timestamp, payload FROM events WHERE timestamp > $1 AND asset_id = $2 LIMIT $3", since, "checkout", 1)
        row = limited[0]
        assert isinstance(row["id"], uuid.UUID) and row["timestamp"].tzinfo, row
        texts = await connection.fetchval("SELECT count(*) FROM events WHERE name = ANY($1)", ["pay", "other"])
        none = await connection.fetchval("SELECT count(*) FROM events WHERE name = ANY($1::text[])", [])
        offset = await connection.fetch("SELECT g FROM generate_series(1, 10) AS t(g) ORDER BY g LIMIT $1 OFFSET $2", 2, 3)
        back = await connection.fetchval("SELECT $1::text[]", ["a", None, "b c"])
        return [len(limited), texts, none, [record["g"] for record in offset], back]


async def arrays(pool):
    """Arrays of every common type: what they hold comes back, and ANY finds with them."""
    now = datetime.datetime(2026, 1, 31, 10, 0, 0, 5, tzinfo=datetime.timezone.utc)
    one = uuid.UUID("5b8efff7-9803-8103-d269-b633813fc60c")
    values = {
        "int2": [1, None, -3], "int4": [1, None, -3], "int8": [1, None, 1 << 40], "float4": [1.5, None], "float8": [0.1, None],
        "bool": [True, None, False], "uuid": [one, None], "timestamptz": [now, None], "date": [now.date(), None],
        "timestamp": [now.replace(tzinfo=None), None], "text": ["a", None, "b, \"c\""], "bytea": [b"\x00\xff", None],
        "interval": [datetime.timedelta(hours=25), None], "time": [now.time(), None],
    }
    wrong = []
    async with pool.acquire() as connection:
        for kind, given in values.items():
            back = await connection.fetchval(f"SELECT $1::{kind}[]", given)
            none = await connection.fetchval(f"SELECT $1::{kind}[]", [])
            if back != given or none != []:
                wrong.append([kind, str(back), str(none)])
        ids = [record["id"] for record in await connection.fetch("SELECT id FROM events ORDER BY id LIMIT 3")]
        times = await connection.fetchval("SELECT array_agg(timestamp ORDER BY timestamp) FROM events")
        found = {
            "uuid": await connection.fetchval("SELECT count(*) FROM events WHERE id = ANY($1)", ids),
            "uuid cast": await connection.fetchval("SELECT count(*) FROM events WHERE id = ANY($1::uuid[])", ids[:2]),
            "uuid, all of them": await connection.fetchval("SELECT count(*) FROM events WHERE id <> ALL($1)", ids),
            "int8": await connection.fetchval("SELECT count(*) FROM events WHERE duration_ns = ANY($1)", [5000000, 1]),
            "int4": await connection.fetchval("SELECT count(*) FROM generate_series(1, 9) AS t(g) WHERE g::int = ANY($1)", [2, 3]),
            "float8": await connection.fetchval("SELECT count(*) FROM events WHERE duration_ns / 1e6 = ANY($1)", [5.0]),
            "bool": await connection.fetchval("SELECT count(*) FROM events WHERE (status = 'error') = ANY($1)", [True, False]),
            "timestamptz": await connection.fetchval("SELECT count(*) FROM events WHERE timestamp = ANY($1)", times[:4]),
            "text": await connection.fetchval("SELECT count(*) FROM events WHERE name = ANY($1)", ["pay"]),
            "nothing": await connection.fetchval("SELECT count(*) FROM events WHERE id = ANY($1)", []),
            "rows": [record[0] for record in await connection.fetch("SELECT unnest($1::int[]) AS x ORDER BY 1", [3, 1, 2])],
        }
        aggregated = await connection.fetchrow(
            "SELECT array_agg(id ORDER BY id) AS ids, array_agg(DISTINCT name) AS names, array_agg(duration_ns) AS durations"
            " FROM (SELECT * FROM events ORDER BY id LIMIT 3) AS three")
        return [wrong, found, list(aggregated["ids"]) == ids, aggregated["names"], aggregated["durations"]]


async def cursors(pool):
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        total = 0
        async for record in connection.cursor("SELECT g FROM generate_series(1, $1) AS t(g)", 1000, prefetch=64):
            total += record["g"]
        cursor = await connection.cursor("SELECT g FROM generate_series(1, 10) AS t(g) ORDER BY g")
        first = [record["g"] for record in await cursor.fetch(2)]
        await cursor.forward(3)
        return [total, first, (await cursor.fetchrow())["g"]]


async def savepoints(pool):
    async with pool.acquire() as connection, connection.transaction():
        try:
            async with connection.transaction():
                await connection.fetch("SELECT nope FROM events")
        except asyncpg.UndefinedColumnError:
            pass
        return await connection.fetchval("SELECT 2")


async def release(pool):
    async with pool.acquire() as connection:
        await connection.execute("SET application_name = 'mine'")
        pid = connection.get_server_pid()
    async with pool.acquire() as connection:
        assert connection.get_server_pid() == pid
        return await connection.fetchval("SELECT current_setting('application_name')")


async def copy(pool):
    async with pool.acquire() as connection:
        blocks = []
        async def keep(block):
            blocks.append(block)
        status = await connection.copy_from_query(
            "SELECT g, 'x' AS word FROM generate_series(1, 2) AS t(g) ORDER BY g", output=keep, format="csv", header=True)
        return [status, b"".join(blocks).decode()]


async def timeouts(pool):
    async with pool.acquire() as connection:
        try:
            await connection.fetch("SELECT count(*) FROM generate_series(1,1000000) a(x), generate_series(1,1000000) b(y)"
                                   " WHERE a.x + b.y = 3", timeout=0.3)
        except asyncio.TimeoutError:
            return await connection.fetchval("SELECT 3")


async def main():
    seen = {}
    async with asyncpg.create_pool(host="127.0.0.1", port=int(sys.argv[1]), user="anyone", database="whence",
                                   min_size=1, max_size=1) as pool:
        for part in (parameters, arrays, cursors, savepoints, release, copy, timeouts):
            try:
                seen[part.__name__] = await part(pool)
            except Exception as error:
                traceback.print_exc()
                seen[part.__name__] = f"{type(error).__name__}: {error}"
    print(json.dumps(seen, default=str), flush=True)


asyncio.run(main())
