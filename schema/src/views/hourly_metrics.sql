-- Calls of AI agents and models by hour: requests, users, latency, errors, tokens.
CREATE MATERIALIZED VIEW hourly_metrics (
    hour            timestamptz,       -- start of the hour
    workspace_id    text,              -- the tenant
    agent           text,
    total_requests  bigint,
    unique_users    bigint,            -- estimated, as are sessions
    unique_sessions bigint,
    avg_latency_ms  double precision,
    p50_latency_ms  double precision,  -- within 1%
    p90_latency_ms  double precision,
    p95_latency_ms  double precision,
    p99_latency_ms  double precision,
    max_latency_ms  double precision,
    error_count     bigint,
    error_rate      double precision,  -- 0 to 1
    total_tokens    bigint
) AS
SELECT hour, workspace_id, agent, total_requests, unique_users, unique_sessions, avg_latency_ms,
       approx_percentile(0.50, latency), approx_percentile(0.90, latency), approx_percentile(0.95, latency),
       approx_percentile(0.99, latency), max_latency_ms, error_count,
       CAST(error_count AS double precision) / total_requests, total_tokens
FROM (
    SELECT time_bucket('1 hour', timestamp) AS hour, tenant_id AS workspace_id, agent, count(*) AS total_requests,
           CAST(approx_distinct(payload->>'user.id') AS bigint) AS unique_users,
           CAST(approx_distinct(coalesce(payload->>'gen_ai.conversation.id', payload->>'session.id')) AS bigint)
               AS unique_sessions,
           avg(duration_ns) / 1e6 AS avg_latency_ms, max(duration_ns) / 1e6 AS max_latency_ms,
           percentile_agg(duration_ns / 1e6) AS latency, count(*) FILTER (WHERE status = 'error') AS error_count,
           sum(coalesce(CAST(payload->>'gen_ai.usage.input_tokens' AS bigint), 0)
               + coalesce(CAST(payload->>'gen_ai.usage.output_tokens' AS bigint), 0)) AS total_tokens
    FROM events
    WHERE signal = 'span' AND (agent IS NOT NULL OR model IS NOT NULL)
    GROUP BY 1, 2, 3
) AS hours
