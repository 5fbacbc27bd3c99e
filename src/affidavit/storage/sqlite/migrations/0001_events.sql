-- The event table in its final stored form, append-only by triggers. Described in docs/spec/stored-form.md.
--
-- What an INSERT runs (checks and triggers) calls no function and raises ROLLBACK or IGNORE, never ABORT, and the
-- writer says OR FAIL: any of these makes SQLite copy every page that an INSERT touches into a statement journal.
-- An IN of more than two values would build a table for each row. Both together cost a third of the rate.

CREATE TABLE affidavit_events (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,  -- recording order; one writer at a time makes it commit order
    id           BLOB    NOT NULL CHECK (id >= x'00'),  -- UUIDv7, 16 bytes: holds occurred_at to the microsecond
    version      INTEGER NOT NULL,                   -- of the stored form
    organization TEXT    NOT NULL,
    project      TEXT,
    action       TEXT    NOT NULL,
    outcome      TEXT    NOT NULL CHECK (outcome IN ('success', 'failure')),
    severity     TEXT    NOT NULL CHECK (severity IN ('info', 'warning') OR severity = 'critical'),
    source       TEXT    NOT NULL,
    imported     INTEGER NOT NULL CHECK (imported IN (0, 1)),
    parent_id    BLOB,
    facts        TEXT,
    actor_id     TEXT,                               -- repeats actor.actor.id for its index
    actor        TEXT,
    resources    TEXT,
    context      TEXT,
    changes      TEXT,
    details      TEXT,
    secret       BLOB CHECK (secret >= x'00'),       -- 32 bytes
    remains      TEXT,
    recorded_at  INTEGER NOT NULL,                   -- microseconds since 1970 UTC
    CHECK ((secret IS NULL) <> (remains IS NULL))
);

CREATE UNIQUE INDEX affidavit_events_id ON affidavit_events (organization, id);
CREATE INDEX affidavit_events_actor ON affidavit_events (organization, actor_id, id, outcome, severity);
CREATE INDEX affidavit_events_action ON affidavit_events (organization, action, id, outcome, severity);
CREATE INDEX affidavit_events_failure ON affidavit_events (organization, id) WHERE outcome = 'failure';
CREATE INDEX affidavit_events_severity ON affidavit_events (organization, severity, id) WHERE severity <> 'info';

-- What erasure, expiry and pruning are allowed to do, and for how long: a row here is made and taken away in the
-- transaction that needs it.
CREATE TABLE affidavit_permit (
    organization TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('erasure', 'expiry', 'prune')),
    reference    TEXT NOT NULL,                      -- manifest hash, or the id of the policy event
    from_id      BLOB,                               -- prune: closed range of ids
    to_id        BLOB,
    PRIMARY KEY (organization, kind, reference)
) WITHOUT ROWID;

-- OR REPLACE deletes without a DELETE trigger, so an existing key must never reach the conflict handling.
CREATE TRIGGER affidavit_events_insert_before BEFORE INSERT ON affidavit_events
WHEN EXISTS (SELECT 1 FROM affidavit_events WHERE organization = NEW.organization AND id = NEW.id)
  OR EXISTS (SELECT 1 FROM affidavit_events WHERE seq = NEW.seq)
BEGIN
    SELECT RAISE(ROLLBACK, 'affidavit_events is append-only: this seq exists')
    WHERE EXISTS (SELECT 1 FROM affidavit_events WHERE seq = NEW.seq);
    SELECT RAISE(IGNORE);
END;

-- The sequence's own value is at most 1,000 above its last one, so that the body seldom runs.
CREATE TRIGGER affidavit_events_insert_after AFTER INSERT ON affidavit_events
WHEN NEW.seq - coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'affidavit_events'), 0)
     NOT BETWEEN 1 AND 1000
BEGIN
    SELECT RAISE(ROLLBACK, 'affidavit_events is append-only: seq must come from the sequence')
    WHERE NEW.seq <= coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'affidavit_events'), 0)
       OR NEW.seq > 1000 + coalesce((SELECT max(seq) FROM affidavit_events WHERE seq < NEW.seq), 0);
