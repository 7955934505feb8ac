-- Calls of AI agents and models by day, for each model.
CREATE MATERIALIZED VIEW daily_metrics (
    day            timestamptz,       -- start of the day, UTC
    workspace_id   text,              -- the tenant
    agent          text,
    model          text,
    total_requests bigint,
    unique_users   bigint,            -- estimated
    total_tokens   bigint,
    avg_latency_ms double precision,
    error_count    bigint
) AS
SELECT time_bucket('1 day', timestamp), tenant_id, agent, model, count(*),
       CAST(approx_distinct(payload->>'user.id') AS bigint),
       sum(coalesce(CAST(payload->>'gen_ai.usage.input_tokens' AS bigint), 0)
           + coalesce(CAST(payload->>'gen_ai.usage.output_tokens' AS bigint), 0)),
       avg(duration_ns) / 1e6, count(*) FILTER (WHERE status = 'error')
FROM events
WHERE signal = 'span' AND (agent IS NOT NULL OR model IS NOT NULL)
GROUP BY 1, 2, 3, 4
