-- Functions of TimescaleDB and its toolkit.
SELECT first(v, t), last(v, t), first(v, t) FILTER (WHERE v > 1) AS filtered FROM (VALUES (1, 10), (2, 5), (3, NULL)) AS x(v, t);

SELECT histogram(v, 0, 10, 5), approx_percentile(0.5, percentile_agg(v)) AS p50 FROM (VALUES (1.0), (2.0), (11.0), (-1.0)) AS x(v);

SELECT approx_percentile(0.95, rollup(sketch)) AS p95, max(value_max) FROM metrics WHERE metric_name = 'charges';

SELECT time_bucket('1 day', timestamptz '2024-07-01 23:30:00+00', 'Europe/Berlin') AS zone, time_bucket('1 month', timestamptz '2024-07-11 23:30:00+00') AS month,
time_bucket(INTERVAL '5 minutes', timestamptz '2024-07-01 23:32:00+00', INTERVAL '1 minute') AS shifted, time_bucket('1 week', timestamptz '2024-07-04 00:00:00+00', timestamptz '2024-01-02 00:00:00+00') AS origin,
time_bucket('0.020s', timestamptz '2024-01-01 00:00:00.037+00') AS grafana;

SELECT time_bucket('1 day', t, timezone => 'Europe/Berlin') AS named FROM (VALUES (timestamptz '2024-07-01 23:30:00+00')) AS x(t);

SELECT time_bucket_gapfill('1 hour', t) AS bucket, avg(v), locf(avg(v)), interpolate(avg(v)), count(*), coalesce(count(*), 0) AS n
FROM (VALUES (timestamptz '2024-01-01 01:10:00+00', 10.0), (timestamptz '2024-01-01 04:30:00+00', 40.0)) AS x(t, v)
WHERE t >= '2024-01-01 00:00:00+00' AND t < '2024-01-01 06:00:00+00' GROUP BY bucket ORDER BY bucket;

SELECT time_bucket_gapfill('60.000s', timestamp) AS minute, asset_id, count(*), locf(max(severity)) AS severity FROM events
WHERE timestamp BETWEEN '2026-01-01T11:59:00Z' AND '2026-01-01T12:03:00Z' AND asset_id IN ('mailer', 'payment') GROUP BY 1, 2 ORDER BY 2, 1;

SELECT time_bucket_gapfill('1 day', t, 'Europe/Berlin', timestamptz '2024-03-29 23:00:00+00', timestamptz '2024-04-01 22:00:00+00') AS day, sum(v)
FROM (VALUES (timestamptz '2024-03-31 12:00:00+00', 1)) AS x(t, v) GROUP BY 1 ORDER BY 1;

SELECT time_bucket_gapfill('1 hour', timestamp) AS bucket, count(*) FROM events GROUP BY 1;

SELECT locf(1);

SELECT count(*) FROM events WHERE time_bucket('1 minute', timestamp) = '2026-01-01T12:01:00Z';

SELECT e.name, tag.key, tag.value FROM events e, jsonb_each_text(e.payload) AS tag WHERE e.name = 'POST /charge' AND e.status = 'unset' AND tag.key = 'amount';

SELECT a.asset_id, e.name FROM asset_metadata a, LATERAL (SELECT name, duration_ns FROM events e WHERE e.asset_id = a.asset_id AND e.signal = 'span' ORDER BY duration_ns DESC, name LIMIT 1) AS e ORDER BY 1;

SELECT name FROM events TABLESAMPLE BERNOULLI (10);

SHOW no_such_setting;