END;

CREATE TRIGGER affidavit_events_update BEFORE UPDATE ON affidavit_events
BEGIN
    SELECT RAISE(ABORT, 'affidavit_events is append-only')
    WHERE NOT (
        NEW.seq = OLD.seq AND NEW.id = OLD.id AND NEW.version = OLD.version
        AND NEW.organization = OLD.organization AND NEW.project IS OLD.project AND NEW.action = OLD.action
        AND NEW.outcome = OLD.outcome AND NEW.severity = OLD.severity AND NEW.source = OLD.source
        AND NEW.imported = OLD.imported AND NEW.parent_id IS OLD.parent_id AND NEW.facts IS OLD.facts
        AND NEW.recorded_at = OLD.recorded_at
        AND (NEW.actor_id IS NULL OR NEW.actor_id IS OLD.actor_id)
        AND (NEW.actor IS NULL OR NEW.actor IS OLD.actor)
        AND (NEW.resources IS NULL OR NEW.resources IS OLD.resources)
        AND (NEW.context IS NULL OR NEW.context IS OLD.context)
        AND (NEW.changes IS NULL OR NEW.changes IS OLD.changes)
        AND (NEW.details IS NULL OR NEW.details IS OLD.details)
        AND NEW.secret IS NULL AND NEW.remains IS NOT NULL
        AND EXISTS (SELECT 1 FROM affidavit_permit
                    WHERE organization = OLD.organization AND kind IN ('erasure', 'expiry')));
END;

CREATE TRIGGER affidavit_events_delete BEFORE DELETE ON affidavit_events
BEGIN
    SELECT RAISE(ABORT, 'affidavit_events is append-only')
    WHERE NOT EXISTS (SELECT 1 FROM affidavit_permit
                      WHERE organization = OLD.organization AND kind = 'prune'
                        AND OLD.id BETWEEN from_id AND to_id);
END;

-- Facts about this database: its random name, whether it holds demo data.
CREATE TABLE affidavit_meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO affidavit_meta VALUES ('database_id', lower(hex(randomblob(16))));

-- For people who come with SQL. The milliseconds are the first twelve hex digits of the id.
CREATE VIEW audit_logs AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-'
          || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS id,
    strftime('%Y-%m-%dT%H:%M:%fZ', (
          (instr('0123456789ABCDEF', substr(hex(id), 1, 1)) - 1) * 17592186044416
        + (instr('0123456789ABCDEF', substr(hex(id), 2, 1)) - 1) * 1099511627776
        + (instr('0123456789ABCDEF', substr(hex(id), 3, 1)) - 1) * 68719476736
        + (instr('0123456789ABCDEF', substr(hex(id), 4, 1)) - 1) * 4294967296
        + (instr('0123456789ABCDEF', substr(hex(id), 5, 1)) - 1) * 268435456
        + (instr('0123456789ABCDEF', substr(hex(id), 6, 1)) - 1) * 16777216
        + (instr('0123456789ABCDEF', substr(hex(id), 7, 1)) - 1) * 1048576
        + (instr('0123456789ABCDEF', substr(hex(id), 8, 1)) - 1) * 65536
        + (instr('0123456789ABCDEF', substr(hex(id), 9, 1)) - 1) * 4096
        + (instr('0123456789ABCDEF', substr(hex(id), 10, 1)) - 1) * 256
        + (instr('0123456789ABCDEF', substr(hex(id), 11, 1)) - 1) * 16
        + (instr('0123456789ABCDEF', substr(hex(id), 12, 1)) - 1)) / 1000.0, 'unixepoch') AS timestamp,
    organization, project, action, outcome, severity, source,
    json_extract(actor, '$.actor.type') AS actor_type,
    actor_id,
    json_extract(actor, '$.actor.name') AS actor_name,
    json_extract(actor, '$.actor.email') AS actor_email,
    json_extract(resources, '$.resources[0].type') AS resource_type,
    json_extract(resources, '$.resources[0].id') AS resource_id,
    json_extract(context, '$.ip') AS ip,
    details
FROM affidavit_events;
