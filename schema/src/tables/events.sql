-- Every span, span event and log record, from every module.
-- Chunks of one day, partitioned by hash of the tenant.
CREATE TABLE events (
    id              uuid        NOT NULL,  -- span: low half of trace id + span id; log and span event: request digest + position
    timestamp       timestamptz NOT NULL,  -- span start, log time, else observed time
    source_module   text        NOT NULL,  -- telemetry, security, cost, governance, ...
    event_type      text        NOT NULL,  -- span, span_event, log, exception, deployment, ...
    correlation_id  uuid,                  -- the trace id
    parent_event_id uuid,                  -- the event that caused this one directly
    asset_id        text        NOT NULL,  -- service.name, else host.name, else 'unknown'
    severity        text        NOT NULL,  -- trace, debug, info, warning, error, critical
    environment     text,                  -- deployment.environment.name
    tenant_id       text        NOT NULL,
    payload         json        NOT NULL,  -- the item's own attributes, flat; the rest under _otel
    metadata        json,                  -- what Whence added
    created_at      timestamptz NOT NULL,  -- when Whence accepted it
    -- promoted columns, which everyone filters on
    signal          text        NOT NULL,  -- what came in: span, span_event, log
    name            text,                  -- span or event name
    kind            text,                  -- internal, server, client, producer, consumer
    duration_ns     bigint,                -- spans only
    status          text,                  -- unset, ok, error; spans only
    trace_id        text,                  -- 32 hexadecimal digits
    span_id         text,                  -- 16 hexadecimal digits
    body            text,                  -- of a log record
    resource        json        NOT NULL,  -- resource attributes, flat
    agent           text,                  -- gen_ai.agent.name or id
    model           text,                  -- gen_ai.response.model, else gen_ai.request.model
    timestamp_nanos smallint    NOT NULL,  -- nanoseconds below the microsecond of timestamp
    PRIMARY KEY (id, timestamp)
);
