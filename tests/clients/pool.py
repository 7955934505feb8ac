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
        for part in (parameters, cursors, savepoints, release, copy, timeouts):
            try:
                seen[part.__name__] = await part(pool)
            except Exception as error:
                traceback.print_exc()
                seen[part.__name__] = f"{type(error).__name__}: {error}"
    print(json.dumps(seen, default=str), flush=True)


asyncio.run(main())
