-- Continuous aggregates that were declared with CREATE MATERIALIZED VIEW. Times are nanoseconds since 1970.
CREATE TABLE continuous_aggregate (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: clients know a view by it
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    query      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (tenant, name)
);
