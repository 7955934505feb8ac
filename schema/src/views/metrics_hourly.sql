-- Metrics by hour, all series of an asset together; percentiles from merged sketches, within 1%.
CREATE MATERIALIZED VIEW metrics_hourly (
    bucket      timestamptz,       -- start of the hour
    asset_id    text,
    metric_type text,
    metric_name text,
    tenant_id   text,
    count       bigint,
    avg_value   double precision,
    min_value   double precision,
    max_value   double precision,
    p95_value   double precision,
    p99_value   double precision
) AS
SELECT bucket, asset_id, metric_type, metric_name, tenant_id, count,
       CASE WHEN count > 0 THEN value_sum / count END, min_value, max_value,
       approx_percentile(0.95, merged), approx_percentile(0.99, merged)
FROM (
    SELECT time_bucket('1 hour', timestamp) AS bucket, asset_id, metric_type, metric_name, tenant_id,
           sum(value_count) AS count, sum(value_sum) AS value_sum, min(value_min) AS min_value,
           max(value_max) AS max_value, rollup(sketch) AS merged
    FROM metrics
    GROUP BY 1, 2, 3, 4, 5
) AS hours
