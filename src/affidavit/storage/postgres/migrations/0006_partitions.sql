-- Months of the event table, closed ranges of ids, and what erasure must still free. The functions belong to the role that
-- migrates, so that a server may make and drop months without owning a table. None of them waits for a lock for more than
-- 200 ms: whoever records would wait behind it. The caller tries again.

-- The months that are attached, in the same transaction as the table that is attached or dropped, so that a statement
-- sees here what it sees there. A month that is being filled from the default partition begins late.
CREATE TABLE affidavit_months (
    part text COLLATE "C" PRIMARY KEY,               -- name of the partition
    low  uuid NOT NULL UNIQUE,                       -- smallest id of it
    high uuid NOT NULL UNIQUE                        -- beyond its greatest id
);

-- Grows with each change of affidavit_months: whoever remembers them asks for this in the statement that relies on them.
CREATE TABLE affidavit_partitioning (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint  NOT NULL
) WITH (fillfactor = 50);
INSERT INTO affidavit_partitioning VALUES (true, 1);

-- Partitions from which values were taken and that were not vacuumed since; how often that happened.
CREATE TABLE affidavit_unfreed (
    part  text COLLATE "C" PRIMARY KEY,
    marks bigint NOT NULL DEFAULT 1
);
-- A row is written and deleted here to find out whether an open transaction keeps what was deleted before it.
CREATE TABLE affidavit_freed (
    probe integer NOT NULL
) WITH (autovacuum_enabled = false);
-- Changed with each closed range: a recording transaction whose snapshot is older fails on it.
CREATE TABLE affidavit_closing (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    ranges bigint  NOT NULL
);
INSERT INTO affidavit_closing VALUES (true, 0);

-- Where a month begins among ids: its first millisecond, and nothing of a version, so that every id lies in some month.
CREATE FUNCTION affidavit_month_start(month date) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(extract(epoch FROM month)::bigint * 1000), 12, '0') || repeat('0', 20))::uuid
$$;

