-- What erasure, retention and the log need beside the events: tasks for the worker, policies, legal holds, pruned ranges.
-- Times are microseconds since 1970 UTC.

-- Work for the holder of the worker's lease, taken up at its next tick; the outcome is written back.
CREATE TABLE affidavit_tasks (
    id           TEXT    NOT NULL PRIMARY KEY,
    kind         TEXT    NOT NULL,
    organization TEXT    NOT NULL,
    request      TEXT    NOT NULL CHECK (json_valid(request)),
    state        TEXT    NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    outcome      TEXT    CHECK (outcome IS NULL OR json_valid(outcome)),
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    started_at   INTEGER,
    ended_at     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX affidavit_tasks_open ON affidavit_tasks (created_at) WHERE state IN ('waiting', 'running');

-- How long the groups of a class of events are kept: an action, `prefix.*`, or `*`; the longest match counts.
CREATE TABLE affidavit_policies (
    organization TEXT    NOT NULL,
    class        TEXT    NOT NULL,
    days         INTEGER CHECK (days IS NULL OR days >= 1),   -- NULL: forever
    PRIMARY KEY (organization, class)
) STRICT, WITHOUT ROWID;

-- A legal hold wins over every policy and over pruning.
CREATE TABLE affidavit_holds (
    id           TEXT    NOT NULL PRIMARY KEY,
    organization TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    class        TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    released_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX affidavit_holds_in_force ON affidavit_holds (organization, class) WHERE released_at IS NULL;

-- Expiry and pruning look at the holds before they begin; these look within their transactions. An erasure may pass.
CREATE TRIGGER affidavit_events_update_held BEFORE UPDATE ON affidavit_events
WHEN NOT EXISTS (SELECT 1 FROM affidavit_permit WHERE organization = OLD.organization AND kind = 'erasure')
BEGIN
    SELECT RAISE(ABORT, 'a legal hold keeps this event')
    FROM affidavit_holds
    WHERE organization = OLD.organization AND released_at IS NULL
      AND (class = '*' OR class = OLD.action
           OR (substr(class, -2) = '.*' AND substr(OLD.action, 1, length(class) - 1) = substr(class, 1, length(class) - 1)));
END;

CREATE TRIGGER affidavit_events_delete_held BEFORE DELETE ON affidavit_events
BEGIN
    SELECT RAISE(ABORT, 'a legal hold keeps this event')
    FROM affidavit_holds
    WHERE organization = OLD.organization AND released_at IS NULL
      AND (class = '*' OR class = OLD.action
           OR (substr(class, -2) = '.*' AND substr(OLD.action, 1, length(class) - 1) = substr(class, 1, length(class) - 1)));
END;

-- Closed ranges of ids: their rows are gone, and none may come back.
CREATE TABLE affidavit_pruned (
    organization TEXT NOT NULL,
    from_id      BLOB NOT NULL,
    to_id        BLOB NOT NULL,
    manifest     BLOB NOT NULL CHECK (length(manifest) = 32),
    PRIMARY KEY (organization, from_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER affidavit_events_insert_pruned BEFORE INSERT ON affidavit_events
WHEN EXISTS (SELECT 1 FROM affidavit_pruned
             WHERE organization = NEW.organization AND from_id <= NEW.id AND to_id >= NEW.id)
BEGIN
    SELECT RAISE(ROLLBACK, 'this range of ids was pruned: no event may be recorded in it again');
END;
