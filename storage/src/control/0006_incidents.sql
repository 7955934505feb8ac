-- What the correlator concludes and has to know again after a restart. Times are nanoseconds since 1970; `created_at` and
-- `written_at` are when a row was first and last put here, by this machine's clock.
CREATE TABLE incident (
    tenant        TEXT    NOT NULL,
    id            BLOB    NOT NULL,  -- 16 bytes, big-endian
    opened        INTEGER NOT NULL,
    closed        INTEGER,           -- NULL while it is open
    severity      REAL,              -- standard deviations; NULL is not a number
    title         TEXT    NOT NULL,
    asset         TEXT,
    cause_kind    TEXT,
    confidence    REAL,
    affected      TEXT    NOT NULL,  -- JSON array of assets
    first_symptom BLOB,              -- 16 bytes, big-endian
    explanation   TEXT    NOT NULL,
    updated_at    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    written_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

CREATE INDEX incident_opened ON incident (tenant, opened);

CREATE TABLE log_template (
    tenant     TEXT    NOT NULL,
    id         INTEGER NOT NULL,     -- given by the correlator
    asset      TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

CREATE INDEX log_template_last_seen ON log_template (tenant, last_seen);
