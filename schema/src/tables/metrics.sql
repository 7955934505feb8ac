-- Values per series and one-minute bucket. Late points and open buckets are merged when read, so a row is always whole.
CREATE TABLE metrics (
    id           uuid        NOT NULL,  -- hash of series and bucket
    timestamp    timestamptz NOT NULL,  -- start of the bucket
    time_bucket  interval    NOT NULL,  -- width of the bucket: 1 minute
    asset_id     text        NOT NULL,
    metric_type  text        NOT NULL,  -- gauge, sum, histogram, exponential_histogram, summary
    metric_name  text        NOT NULL,
    tenant_id    text        NOT NULL,
    value_count  bigint      NOT NULL,  -- values; a histogram point counts as many as it recorded
    value_sum    double precision,      -- of a sum: the increase in this bucket
    value_avg    double precision,
    value_min    double precision,
    value_max    double precision,
    value_p50    double precision,      -- within 1% of the value in the raw points
    value_p95    double precision,
    value_p99    double precision,
    value_stddev double precision,      -- population standard deviation
    dimensions   json        NOT NULL,  -- point attributes and identifying resource attributes
    created_at   timestamptz NOT NULL,
    unit         text        NOT NULL,  -- UCUM
    point_count  bigint      NOT NULL,  -- data points that arrived
    sketch       bytea       NOT NULL,  -- mergeable, for approx_percentile
    PRIMARY KEY (id, timestamp)
);
