-- The guard: what was signed, kept apart from the database. Nothing is deleted from it.

CREATE TABLE affidavit_guard (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    version     INTEGER NOT NULL,
    database_id TEXT    NOT NULL
) STRICT;

-- One row a tree: the last checkpoint that was accepted. Size 0: the tree was begun, nothing of it was signed yet.
CREATE TABLE affidavit_guard_heads (
    origin       TEXT    NOT NULL PRIMARY KEY,
    organization TEXT    NOT NULL,
    incarnation  INTEGER NOT NULL CHECK (incarnation >= 1),
    size         INTEGER NOT NULL CHECK (size >= 0),
    root         BLOB    NOT NULL CHECK (length(root) = 32)
) STRICT, WITHOUT ROWID;
CREATE INDEX affidavit_guard_organizations ON affidavit_guard_heads (organization, incarnation);

CREATE TABLE affidavit_guard_manifests (
    hash         BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    organization TEXT    NOT NULL,
    kind         TEXT    NOT NULL CHECK (kind IN ('erasure', 'prune')),
    body         BLOB    NOT NULL,
    note         BLOB    NOT NULL,
    made_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
