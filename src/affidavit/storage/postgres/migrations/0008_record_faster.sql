-- The checks of affidavit_record_v1 in less time: the same rules, the same errors, in the same order.
--
-- What is counted are brackets and colons, which are one byte each: octet_length knows the bytes of a text, length reads
-- all of it. What holds for nearly every event is asked in one expression, which costs as much as a single step.

CREATE OR REPLACE FUNCTION affidavit_check_words(
    at text, organization text, action text, outcome text, severity text, source text, project text
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    -- Nearly every event: one look, and only where it fails the question which of them it was.
    IF organization ~ '^[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,126}[A-Za-z0-9])?$' AND strpos(organization, '..') = 0
       AND action ~ '^(?!(?:audit|log|access|detection)\.)[a-z0-9_-]+(?:\.[a-z0-9_-]+)+$' AND length(action) <= 128
       AND outcome IN ('success', 'failure') AND severity IN ('info', 'warning', 'critical')
       AND source ~ '^[a-z][a-z0-9_]{0,31}$' AND (project IS NULL OR affidavit_is_name(project))
    THEN
        RETURN true;
    END IF;
    IF organization IS NULL THEN
        RETURN affidavit_refuse(at || '/organization', 'required', 'name the organization that the event belongs to');
    ELSIF NOT affidavit_is_name(organization) THEN
        RETURN affidavit_refuse(at || '/organization', 'pattern', 'must be 1 to 128 of A-Z a-z 0-9 . _ : -, begin and '
            'end with a letter or digit, and hold no ".."', organization);
    ELSIF NOT affidavit_is_name(project) THEN
        RETURN affidavit_refuse(at || '/project', 'pattern', 'must be 1 to 128 of A-Z a-z 0-9 . _ : -, begin and '
            'end with a letter or digit, and hold no ".."', project);
    ELSIF action IS NULL THEN
        RETURN affidavit_refuse(at || '/action', 'required', 'say what happened, such as user.create');
    ELSIF action !~ '^[a-z0-9_-]+(?:\.[a-z0-9_-]+)+$' OR length(action) > 128 THEN
        RETURN affidavit_refuse(at || '/action', 'pattern', 'must be 3 to 128 characters: segments of a-z 0-9 _ - '
            'joined by dots, such as user.create', action);
    ELSIF action ~ '^(?:audit|log|access|detection)\.' THEN
        RETURN affidavit_refuse(at || '/action', 'reserved', 'actions under audit., log., access. and detection. are '
            'the product''s own', action);
    ELSIF outcome NOT IN ('success', 'failure') THEN
        RETURN affidavit_refuse(at || '/outcome', 'enum', 'must be success or failure', outcome);
    ELSIF severity NOT IN ('info', 'warning', 'critical') THEN
        RETURN affidavit_refuse(at || '/severity', 'enum', 'must be info, warning or critical', severity);
    ELSIF source !~ '^[a-z][a-z0-9_]{0,31}$' THEN
        RETURN affidavit_refuse(at || '/source', 'pattern', 'must match [a-z][a-z0-9_]{0,31}', source);
    END IF;
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION affidavit_identify(
    at text, organization text, occurred_at timestamptz, idempotency_key text, id uuid, now timestamptz, moment bigint
) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    checked boolean;
    occurred timestamptz := occurred_at;
    microseconds bigint;
BEGIN
    IF id IS NULL AND idempotency_key IS NULL AND occurred_at IS NULL THEN
        RETURN affidavit_make_id(moment, affidavit_bits(substr(uuid_send(gen_random_uuid()), 9)));
    END IF;
    IF id IS NOT NULL THEN
        IF idempotency_key IS NOT NULL THEN
            checked := affidavit_refuse(at || '/id', 'forbidden', 'and idempotency_key cannot both name the event');
        ELSIF get_byte(uuid_send(id), 6) >> 4 <> 7 OR get_byte(uuid_send(id), 8) >> 6 <> 2 THEN
            checked := affidavit_refuse(at || '/id', 'uuid7', 'must be a UUID of version 7', id::text);
        END IF;
        microseconds := affidavit_microseconds(id);
        occurred := timestamptz 'epoch' + microseconds * interval '1 microsecond';
        IF occurred <> occurred_at THEN
            checked := affidavit_refuse(at || '/id', 'time', 'was not made for the moment of occurred_at', id::text);
        END IF;
    ELSIF idempotency_key IS NOT NULL THEN
        IF length(idempotency_key) NOT BETWEEN 1 AND 255 THEN
            checked := affidavit_refuse(at || '/idempotency_key', 'too_long', 'must be 1 to 255 characters',
                idempotency_key);
        ELSIF occurred_at IS NULL THEN
            checked := affidavit_refuse(at || '/occurred_at', 'required',
                'an idempotency_key needs an explicit occurred_at; the two together are the identity');
        END IF;
    END IF;
    IF occurred > now + interval '5 minutes' THEN
        checked := affidavit_refuse(at || '/occurred_at', 'in_future',
            'must not lie more than 5 minutes ahead of the database''s clock', occurred::text);
    ELSIF occurred < now - interval '720 hours' THEN
        checked := affidavit_refuse(at || '/occurred_at', 'too_old',
            'must not lie more than 30 days back; older events are imported', occurred::text);
    ELSIF id IS NOT NULL THEN
        RETURN id;
    END IF;
    microseconds := coalesce((extract(epoch FROM occurred) * 1000000)::bigint, moment);
    IF idempotency_key IS NULL THEN
        RETURN affidavit_make_id(microseconds, affidavit_bits(substr(uuid_send(gen_random_uuid()), 9)));
    END IF;
    RETURN affidavit_make_id(microseconds, affidavit_bits(sha256(
        affidavit_organization_secret(organization) || convert_to(idempotency_key, 'UTF8'))) >> 2);
END
$$;

CREATE OR REPLACE FUNCTION affidavit_check_context(at text, context jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    checked boolean;
BEGIN
    IF NOT (context - '{ip,user_agent,client,trace_id,span_id,location,ci,request}'::text[] = '{}'
            AND affidavit_is_text(context, 'ip', 100) AND affidavit_is_text(context, 'user_agent', 1000)
            AND affidavit_is_text(context, 'client', 128) AND affidavit_is_text(context, 'trace_id', 128)
            AND affidavit_is_text(context, 'span_id', 128))
    THEN
        checked := affidavit_check_texts(at, context, 0, '{ip,user_agent,client,trace_id,span_id}',
            '{100,1000,128,128,128}', '{location,ci,request}');
    END IF;
    IF context ->> 'ip' !~ '^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.|$)){4}$' THEN
        checked := affidavit_check_address(at, context ->> 'ip');
    END IF;
    IF context ?| '{location,ci,request}' THEN
        IF context ? 'location' THEN
            checked := affidavit_check_texts(at || '/location', context -> 'location', 0,
                '{city,region,country,country_code}', '{256,256,256,256}');
        END IF;
        IF context ? 'ci' THEN
            checked := affidavit_check_ci(at || '/ci', context -> 'ci');
        END IF;
        IF context ? 'request' AND NOT coalesce(
            jsonb_typeof(context -> 'request') = 'object'
            AND (context -> 'request') - '{id,method,endpoint,params}'::text[] = '{}'
            AND affidavit_is_text(context -> 'request', 'id', 1024)
            AND affidavit_is_text(context -> 'request', 'method', 64)
            AND affidavit_is_text(context -> 'request', 'endpoint', 4096)
            AND coalesce(jsonb_typeof(context #> '{request,params}') = 'object', true), false)
        THEN
            checked := affidavit_check_request(at || '/request', context -> 'request');
        END IF;
    END IF;
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION affidavit_check_groups(
    at text, actor text, resources text, context text, changes text, details text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    size integer := octet_length(actor) + octet_length(resources) + octet_length(context) + octet_length(changes)
        + octet_length(details) + 700;
    people jsonb;
    things jsonb;
    whence jsonb;
    change jsonb;
    detail jsonb;
    said text;
    again text;
    actor_id text;
    checked boolean;
BEGIN
    IF size > 262144 THEN
        checked := affidavit_refuse(at, 'too_large', 'is ' || size || ' bytes of JSON; at most 262144 are allowed');
    END IF;
    BEGIN
        people := actor::jsonb;
        things := resources::jsonb;
        whence := context::jsonb;
        change := changes::jsonb;
        detail := details::jsonb;
        IF NOT (jsonb_typeof(people) = 'object' AND jsonb_typeof(things) = 'object' AND jsonb_typeof(whence) = 'object'
                AND jsonb_typeof(change) = 'object' AND jsonb_typeof(detail) = 'object') THEN
            RAISE data_exception;
        END IF;
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
        checked := affidavit_check_json(at || '/actor', actor) AND affidavit_check_json(at || '/resources', resources)
            AND affidavit_check_json(at || '/context', context) AND affidavit_check_json(at || '/changes', changes)
            AND affidavit_check_json(at || '/details', details);
    END;
    -- Looked at before anything writes it out: 1e131071 has eight characters here and 131,072 there. Where there can be
    -- neither too many levels nor a number that is too great, nobody counts.
    said := actor || resources || context || changes || details;
    IF octet_length(said) - octet_length(replace(replace(said, '{', ''), '[', '')) > 32
       OR said ~ '[0-9](?:[eE][+-]?[0-9][0-9][0-9]|[0-9]{20})'
    THEN
        checked := affidavit_check_free(at || '/actor', actor) AND affidavit_check_free(at || '/resources', resources)
            AND affidavit_check_free(at || '/context', context) AND affidavit_check_free(at || '/changes', changes)
            AND affidavit_check_free(at || '/details', details);
    END IF;
    actor_id := affidavit_check_actor(at, people);
    checked := (resources = '{}' OR affidavit_check_resources(at, things))
        AND (context = '{}' OR affidavit_check_context(at, whence))
        AND (changes = '{}' OR affidavit_check_changes(at, change))
        AND (details = '{}' OR affidavit_check_details(at, detail));
    -- Colons stand after keys and within texts: a member that jsonb drops takes one along, and none appears unless it was
    -- escaped.
    again := people::text || things::text || whence::text || change::text || detail::text;
    IF octet_length(said) - octet_length(replace(said, ':', ''))
           <> octet_length(again) - octet_length(replace(again, ':', ''))
       OR strpos(said, '\') > 0 AND strpos(said, '\u003') > 0
    THEN
        checked := affidavit_check_keys(at || '/actor', actor, people)
            AND affidavit_check_keys(at || '/resources', resources, things)
            AND affidavit_check_keys(at || '/context', context, whence)
            AND affidavit_check_keys(at || '/changes', changes, change)
            AND affidavit_check_keys(at || '/details', details, detail);
    END IF;
    RETURN actor_id;
END
$$;

CREATE OR REPLACE FUNCTION affidavit_record_v1(
    organization text, action text, occurred_at timestamptz DEFAULT NULL, outcome text DEFAULT NULL,
    severity text DEFAULT NULL, source text DEFAULT NULL, project text DEFAULT NULL, parent_id uuid DEFAULT NULL,
    idempotency_key text DEFAULT NULL, actor text DEFAULT NULL, resources text DEFAULT NULL, context text DEFAULT NULL,
    changes text DEFAULT NULL, details text DEFAULT NULL, secret bytea DEFAULT NULL, id uuid DEFAULT NULL
) RETURNS affidavit_recorded LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    clock timestamptz := clock_timestamp();
    now bigint := (extract(epoch FROM clock) * 1000000)::bigint;
    given boolean := idempotency_key IS NOT NULL OR id IS NOT NULL;
    came affidavit_events;
    checked boolean;
BEGIN
    -- One expression: each is made ready anew in every transaction, which costs more than to evaluate it.
    came := ROW(NULL, 1, organization, project, action, coalesce(outcome, 'success'), coalesce(severity, 'info'),
        coalesce(source, 'sql'), false, parent_id, NULL, NULL, coalesce(btrim(actor, E' \t\n\r'), '{}'),
        coalesce(btrim(resources, E' \t\n\r'), '{}'), coalesce(btrim(context, E' \t\n\r'), '{}'),
        coalesce(btrim(changes, E' \t\n\r'), '{}'), coalesce(btrim(details, E' \t\n\r'), '{}'), NULL, NULL, now);
    checked := affidavit_check_words('', organization, action, came.outcome, came.severity, came.source, project);
    came.actor_id := affidavit_check_groups('', came.actor, came.resources, came.context, came.changes, came.details);
    came.secret := affidavit_check_secret('', secret);
    came.id := affidavit_identify('', organization, occurred_at, idempotency_key, id, clock, now);
    IF given THEN
        INSERT INTO affidavit_events (id, version, organization, project, action, outcome, severity, source, imported,
            parent_id, actor_id, actor, resources, context, changes, details, secret, recorded_at)
        VALUES (came.id, 1, came.organization, came.project, came.action, came.outcome, came.severity, came.source, false,
            came.parent_id, came.actor_id, came.actor, came.resources, came.context, came.changes, came.details, came.secret, now)
        ON CONFLICT (organization, id) DO NOTHING;
        IF NOT FOUND THEN
            checked := affidavit_check_same('', came);
            RETURN (came.id, true);
        END IF;
    ELSE
        INSERT INTO affidavit_events (id, version, organization, project, action, outcome, severity, source, imported,
            parent_id, actor_id, actor, resources, context, changes, details, secret, recorded_at)
        VALUES (came.id, 1, came.organization, came.project, came.action, came.outcome, came.severity, came.source, false,
            came.parent_id, came.actor_id, came.actor, came.resources, came.context, came.changes, came.details, came.secret, now);
    END IF;
    INSERT INTO affidavit_pending (organization, id) VALUES (came.organization, came.id);
    RETURN (came.id, false);
END
$$;
