-- The search index: what can be made anew from the events and the leaves at any time. Written by the holder of the
-- worker's lease only. Emptied by TRUNCATE, which no snapshot sees: a reader locks affidavit_terms before it reads.

-- How far it has come. No row: there is no index.
CREATE TABLE affidavit_index (
    one         integer PRIMARY KEY CHECK (one = 1),
    version     integer NOT NULL,                    -- of this layout; another one is made anew
    key         bytea   NOT NULL CHECK (octet_length(key) = 16), -- random; all values are hashed under it
    seq         bigint  NOT NULL,                    -- the watermark: terms and addresses are complete up to this place
    id          uuid,                                -- of the event there, to notice that the log was cut back
    recorded_at bigint,                              -- of the event there
    counted     bigint  NOT NULL                     -- hourly counts are complete up to this place, at most seq
) WITH (fillfactor = 50);

-- A row for each value of an event that is looked up. hash: 8 bytes of a keyed hash of organization, kind and value,
-- for an IPv4 address 4 bytes of one of the organization, then the address.
CREATE TABLE affidavit_terms (
    hash bigint NOT NULL,
    id   uuid   NOT NULL
) PARTITION BY RANGE (id);
CREATE UNIQUE INDEX affidavit_terms_hash ON affidavit_terms (hash, id);
CREATE TABLE affidavit_terms_default PARTITION OF affidavit_terms DEFAULT;

-- Makes the terms' month beside a month of events; what the default partition has of it goes there. Within the
-- caller's transaction, which has a lock_timeout.
CREATE FUNCTION affidavit_terms_month(name text, low uuid, high uuid) RETURNS void
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE affidavit_terms INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', 'affidavit_terms_' || name);
    LOCK TABLE affidavit_terms_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('WITH gone AS (DELETE FROM affidavit_terms_default WHERE id >= %L AND id < %L RETURNING hash, id)'
                   ' INSERT INTO %I SELECT hash, id FROM gone', low, high, 'affidavit_terms_' || name);
    EXECUTE format('ALTER TABLE affidavit_terms ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   'affidavit_terms_' || name, low, high);
END
$$;

CREATE TABLE affidavit_hourly (
    organization text    COLLATE "C" NOT NULL,
    hour         integer NOT NULL,                   -- of occurrence, hours since 1970 UTC
    action       text    COLLATE "C" NOT NULL,
    outcome      text    COLLATE "C" NOT NULL,
    severity     text    COLLATE "C" NOT NULL,
    n            bigint  NOT NULL,
    PRIMARY KEY (organization, hour, action, outcome, severity)
) WITH (fillfactor = 70);

-- Addresses lead to actors: the hash is of the case-folded address.
CREATE TABLE affidavit_emails (
    organization text  COLLATE "C" NOT NULL,
    hash         bytea NOT NULL,
    actor_id     text  COLLATE "C" NOT NULL,
    PRIMARY KEY (organization, hash, actor_id)
);
