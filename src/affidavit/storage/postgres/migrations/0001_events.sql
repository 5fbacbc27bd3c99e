-- The event table in its final stored form, append-only by triggers; the queue; what SQL users see. Described in
-- docs/spec/stored-form.md. Names are not qualified: migrations run with the schema first in search_path, and functions
-- keep that path (FROM CURRENT).

CREATE TABLE affidavit_events (
    id           uuid    NOT NULL,                   -- UUIDv7: holds occurred_at to the microsecond
    version      integer NOT NULL,                   -- of the stored form
    organization text    COLLATE "C" NOT NULL,
    project      text    COLLATE "C",
    action       text    COLLATE "C" NOT NULL,
    outcome      text    COLLATE "C" NOT NULL CHECK (outcome IN ('success', 'failure')),
    severity     text    COLLATE "C" NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    source       text    COLLATE "C" NOT NULL,
    imported     boolean NOT NULL,
    parent_id    uuid,
    facts        text,
    actor_id     text    COLLATE "C",                -- repeats actor.actor.id for its index
    actor        text,
    resources    text,
    context      text,
    changes      text,
    details      text,
    secret       bytea   CHECK (octet_length(secret) = 32),
    remains      text,
    recorded_at  bigint  NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    CHECK ((secret IS NULL) <> (remains IS NULL))
) PARTITION BY RANGE (id);

CREATE UNIQUE INDEX affidavit_events_id ON affidavit_events (organization, id);
CREATE INDEX affidavit_events_actor ON affidavit_events (organization, actor_id, id, outcome, severity);
CREATE INDEX affidavit_events_action ON affidavit_events (organization, action, id, outcome, severity);
CREATE INDEX affidavit_events_failure ON affidavit_events (organization, id) WHERE outcome = 'failure';
CREATE INDEX affidavit_events_severity ON affidavit_events (organization, severity, id) WHERE severity <> 'info';

-- Never fails the app: what belongs to no month that was made goes here, and is moved to its month later.
CREATE TABLE affidavit_events_default PARTITION OF affidavit_events DEFAULT;

-- The queue. A row is written with its event, in the same transaction, and deleted when the event has its leaf.
-- Transactions commit out of the order of seq, which is why this is a table and not a position.
CREATE TABLE affidavit_pending (
    seq          bigint GENERATED ALWAYS AS IDENTITY,
    organization text COLLATE "C" NOT NULL,
    id           uuid NOT NULL
) WITH (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0,
        autovacuum_vacuum_insert_threshold = -1, fillfactor = 100);
CREATE UNIQUE INDEX affidavit_pending_seq ON affidavit_pending (seq);

-- What erasure, expiry, pruning and the emptying of the default partition are allowed to do, and for how long: a row
-- here is made and taken away in the transaction that needs it.
CREATE TABLE affidavit_permit (
    organization text COLLATE "C" NOT NULL,          -- move: '*'
    kind         text NOT NULL CHECK (kind IN ('erasure', 'expiry', 'prune', 'move')),
    reference    text NOT NULL,                      -- manifest hash, id of the policy event; move: the month's table
    from_id      uuid,                               -- prune: closed range of ids; move: from here to below the other
    to_id        uuid,
    PRIMARY KEY (organization, kind, reference)
);

CREATE FUNCTION affidavit_events_keep() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE'
       AND NEW.id = OLD.id AND NEW.version = OLD.version AND NEW.organization = OLD.organization
       AND NEW.project IS NOT DISTINCT FROM OLD.project AND NEW.action = OLD.action
       AND NEW.outcome = OLD.outcome AND NEW.severity = OLD.severity AND NEW.source = OLD.source
       AND NEW.imported = OLD.imported AND NEW.parent_id IS NOT DISTINCT FROM OLD.parent_id
       AND NEW.facts IS NOT DISTINCT FROM OLD.facts AND NEW.recorded_at = OLD.recorded_at
       AND (NEW.actor_id IS NULL OR NEW.actor_id IS NOT DISTINCT FROM OLD.actor_id)
       AND (NEW.actor IS NULL OR NEW.actor IS NOT DISTINCT FROM OLD.actor)
       AND (NEW.resources IS NULL OR NEW.resources IS NOT DISTINCT FROM OLD.resources)
       AND (NEW.context IS NULL OR NEW.context IS NOT DISTINCT FROM OLD.context)
       AND (NEW.changes IS NULL OR NEW.changes IS NOT DISTINCT FROM OLD.changes)
       AND (NEW.details IS NULL OR NEW.details IS NOT DISTINCT FROM OLD.details)
       AND NEW.secret IS NULL AND NEW.remains IS NOT NULL
       AND EXISTS (SELECT FROM affidavit_permit
                   WHERE organization = OLD.organization AND kind IN ('erasure', 'expiry'))
    THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND EXISTS (
        SELECT FROM affidavit_permit
        WHERE organization = OLD.organization AND kind = 'prune' AND OLD.id BETWEEN from_id AND to_id)
    THEN
        RETURN OLD;
    END IF;
    -- A row leaves the default partition only when the same row stands in its month, which has this name meanwhile.
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'affidavit_events_default'
       AND EXISTS (SELECT FROM affidavit_permit WHERE kind = 'move' AND OLD.id >= from_id AND OLD.id < to_id)
    THEN
        IF EXISTS (SELECT FROM affidavit_events_arriving arrived
                   WHERE arrived.organization = OLD.organization AND arrived.id = OLD.id AND arrived::record *= OLD)
        THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'affidavit_events is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER affidavit_events_keep BEFORE UPDATE OR DELETE ON affidavit_events
    FOR EACH ROW EXECUTE FUNCTION affidavit_events_keep();

-- Row triggers are cloned to every partition, this one is not: each month gets its own.
CREATE FUNCTION affidavit_events_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'affidavit_events is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER affidavit_events_truncate BEFORE TRUNCATE ON affidavit_events
    FOR EACH STATEMENT EXECUTE FUNCTION affidavit_events_truncate();
CREATE TRIGGER affidavit_events_truncate BEFORE TRUNCATE ON affidavit_events_default
    FOR EACH STATEMENT EXECUTE FUNCTION affidavit_events_truncate();

-- Facts about this database: its random name, whether it holds demo data.
CREATE TABLE affidavit_meta (
    key   text PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO affidavit_meta VALUES ('database_id', replace(gen_random_uuid()::text, '-', ''));
