-- Rate, errors and duration of the calls of one asset by another, by minute, as the callee saw them.
CREATE MATERIALIZED VIEW edge_red (
    bucket    timestamptz,       -- start of the minute
    caller    text,
    callee    text,
    requests  bigint,
    errors    bigint,            -- calls whose span at the callee has status error
    avg_ms    double precision,
    p50_ms    double precision,  -- within 1%
    p95_ms    double precision,
    p99_ms    double precision,
    max_ms    double precision
) AS
SELECT bucket, caller, callee, requests, errors, avg_ms, approx_percentile(0.50, duration_sketch),
       approx_percentile(0.95, duration_sketch), approx_percentile(0.99, duration_sketch), max_ms
FROM (
    SELECT time_bucket('1 minute', c.timestamp) AS bucket, caller.asset_id AS caller, callee.asset_id AS callee,
           count(*) AS requests, count(*) FILTER (WHERE callee.status = 'error') AS errors,
           avg(callee.duration_ns) / 1e6 AS avg_ms, max(callee.duration_ns) / 1e6 AS max_ms,
           percentile_agg(callee.duration_ns / 1e6) AS duration_sketch
    FROM correlations c
    JOIN events caller ON c.primary_event_id = caller.id
    JOIN events callee ON c.related_event_id = callee.id
    WHERE c.metadata->>'relation' = 'call'
    GROUP BY 1, 2, 3
) AS minutes
