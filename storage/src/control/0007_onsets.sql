-- Onsets of trouble of the hours of the last day, and the links that were stored of those hours. Times are nanoseconds
-- since 1970; `created_at` is when a row was put here, by this machine's clock.
CREATE TABLE onset_hour (
    tenant     TEXT    NOT NULL,
    hour       INTEGER NOT NULL,  -- its start
    content    TEXT    NOT NULL,  -- JSON: assets, their onsets, and who calls whom
    links      BLOB,              -- Arrow IPC stream of stored columns of `correlations`; NULL when they need not be kept
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, hour)
) WITHOUT ROWID;