-- The month that an id lies in.
CREATE FUNCTION affidavit_month_of(id uuid) RETURNS date LANGUAGE sql IMMUTABLE AS $$
    SELECT date_trunc('month', timestamp 'epoch' + interval '1 second' *
        (('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000))::date
$$;

-- What erasure, expiry and pruning may not do while a legal hold stands; an erasure may pass, and so may a row that only
-- moves to its month. Both look within their transactions, beside what they looked at before they began.
CREATE FUNCTION affidavit_events_held() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM affidavit_holds
               WHERE organization = OLD.organization AND released_at IS NULL
                 AND (class = '*' OR class = OLD.action
                      OR (right(class, 2) = '.*' AND starts_with(OLD.action, left(class, -1)))))
       AND NOT EXISTS (SELECT FROM affidavit_permit
                       WHERE (TG_OP = 'UPDATE' AND kind = 'erasure' AND organization = OLD.organization)
                          OR (TG_OP = 'DELETE' AND kind = 'move'))
    THEN
        RAISE EXCEPTION 'a legal hold keeps this event' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER affidavit_events_held BEFORE UPDATE OR DELETE ON affidavit_events
    FOR EACH ROW EXECUTE FUNCTION affidavit_events_held();

-- Stands as trigger affidavit_events_closed on those partitions only that a closed range reaches into, so that nobody else
-- pays for it. DETAIL names all closed ranges of the organization, for whoever has to name the events of a batch.
CREATE FUNCTION affidavit_events_closed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    beyond uuid;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM FROM affidavit_closing WHERE one FOR SHARE;
    END IF;
    SELECT to_id INTO beyond FROM affidavit_pruned
    WHERE organization = NEW.organization AND from_id <= NEW.id ORDER BY from_id DESC LIMIT 1;
    IF beyond >= NEW.id AND NOT EXISTS (SELECT FROM affidavit_permit WHERE kind = 'move') THEN
        RAISE EXCEPTION 'the id % lies in a pruned range: no event may be recorded in it again', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'affidavit_pruned',
                  DETAIL = json_build_object(NEW.organization, (
                      SELECT json_agg(json_build_array(from_id, to_id) ORDER BY from_id)
                      FROM affidavit_pruned WHERE organization = NEW.organization));
    END IF;
    RETURN NEW;
END
$$;

-- Close a range of ids: nothing may be recorded in it from the end of the caller's transaction on. Waits for every
-- transaction that has written to one of its partitions, so that none can come late. How many events stand in it.
CREATE FUNCTION affidavit_range_close(of_organization text, first uuid, last uuid, of_manifest bytea) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '200ms' AS $$
DECLARE
    partition text;
    standing bigint;
BEGIN
    -- Months come and go behind this lock; then from the oldest to the default one, the same way each time.
    LOCK TABLE affidavit_months IN SHARE ROW EXCLUSIVE MODE;
    FOR partition IN
        SELECT part FROM (SELECT part, low FROM affidavit_months WHERE low <= last AND high > first
                          UNION ALL SELECT 'affidavit_events_default', NULL) parts ORDER BY low NULLS LAST
    LOOP
        EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', partition);
        PERFORM affidavit_part_close(partition);
    END LOOP;
    SELECT count(*) INTO standing FROM affidavit_events
    WHERE organization = of_organization AND id BETWEEN first AND last;
    INSERT INTO affidavit_pruned VALUES (of_organization, first, last, of_manifest);
    UPDATE affidavit_closing SET ranges = ranges + 1;
    RETURN standing;
END
$$;

CREATE FUNCTION affidavit_part_close(partition text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = partition::regclass AND tgname = 'affidavit_events_closed') THEN
        EXECUTE format('CREATE TRIGGER affidavit_events_closed BEFORE INSERT ON %I'
                       ' FOR EACH ROW EXECUTE FUNCTION affidavit_events_closed()', partition);
    END IF;
END
$$;

-- Make a month, with what stands of it in the default partition. Of many rows only the newest `most` are moved, and the
-- month begins with the oldest of these; the next call goes on. Every event stands in exactly one partition at any moment.
-- Whether the month is complete, and for how many microseconds others had to wait.
CREATE FUNCTION affidavit_month_make(month date, most integer, OUT complete boolean, OUT held bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '200ms' SET timezone = 'UTC' AS $$
DECLARE
    name   CONSTANT text := 'affidavit_events_' || to_char(month, 'YYYYMM');
    first  CONSTANT uuid := affidavit_month_start(month);
    beyond CONSTANT uuid := affidavit_month_start((month + interval '1 month')::date);
    upto   uuid;                                     -- rows from here on stand in the month already
    begins uuid;                                     -- with which it will begin
    since  timestamptz;
    grantee text;
BEGIN
    complete := true;
    held := 0;
    IF month <> date_trunc('month', month) OR month NOT BETWEEN '2000-01-01' AND now() + interval '1 year' OR most < 1 THEN
        RAISE EXCEPTION 'no month is made for %, % rows at once', month, most USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT low INTO upto FROM affidavit_months WHERE part = name;
    IF upto = first THEN
        RETURN;
    END IF;
    LOCK TABLE affidavit_months IN SHARE ROW EXCLUSIVE MODE;
    SELECT low INTO upto FROM affidavit_months WHERE part = name;
    IF upto = first THEN
        RETURN;
    END IF;
    -- While a month is attached, a recorder that has chosen the default partition for it would fail: nobody may be on the
    -- way there. Who reads first and records then must not come between the table and its default partition, either;
    -- everybody locks them in this order. Into months to come nobody records; who did would be waited for.
    IF upto IS NOT NULL OR month <= now() + interval '1 hour'
       OR EXISTS (SELECT FROM affidavit_events_default WHERE id >= first AND id < beyond) THEN
        LOCK TABLE ONLY affidavit_events IN ACCESS EXCLUSIVE MODE;
    END IF;
    since := clock_timestamp();
    IF upto IS NULL THEN
        EXECUTE format('CREATE TABLE %I (LIKE affidavit_events INCLUDING ALL)', name);
        EXECUTE format('CREATE TRIGGER affidavit_events_truncate BEFORE TRUNCATE ON %I'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION affidavit_events_truncate()', name);
        -- Rights on the whole table hold for its months, but for this one (PostgreSQL 17): who may VACUUM.
        FOR grantee IN
            SELECT quote_ident(pg_get_userbyid(given.grantee)) FROM pg_class, aclexplode(relacl) given
            WHERE oid = 'affidavit_events'::regclass AND given.privilege_type = 'MAINTAIN' AND given.grantee NOT IN (0, relowner)
        LOOP
            EXECUTE format('GRANT MAINTAIN ON %I TO %s', name, grantee);
        END LOOP;
        IF EXISTS (SELECT FROM affidavit_pruned WHERE from_id < beyond AND to_id >= first) THEN
            PERFORM affidavit_part_close(name);
        END IF;
        upto := beyond;
    ELSE
        EXECUTE format('ALTER TABLE affidavit_events DETACH PARTITION %I', name);
    END IF;
    SELECT id INTO begins FROM affidavit_events_default
    WHERE id >= first AND id < upto ORDER BY id DESC OFFSET most - 1 LIMIT 1;
    IF begins IS NULL OR NOT EXISTS (SELECT FROM affidavit_events_default WHERE id >= first AND id < begins) THEN
        begins := first;
    END IF;
    IF EXISTS (SELECT FROM affidavit_events_default WHERE id >= begins AND id < upto) THEN
        INSERT INTO affidavit_permit VALUES ('*', 'move', name, begins, upto);
        EXECUTE format('ALTER TABLE %I RENAME TO affidavit_events_arriving', name);
        INSERT INTO affidavit_events_arriving SELECT * FROM affidavit_events_default WHERE id >= begins AND id < upto;
        DELETE FROM affidavit_events_default WHERE id >= begins AND id < upto;
        EXECUTE format('ALTER TABLE affidavit_events_arriving RENAME TO %I', name);
        DELETE FROM affidavit_permit WHERE kind = 'move';
        INSERT INTO affidavit_unfreed VALUES ('affidavit_events_default')
            ON CONFLICT (part) DO UPDATE SET marks = affidavit_unfreed.marks + 1;
    END IF;
    EXECUTE format('ALTER TABLE affidavit_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, begins, beyond);
    INSERT INTO affidavit_months VALUES (name, begins, beyond)
        ON CONFLICT (part) DO UPDATE SET low = excluded.low;
    UPDATE affidavit_partitioning SET version = version + 1;
    complete := begins = first;
    held := extract(epoch FROM clock_timestamp() - since) * 1000000;
END
$$;

-- Drop a month that was pruned to its last row. Whether it was; not while a row stands in it.
CREATE FUNCTION affidavit_month_drop(name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '200ms' AS $$
DECLARE
    stands boolean;
BEGIN
    PERFORM FROM affidavit_months WHERE part = name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO stands;
    IF stands THEN
        RETURN false;
    END IF;
    LOCK TABLE affidavit_months IN SHARE ROW EXCLUSIVE MODE;
    PERFORM FROM affidavit_months WHERE part = name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    LOCK TABLE ONLY affidavit_events IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO stands;
    IF stands THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE affidavit_events DETACH PARTITION %I', name);
    EXECUTE format('DROP TABLE %I', name);
    DELETE FROM affidavit_months WHERE part = name;
    DELETE FROM affidavit_unfreed WHERE part = name;
    UPDATE affidavit_partitioning SET version = version + 1;
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION affidavit_range_close(text, uuid, uuid, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION affidavit_month_make(date, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION affidavit_month_drop(text) FROM PUBLIC;

-- This month and three ahead.
SELECT made.complete
FROM generate_series(0, 3) step,
     affidavit_month_make((date_trunc('month', now() AT TIME ZONE 'UTC') + step * interval '1 month')::date, 1000) made;
