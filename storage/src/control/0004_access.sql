-- Who may come in. Times are nanoseconds since 1970.
CREATE TABLE tenant (
    slug       TEXT    NOT NULL PRIMARY KEY,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

-- A key itself is nowhere: only what proves that somebody has it.
CREATE TABLE api_key (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant          TEXT    NOT NULL REFERENCES tenant (slug),
    name            TEXT    NOT NULL,
    prefix          TEXT    NOT NULL,         -- pk_live_ or pk_test_
    last_characters TEXT    NOT NULL,         -- for people to recognise it
    scopes          TEXT    NOT NULL,         -- of read, write, admin, with commas
    token_hash      BLOB    NOT NULL UNIQUE,  -- HMAC-SHA-256 of the key under the salt
    stored_key      BLOB    NOT NULL,         -- RFC 5802, of SCRAM-SHA-256 with the key as password
    server_key      BLOB    NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER,
    last_used_at    INTEGER
);

-- One row from the first key on, never removed: a server whose keys were all revoked stays closed.
CREATE TABLE access (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    salt        BLOB    NOT NULL,  -- one for all keys: a PostgreSQL client hears it before the server knows its key
    iterations  INTEGER NOT NULL,
    closed_from INTEGER NOT NULL   -- from then on nobody comes in without a key
);
