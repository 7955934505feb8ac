-- One row for each time this data came out of a backup. Times are nanoseconds since 1970.
CREATE TABLE restore (
    restored_at   INTEGER NOT NULL,
    restore_point TEXT    NOT NULL,
    taken_at      INTEGER NOT NULL,  -- when the backup was made
    cut_at        INTEGER            -- what was accepted later was left out; NULL: nothing was
);
