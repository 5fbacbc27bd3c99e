-- The log: the trees of all organizations, in the database of the events. Written by the holder of the worker's lease
-- only, read by everybody. Described in docs/spec/leaf.md and docs/spec/checkpoint.md; what checks each column in
-- docs/spec/coverage.md.

-- How far sequencing has come: the position that was given last, with the event and the leaf that got it. A batch locks
-- this row first, so that of two sequencers one waits and then sees that it came second.
CREATE TABLE affidavit_position (
    one          integer PRIMARY KEY CHECK (one = 1),
    seq          bigint NOT NULL,
    organization text COLLATE "C",
    id           uuid,
    leaf         bytea
) WITH (fillfactor = 50);
INSERT INTO affidavit_position VALUES (1, 0, NULL, NULL, NULL);

-- One row a tree. The origin is host/hex/incarnation. The frontier is the compact range of all leaves, 32 bytes a hash.
CREATE TABLE affidavit_trees (
    tree         integer PRIMARY KEY,
    organization text    COLLATE "C" NOT NULL,
    host         text    COLLATE "C" NOT NULL,
    hex          text    COLLATE "C" NOT NULL CHECK (length(hex) = 32),
    incarnation  integer NOT NULL CHECK (incarnation >= 1),
    first_seq    bigint,
    size         bigint  NOT NULL,
    frontier     bytea   NOT NULL,
    published    bigint  NOT NULL DEFAULT 0,
    kept         bigint  NOT NULL DEFAULT 0,         -- checkpoints that stand below: one that was taken away is missed
    UNIQUE (organization, incarnation),
    UNIQUE (hex, incarnation)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.1,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX affidavit_trees_grown ON affidavit_trees (tree) WHERE published <> size;

-- One row a leaf. seq is the position of the event in recording order, over all organizations: 1, 2, 3, ...
CREATE TABLE affidavit_leaves (
    tree integer NOT NULL,
    idx  bigint  NOT NULL,
    seq  bigint  NOT NULL,
    id   uuid    NOT NULL,
    hash bytea   NOT NULL CHECK (octet_length(hash) = 32)
);
CREATE UNIQUE INDEX affidavit_leaves_idx ON affidavit_leaves (tree, idx);
CREATE UNIQUE INDEX affidavit_leaves_id ON affidavit_leaves (tree, id);
CREATE UNIQUE INDEX affidavit_leaves_seq ON affidavit_leaves (seq);
ALTER TABLE affidavit_leaves ALTER COLUMN id SET (n_distinct = -1), ALTER COLUMN seq SET (n_distinct = -1);

-- One row for each full tile: the hash of its 256 entries, which stand one level below (level 1: of 256 leaves).
CREATE TABLE affidavit_tiles (
    tree  integer NOT NULL,
    level integer NOT NULL CHECK (level >= 1),
    idx   bigint  NOT NULL,
    hash  bytea   NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (tree, level, idx)
);

-- Signed notes. The newest of each tree, the first of each hour, and every cosigned one.
CREATE TABLE affidavit_checkpoints (
    tree      integer NOT NULL,
    size      bigint  NOT NULL,
    signed_at bigint  NOT NULL,                      -- microseconds since 1970 UTC, as all times here
    note      bytea   NOT NULL,
    cosigned  boolean NOT NULL,
    PRIMARY KEY (tree, size)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE affidavit_manifests (
    hash         bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    organization text   COLLATE "C" NOT NULL,
    kind         text   COLLATE "C" NOT NULL CHECK (kind IN ('erasure', 'prune')),
    body         bytea  NOT NULL,
    note         bytea  NOT NULL,
    made_at      bigint NOT NULL
);

CREATE TABLE affidavit_alarms (
    kind      text   COLLATE "C" NOT NULL,
    subject   text   COLLATE "C" NOT NULL,
    raised_at bigint NOT NULL,
    text      text   COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, subject)
);

-- Who does a piece of the worker's work, and until when by this database's clock. The fence grows with each new holder.
CREATE TABLE affidavit_leases (
    name   text   COLLATE "C" PRIMARY KEY,
    holder text   COLLATE "C" NOT NULL,
    fence  bigint NOT NULL,
    until  bigint NOT NULL
) WITH (fillfactor = 50);
