-- Rate, errors and duration of every operation that a service answers, by minute.
CREATE MATERIALIZED VIEW service_red (
    bucket          timestamptz,       -- start of the minute
    asset_id        text,
    operation       text,              -- name of the server or consumer span
    requests        bigint,
    errors          bigint,            -- requests whose span has status error
    avg_ms          double precision,
    p50_ms          double precision,  -- within 1%
    p95_ms          double precision,
    p99_ms          double precision,
    max_ms          double precision,
    duration_sketch bytea              -- of milliseconds; rollup() merges it, approx_percentile() reads it
) AS
SELECT bucket, asset_id, operation, requests, errors, avg_ms,
       approx_percentile(0.50, duration_sketch), approx_percentile(0.95, duration_sketch),
       approx_percentile(0.99, duration_sketch), max_ms, duration_sketch
FROM (
    SELECT time_bucket('1 minute', timestamp) AS bucket, asset_id, name AS operation, count(*) AS requests,
           count(*) FILTER (WHERE status = 'error') AS errors, avg(duration_ns) / 1e6 AS avg_ms,
           max(duration_ns) / 1e6 AS max_ms, percentile_agg(duration_ns / 1e6) AS duration_sketch
    FROM events
    WHERE signal = 'span' AND kind IN ('server', 'consumer')
    GROUP BY 1, 2, 3
) AS minutes
