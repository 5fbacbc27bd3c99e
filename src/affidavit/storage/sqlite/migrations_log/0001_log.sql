-- The log: the trees of all organizations. Written by the holder of the worker's lease only, read by everybody.
-- Described in docs/spec/leaf.md and docs/spec/checkpoint.md; what checks each column in docs/spec/coverage.md.

-- The database of events that this log belongs to.
CREATE TABLE affidavit_log (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    database_id TEXT NOT NULL
) STRICT;

-- The queue is the table of events; this is the place up to which every event has its leaf, with what stood there.
CREATE TABLE affidavit_position (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    seq  INTEGER NOT NULL,
    id   BLOB,
    leaf BLOB
) STRICT;
INSERT INTO affidavit_position VALUES (1, 0, NULL, NULL);

-- One row a tree. The origin is host/hex/incarnation. The frontier is the compact range of all leaves, 32 bytes a hash.
CREATE TABLE affidavit_trees (
    tree         INTEGER PRIMARY KEY,
    organization TEXT    NOT NULL,
    host         TEXT    NOT NULL,
    hex          TEXT    NOT NULL CHECK (length(hex) = 32),
    incarnation  INTEGER NOT NULL CHECK (incarnation >= 1),
    first_seq    INTEGER,
    size         INTEGER NOT NULL,
    frontier     BLOB    NOT NULL,
    published    INTEGER NOT NULL DEFAULT 0,
    kept         INTEGER NOT NULL DEFAULT 0,   -- checkpoints that stand below: one that was taken away is missed
    UNIQUE (organization, incarnation),
    UNIQUE (hex, incarnation)
) STRICT;
CREATE INDEX affidavit_trees_grown ON affidavit_trees (tree) WHERE published <> size;

CREATE TABLE affidavit_leaves (
    tree INTEGER NOT NULL,
    idx  INTEGER NOT NULL,
    seq  INTEGER NOT NULL,
    hash BLOB    NOT NULL,
    PRIMARY KEY (tree, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX affidavit_leaves_seq ON affidavit_leaves (seq);

-- One row for each full tile: the hash of its 256 entries, which stand one level below (level 1: of 256 leaves).
CREATE TABLE affidavit_tiles (
    tree  INTEGER NOT NULL,
    level INTEGER NOT NULL CHECK (level >= 1),
    idx   INTEGER NOT NULL,
    hash  BLOB    NOT NULL,
    PRIMARY KEY (tree, level, idx)
) STRICT, WITHOUT ROWID;

-- Signed notes. The newest of each tree, the first of each hour, and every cosigned one.
CREATE TABLE affidavit_checkpoints (
    tree      INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    signed_at INTEGER NOT NULL,
    note      BLOB    NOT NULL,
    cosigned  INTEGER NOT NULL CHECK (cosigned IN (0, 1)),
    PRIMARY KEY (tree, size)
) STRICT, WITHOUT ROWID;

CREATE TABLE affidavit_manifests (
    hash         BLOB PRIMARY KEY CHECK (length(hash) = 32),
    organization TEXT    NOT NULL,
    kind         TEXT    NOT NULL CHECK (kind IN ('erasure', 'prune')),
    body         BLOB    NOT NULL,
    note         BLOB    NOT NULL,
    made_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE affidavit_alarms (
    kind      TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    raised_at INTEGER NOT NULL,
    text      TEXT    NOT NULL,
    PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;
