// node-postgres. Usage: pg.js PORT. Prints one JSON line of what it saw.
const { Client, Pool } = require('pg')
const Cursor = require('pg-cursor')

const address = { host: '127.0.0.1', port: Number(process.argv[2]), user: 'anyone', database: 'whence' }
const seen = {}

async function part (name, run) {
  const client = new Client(address)
  try {
    await client.connect()
    seen[name] = await run(client)
  } catch (error) {
    console.error(name, error)
    seen[name] = `${error.code}: ${error.message}`
  } finally {
    await client.end().catch(() => {})
  }
}

const first = (result) => Object.values(result.rows[0])[0]

async function main () {
  await part('parameters', async (client) => {
    const limited = await client.query('SELECT id, timestamp, payload FROM events WHERE asset_id = $1 LIMIT $2', ['checkout', 1])
    const row = limited.rows[0]
    return [
      limited.rowCount, typeof row.id, row.timestamp instanceof Date, typeof row.payload,
      first(await client.query('SELECT count(*) FROM events WHERE name = ANY($1)', [['pay', 'x']])),
      first(await client.query('SELECT count(*) FROM events WHERE duration_ns = ANY($1::bigint[])', [[5000000]])),
      first(await client.query('SELECT count(*) FROM events WHERE timestamp > $1', [new Date(Date.now() - 3600000)])),
      (await client.query('SELECT g FROM generate_series(1, 9) AS t(g) ORDER BY g LIMIT $1 OFFSET $2', [2, 3])).rows.length
    ]
  })
  await part('arrays', async (client) => {
    const ids = (await client.query('SELECT id FROM events ORDER BY id LIMIT 3')).rows.map((row) => row.id)
    const times = (await client.query('SELECT timestamp FROM events ORDER BY timestamp LIMIT 2')).rows.map((row) => row.timestamp.toISOString())
    const count = async (condition, value) =>
      Number(first(await client.query(`SELECT count(*) FROM events WHERE ${condition}`, [value])))
    const back = first(await client.query('SELECT $1::int[]', [[1, null, 3]]))
    const flags = first(await client.query('SELECT ARRAY[true, false]'))
    const numbers = first(await client.query('SELECT $1::float8[]', [[0.5, 2]]))
    const uuids = first(await client.query('SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM events ORDER BY id LIMIT 3) AS three'))
    return [
      await count('id = ANY($1)', ids), await count('id = ANY($1::uuid[])', ids.slice(1)), await count('id <> ALL($1)', ids),
      await count('duration_ns = ANY($1)', [5000000, 7]), await count("(status = 'error') = ANY($1)", [true, false]),
      await count('duration_ns / 1e6 = ANY($1)', [5]), await count('date_trunc(\'milliseconds\', timestamp) = ANY($1)', times) >= 1,
      await count('name = ANY($1)', []), back, flags, numbers, JSON.stringify(uuids) === JSON.stringify(ids)
    ]
  })
  await part('named', async (client) => {
    const question = { name: 'one', text: 'SELECT $1::int AS n' }
    return [first(await client.query({ ...question, values: [1] })), first(await client.query({ ...question, values: [2] }))]
  })
  await part('cursor', async (client) => {
    const cursor = client.query(new Cursor('SELECT g FROM generate_series(1, $1) AS t(g) ORDER BY g', [100]))
    const two = await cursor.read(2)
    const ten = await cursor.read(10)
    await cursor.close()
    return [two.map((row) => row.g), ten.length, first(await client.query('SELECT 3'))]
  })
  await part('errors', async (client) => {
    const failed = await client.query('SELECT nope FROM events').catch((error) => [error.code, error.position])
    return [failed, first(await client.query('SELECT 4'))]
  })
  const pool = new Pool({ ...address, max: 2 })
  const counted = await Promise.all([1, 2, 3, 4].map((n) => pool.query('SELECT $1::int AS n', [n])))
  seen.pool = counted.map(first)
  await pool.end()
  console.log(JSON.stringify(seen))
}

main()
