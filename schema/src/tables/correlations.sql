-- Directed links between single events: primary led to related.
CREATE TABLE correlations (
    id                uuid        NOT NULL,  -- hash of type, relation and the two ids
    timestamp         timestamptz NOT NULL,  -- of the related event
    correlation_type  text        NOT NULL,  -- causal, temporal, anomaly, ...
    primary_event_id  uuid        NOT NULL,  -- the cause
    related_event_id  uuid        NOT NULL,  -- the effect
    strength          real        NOT NULL,  -- 0 to 1; of a call: how much of the caller's time it covers
    confidence        real        NOT NULL,  -- 0 to 1
    tenant_id         text        NOT NULL,
    metadata          json        NOT NULL,  -- relation, method, lag_ns and evidence
    created_at        timestamptz NOT NULL,
    primary_timestamp timestamptz NOT NULL,
    related_timestamp timestamptz NOT NULL,  -- equals timestamp
    PRIMARY KEY (id, timestamp)
);
