CREATE TABLE ledger (
    tenant    TEXT    NOT NULL,
    signal    TEXT    NOT NULL,
    minute    INTEGER NOT NULL,  -- start, seconds since 1970
    received  INTEGER NOT NULL,
    stored    INTEGER NOT NULL,
    duplicate INTEGER NOT NULL,
    rejected  INTEGER NOT NULL,
    dropped   INTEGER NOT NULL,
    PRIMARY KEY (tenant, signal, minute)
) WITHOUT ROWID;

CREATE TABLE asset (
    tenant     TEXT    NOT NULL,
    asset_id   TEXT    NOT NULL,
    asset_type TEXT    NOT NULL,
    asset_name TEXT,
    version    TEXT,
    owner_id   TEXT,
    team_id    TEXT,
    tags       TEXT,             -- JSON
    metadata   TEXT,             -- JSON
    created_at INTEGER NOT NULL, -- nanoseconds since 1970, as the other two
    updated_at INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (tenant, asset_id, asset_type)
) WITHOUT ROWID;

-- 'offset' (8 bytes, little-endian): the log offset up to which everything in this database counts.
-- 'series', 'correlator': what metrics and correlator need to go on from there.
CREATE TABLE state (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- Chunks that retention has dropped, or is about to: what they held no longer counts when verifying.
CREATE TABLE expired (
    path   TEXT    NOT NULL PRIMARY KEY,
    spans  INTEGER NOT NULL,
    logs   INTEGER NOT NULL,
    points INTEGER NOT NULL
) WITHOUT ROWID;
