-- Rows that are about to leave the tables. They have left, and count, once `path` is out of its table: a start that finds
-- a row here looks whether it is.
CREATE TABLE removal (
    path   TEXT    NOT NULL,  -- table and chunk that holds the rows
    reason TEXT    NOT NULL,  -- duplicate, retention, disk_cap, erase
    tenant TEXT    NOT NULL,
    signal TEXT    NOT NULL,
    minute INTEGER NOT NULL,  -- of receiving, seconds since 1970; 0 where it does not matter
    rows   INTEGER NOT NULL,
    PRIMARY KEY (path, reason, tenant, signal, minute)
) WITHOUT ROWID;

-- Rows that have left the tables, but for duplicates: those the ledger counts as such.
CREATE TABLE removed (
    reason TEXT    NOT NULL,
    tenant TEXT    NOT NULL,
    signal TEXT    NOT NULL,
    rows   INTEGER NOT NULL,
    PRIMARY KEY (reason, tenant, signal)
) WITHOUT ROWID;

INSERT INTO removal SELECT path, 'retention', '', 'traces', 0, spans FROM expired WHERE spans > 0;
INSERT INTO removal SELECT path, 'retention', '', 'logs', 0, logs FROM expired WHERE logs > 0;
INSERT INTO removal SELECT path, 'retention', '', 'metrics', 0, points FROM expired WHERE points > 0;
DROP TABLE expired;
