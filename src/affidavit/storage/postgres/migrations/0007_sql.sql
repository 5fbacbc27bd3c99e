-- More for people who come with SQL: many events in one call, and a view to read from. Described in docs/howto/sql.md.

-- The same for up to 1,000 events at once: one array for each argument, null where all its values are. Returns one row for
-- each event, in their order. All or nothing.
CREATE FUNCTION affidavit_record_many_v1(
    organization text[], action text[], occurred_at timestamptz[] DEFAULT NULL, outcome text[] DEFAULT NULL,
    severity text[] DEFAULT NULL, source text[] DEFAULT NULL, project text[] DEFAULT NULL, parent_id uuid[] DEFAULT NULL,
    idempotency_key text[] DEFAULT NULL, actor text[] DEFAULT NULL, resources text[] DEFAULT NULL,
    context text[] DEFAULT NULL, changes text[] DEFAULT NULL, details text[] DEFAULT NULL, secret bytea[] DEFAULT NULL,
    id uuid[] DEFAULT NULL
) RETURNS SETOF affidavit_recorded LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    clock timestamptz := clock_timestamp();
    now bigint := (extract(epoch FROM clock) * 1000000)::bigint;
    many integer := cardinality(organization);
    -- Times that nobody gave are consecutive microseconds that end now, so none lies ahead of recorded_at.
    moment bigint := now - many;
    batch affidavit_events[] := '{}';
    came affidavit_events;
    said record;
    at text;
    size bigint := 0;
    fresh text[];
    checked boolean;
BEGIN
    IF many IS NULL OR many > 1000 OR many <> ANY (ARRAY[
        coalesce(cardinality(action), many), coalesce(cardinality(occurred_at), many),
        coalesce(cardinality(outcome), many), coalesce(cardinality(severity), many),
        coalesce(cardinality(source), many), coalesce(cardinality(project), many),
        coalesce(cardinality(parent_id), many), coalesce(cardinality(idempotency_key), many),
        coalesce(cardinality(actor), many), coalesce(cardinality(resources), many),
        coalesce(cardinality(context), many), coalesce(cardinality(changes), many),
        coalesce(cardinality(details), many), coalesce(cardinality(secret), many), coalesce(cardinality(id), many)])
    THEN
        checked := affidavit_refuse('/events', 'count',
            'must be at most 1000, and every array must have as many elements as organization or be null');
    END IF;
    FOR said IN
        SELECT * FROM unnest(organization, action, occurred_at, outcome, severity, source, project, parent_id,
            idempotency_key, actor, resources, context, changes, details, secret, id)
        WITH ORDINALITY AS said(organization, action, occurred_at, outcome, severity, source, project, parent_id,
            idempotency_key, actor, resources, context, changes, details, secret, id, number)
    LOOP
        at := '/events/' || said.number - 1;
        came.version := 1;
        came.imported := false;
        came.recorded_at := now;
        came.organization := said.organization;
        came.action := said.action;
        came.outcome := coalesce(said.outcome, 'success');
        came.severity := coalesce(said.severity, 'info');
        came.source := coalesce(said.source, 'sql');
        came.project := said.project;
        came.parent_id := said.parent_id;
        came.actor := coalesce(btrim(said.actor, E' \t\n\r'), '{}');
        came.resources := coalesce(btrim(said.resources, E' \t\n\r'), '{}');
        came.context := coalesce(btrim(said.context, E' \t\n\r'), '{}');
        came.changes := coalesce(btrim(said.changes, E' \t\n\r'), '{}');
        came.details := coalesce(btrim(said.details, E' \t\n\r'), '{}');
        checked := affidavit_check_words(
            at, came.organization, came.action, came.outcome, came.severity, came.source, came.project);
        came.actor_id := affidavit_check_groups(
            at, came.actor, came.resources, came.context, came.changes, came.details);
        came.secret := affidavit_check_secret(at, said.secret);
        moment := moment + 1;
        came.id := affidavit_identify(
            at, came.organization, said.occurred_at, said.idempotency_key, said.id, clock, moment);
        size := size + octet_length(came.actor) + octet_length(came.resources) + octet_length(came.context)
            + octet_length(came.changes) + octet_length(came.details);
        batch[said.number] := came;
    END LOOP;
    IF size > 16777216 THEN
        checked := affidavit_refuse('/events', 'too_large', 'are ' || size || ' bytes; at most 16777216 are allowed');
    END IF;
    IF idempotency_key IS NULL AND id IS NULL THEN
        INSERT INTO affidavit_events SELECT * FROM unnest(batch);
        INSERT INTO affidavit_pending (organization, id) SELECT b.organization, b.id FROM unnest(batch) AS b;
        RETURN QUERY SELECT b.id, false FROM unnest(batch) AS b;
        RETURN;
    END IF;
    -- In the order of ids: two batches with the same events must not wait for each other.
    WITH made AS (
        INSERT INTO affidavit_events SELECT * FROM unnest(batch) AS b ORDER BY b.organization, b.id
        ON CONFLICT (organization, id) DO NOTHING RETURNING organization, id
    ), queued AS (
        INSERT INTO affidavit_pending (organization, id) SELECT made.organization, made.id FROM made
    )
    SELECT coalesce(array_agg(made.organization || '/' || made.id), '{}') INTO fresh FROM made;
    FOR number IN 1 .. many LOOP
        came := batch[number];
        IF came.organization || '/' || came.id = ANY (fresh) THEN
            fresh := array_remove(fresh, came.organization || '/' || came.id);
            RETURN NEXT (came.id, false)::affidavit_recorded;
        ELSE
            checked := affidavit_check_same('/events/' || number - 1, came);
            RETURN NEXT (came.id, true)::affidavit_recorded;
        END IF;
    END LOOP;
END
$$;

-- For queries: the smallest id of a moment, so that a range of time is a range of ids, which is indexed.
CREATE FUNCTION affidavit_first_id(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT affidavit_make_id((extract(epoch FROM moment) * 1000000)::bigint, 0)
$$;

-- For people who come with SQL. Times by affidavit_first_id: WHERE id >= affidavit_first_id('2026-11-01').
DO $$
BEGIN
    IF to_regclass(quote_ident(current_schema()) || '.audit_logs') IS NOT NULL THEN
        RAISE WARNING 'the name audit_logs is taken in schema %; the view for readers was left out', current_schema();
        RETURN;
    END IF;
    CREATE VIEW audit_logs AS
    SELECT
        e.id,
        timestamptz 'epoch' + affidavit_microseconds(e.id) * interval '1 microsecond' AS "timestamp",
        e.organization, e.project, e.action, e.outcome, e.severity, e.source,
        person.actor #>> '{actor,type}' AS actor_type,
        e.actor_id,
        person.actor #>> '{actor,name}' AS actor_name,
        person.actor #>> '{actor,email}' AS actor_email,
        affidavit_json(e.resources) #>> '{resources,0,type}' AS resource_type,
        affidavit_json(e.resources) #>> '{resources,0,id}' AS resource_id,
        affidavit_json(e.context) ->> 'ip' AS ip,
        e.details
    FROM affidavit_events AS e, LATERAL (SELECT affidavit_json(e.actor)) AS person(actor);
    COMMENT ON VIEW audit_logs IS 'Affidavit: recorded events, for people who come with SQL (docs/howto/sql.md)';
END
$$;
