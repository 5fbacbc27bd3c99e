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

-- Make a month of terms, before the first row of it is written, so that the default partition stays empty but for ids of
-- no sensible time; drop one that has no events any more. Neither waits for a lock for more than 200 ms; the caller tries again.
CREATE FUNCTION affidavit_terms_make(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '200ms' SET timezone = 'UTC' AS $$
DECLARE
    name CONSTANT text := 'affidavit_terms_' || to_char(month, 'YYYYMM');
    low  CONSTANT text := lpad(to_hex(extract(epoch FROM month)::bigint * 1000), 12, '0') || repeat('0', 20);
    high CONSTANT text := lpad(to_hex(extract(epoch FROM month + interval '1 month')::bigint * 1000), 12, '0')
                          || repeat('0', 20);
    grantee text;
BEGIN
    IF month <> date_trunc('month', month) OR month NOT BETWEEN '2000-01-01' AND now() + interval '1 year' THEN
        RAISE EXCEPTION 'no month is made for %', month USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE affidavit_terms INCLUDING ALL)', name);
    EXECUTE format('WITH gone AS (DELETE FROM affidavit_terms_default WHERE id >= %L AND id < %L RETURNING hash, id)'
                   ' INSERT INTO %I SELECT hash, id FROM gone', low, high, name);
    EXECUTE format('ALTER TABLE affidavit_terms ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, low, high);
    -- Who may VACUUM the whole (PostgreSQL 17) may VACUUM each month: erasure frees what it deleted.
    FOR grantee IN
        SELECT quote_ident(pg_get_userbyid(given.grantee)) FROM pg_class, aclexplode(relacl) given
        WHERE oid = 'affidavit_terms'::regclass AND given.privilege_type = 'MAINTAIN' AND given.grantee NOT IN (0, relowner)
    LOOP
        EXECUTE format('GRANT MAINTAIN ON %I TO %s', name, grantee);
    END LOOP;
END
$$;

CREATE FUNCTION affidavit_terms_drop(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '200ms' AS $$
BEGIN
    LOCK TABLE ONLY affidavit_terms IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('DROP TABLE %I', 'affidavit_terms_' || to_char(month, 'YYYYMM'));
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

-- Take the whole index away; the follower makes it anew.
CREATE FUNCTION affidavit_index_discard() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '200ms' AS $$
BEGIN
    LOCK TABLE affidavit_terms, affidavit_hourly, affidavit_emails IN ACCESS EXCLUSIVE MODE;
    DELETE FROM affidavit_index;
    TRUNCATE affidavit_terms, affidavit_hourly, affidavit_emails;
END
$$;

REVOKE ALL ON FUNCTION affidavit_terms_make(date) FROM PUBLIC;
REVOKE ALL ON FUNCTION affidavit_terms_drop(date) FROM PUBLIC;
REVOKE ALL ON FUNCTION affidavit_index_discard() FROM PUBLIC;
