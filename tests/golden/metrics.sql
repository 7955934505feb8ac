-- One row for each series and minute.
SELECT timestamp, time_bucket, asset_id, metric_type, metric_name, unit, value_count, value_sum, value_min, value_max, point_count
FROM metrics ORDER BY metric_name, asset_id, timestamp;

-- Quantiles are within 1% of the values that went in.
SELECT metric_name, asset_id, timestamp, value_p50, value_p95, value_p99, value_stddev FROM metrics
WHERE metric_name IN ('db.client.connection.count', 'charges') ORDER BY 1, 2, 3;

SELECT dimensions, dimensions->>'currency' AS currency FROM metrics WHERE metric_name = 'charges' LIMIT 1;

SELECT time_bucket('5 minutes', timestamp) AS bucket, sum(value_sum), sum(value_count) FROM metrics
WHERE metric_name = 'charges' GROUP BY 1 ORDER BY 1;

SELECT time_bucket('60.000s', timestamp) AS "time", count(*) FROM events GROUP BY 1 ORDER BY 1;

SELECT time_bucket('1 hour', TIMESTAMPTZ '2026-01-01T12:59:59.999Z') AS hour, time_bucket('1 day', TIMESTAMPTZ '1969-12-31T23:00:00Z') AS before_1970;
