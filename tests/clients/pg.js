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
