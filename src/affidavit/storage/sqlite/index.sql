-- The index file: may be deleted at any time, the worker makes it anew from the events.

CREATE TABLE affidavit_index (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    version     INTEGER NOT NULL,   -- of this layout; another one is rebuilt
    database_id TEXT    NOT NULL,   -- of the app's file that it follows
    key         BLOB    NOT NULL,   -- 16 random bytes under which all values are hashed
    seq         INTEGER NOT NULL,   -- the watermark: complete up to this place in recording order
    id          BLOB,               -- of the event there, to notice that the app's file was restored
    recorded_at INTEGER             -- of the event there
);

-- Sorted runs, appended and merged; k = keyed_hash8(organization, kind, value) + id,
-- for an address keyed_hash8(organization, 'ip4' or 'ip6') + address + id.
CREATE TABLE affidavit_terms (
    run INTEGER NOT NULL,
    k   BLOB    NOT NULL,
    PRIMARY KEY (run, k)
) WITHOUT ROWID;

-- A run counts once it stands here; what a crash left of an unfinished one is swept.
CREATE TABLE affidavit_runs (
    run    INTEGER PRIMARY KEY,
    level  INTEGER NOT NULL,
    keys   INTEGER NOT NULL,
    events INTEGER NOT NULL,
    low    BLOB    NOT NULL,  -- smallest and greatest id in it
    high   BLOB    NOT NULL
);

CREATE TABLE affidavit_hourly (
    organization TEXT    NOT NULL,
    hour         INTEGER NOT NULL,  -- of occurrence, hours since 1970 UTC
    action       TEXT    NOT NULL,
    outcome      TEXT    NOT NULL,
    severity     TEXT    NOT NULL,
    n            INTEGER NOT NULL,
    PRIMARY KEY (organization, hour, action, outcome, severity)
) WITHOUT ROWID;

-- Addresses lead to actors: the hash is of the case-folded address.
CREATE TABLE affidavit_emails (
    organization TEXT NOT NULL,
    hash         BLOB NOT NULL,
    actor_id     TEXT NOT NULL,
    PRIMARY KEY (organization, hash, actor_id)
) WITHOUT ROWID;
