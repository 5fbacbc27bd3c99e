-- Recording from SQL, for programs in any language: affidavit_record_v1 in the caller's own transaction. Described in
-- docs/howto/sql.md. What it writes always gets a proper leaf: each rule here is at least as strict as that of
-- core/groups.py, core/leaf.py and core/rules.py.
--
-- It is SECURITY DEFINER, so that who records needs no right on a table, and keeps the search_path of the migration.
-- Only functions of PostgreSQL's core are used. A broken rule is YA422, other content under an existing id YA409; the
-- error's COLUMN is a pointer to the field, its CONSTRAINT the rule.

CREATE TYPE affidavit_recorded AS (id uuid, duplicate boolean);

CREATE FUNCTION affidavit_refuse(pointer text, rule text, message text, shown text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'YA422', COLUMN = pointer, CONSTRAINT = rule, DETAIL = 'rule: ' || rule,
        MESSAGE = pointer || ': ' || message || coalesce(', not "' || left(shown, 100) || '"', '');
END
$$;

-- The 64 bits that bytes begin with.
CREATE FUNCTION affidavit_bits(bytes bytea) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ('x' || encode(substr(bytes, 1, 8), 'hex'))::bit(64)::bigint
$$;

-- A UUIDv7 (RFC 9562, method 3): microseconds since 1970 UTC, then the lower 62 bits of the tail.
CREATE FUNCTION affidavit_make_id(microseconds bigint, tail bigint) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((microseconds / 1000 << 16) | 28672 | (microseconds % 1000 * 4096 / 1000)), 16, '0')
            || to_hex((tail & 4611686018427387903) | (1::bigint << 63)))::uuid
$$;

CREATE FUNCTION affidavit_microseconds(id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ((head >> 16) & 281474976710655) * 1000 + ((head & 4095) * 1000 + 4095) / 4096
    FROM (SELECT ('x' || encode(substr(uuid_send(id), 1, 8), 'hex'))::bit(64)::bigint) AS first(head)
$$;

-- JSON that somebody may have edited by hand: what is none is as if it were erased.
CREATE FUNCTION affidavit_json(value text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN value::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END
$$;

-- JSON with its texts taken out, so that what is left are brackets, colons, commas and numbers.
CREATE FUNCTION affidavit_structure(value text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT regexp_replace(value, '"(?:[^"\\]|\\.)*"', '', 'g')
$$;

-- jsonb keeps the last of equal keys.
CREATE FUNCTION affidavit_check_keys(pointer text, value text, object jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    came text := affidavit_structure(value);
    stays text := affidavit_structure(object::text);
BEGIN
    IF length(came) - length(replace(came, ':', '')) <> length(stays) - length(replace(stays, ':', '')) THEN
        RETURN affidavit_refuse(pointer, 'duplicate_key', 'names the same key twice in one object');
    END IF;
    RETURN true;
END
$$;

CREATE FUNCTION affidavit_check_json(pointer text, value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_typeof(value::jsonb) <> 'object' THEN
        RETURN affidavit_refuse(pointer, 'type', 'must be one JSON object', value);
    END IF;
    RETURN true;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN affidavit_refuse(pointer, 'json', 'is not JSON that can be kept (' || SQLERRM || ')', value);
END
$$;

CREATE FUNCTION affidavit_check_free(pointer text, value text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    structure text := affidavit_structure(value);
    brackets text := regexp_replace(structure, '[^][{}]', '', 'g');
    number text;
BEGIN
    FOR level IN 1 .. 32 LOOP
        brackets := regexp_replace(brackets, '\[\]|\{\}', '', 'g');  -- takes away the innermost level
        EXIT WHEN brackets = '';
    END LOOP;
    IF brackets <> '' THEN
        RETURN affidavit_refuse(pointer, 'depth', 'is nested deeper than 32 levels');
    END IF;
    FOR number IN SELECT match[1] FROM regexp_matches(structure, '[0-9][0-9.eE+-]*', 'g') AS match LOOP
        IF length(number) > 4000 OR (number ~ '[.eE]' AND number::numeric > 1.7976931348623157e308) THEN
            RETURN affidavit_refuse(pointer, 'number', 'holds a number that is too great', number);
        END IF;
    END LOOP;
    RETURN true;
END
$$;

-- Whether a member is absent, or a text of at most that many characters. JSON's null is neither.
CREATE FUNCTION affidavit_is_text(part jsonb, field text, most integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_typeof(part -> field) = 'string' AND length(part ->> field) <= most, true)
$$;

-- An object of texts: the first `required` fields must be there and not be empty, `others` are looked at elsewhere.
CREATE FUNCTION affidavit_check_texts(
    pointer text, part jsonb, required integer, fields text[], limits integer[], others text[] DEFAULT '{}'
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    value jsonb;
    shown text;
BEGIN
    IF jsonb_typeof(part) <> 'object' THEN
        RETURN affidavit_refuse(pointer, 'type', 'must be a JSON object', part::text);
    ELSIF part - fields - others <> '{}' THEN
        SELECT min(key) INTO shown FROM jsonb_object_keys(part - fields - others) AS key;
        RETURN affidavit_refuse(
            pointer || '/' || left(replace(replace(shown, '~', '~0'), '/', '~1'), 100),
            'unknown', 'is no field here');
    END IF;
    FOR number IN 1 .. cardinality(fields) LOOP
        value := part -> fields[number];
        shown := part ->> fields[number];
        IF value IS NULL AND number <= required THEN
            RETURN affidavit_refuse(pointer || '/' || fields[number], 'required', 'must be given');
        ELSIF jsonb_typeof(value) <> 'string' THEN
            RETURN affidavit_refuse(pointer || '/' || fields[number], 'type',
                'must be a text; what is absent is left out, as json_strip_nulls does', value::text);
        ELSIF length(shown) > limits[number] THEN
            RETURN affidavit_refuse(pointer || '/' || fields[number], 'too_long',
                'is longer than ' || limits[number] || ' characters', shown);
        ELSIF number <= required AND shown = '' THEN
            RETURN affidavit_refuse(pointer || '/' || fields[number], 'required', 'must not be empty');
        END IF;
    END LOOP;
    RETURN true;
END
$$;

CREATE FUNCTION affidavit_is_person(person jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_typeof(person) = 'object'
        AND person - '{type,id,name,email}'::text[] = '{}'
        AND person ->> 'type' IN ('user', 'api_token', 'oauth_client', 'service', 'agent', 'system', 'anonymous')
        AND jsonb_typeof(person -> 'id') = 'string' AND length(person ->> 'id') BETWEEN 1 AND 1024
        AND affidavit_is_text(person, 'name', 1024) AND affidavit_is_text(person, 'email', 320)
$$;

CREATE FUNCTION affidavit_is_session(session jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_typeof(session) = 'object'
        AND session - '{type,id,token_id,token_name}'::text[] = '{}'
        AND jsonb_typeof(session -> 'type') = 'string' AND length(session ->> 'type') BETWEEN 1 AND 128
        AND affidavit_is_text(session, 'id', 1024) AND affidavit_is_text(session, 'token_id', 1024)
        AND affidavit_is_text(session, 'token_name', 1024)
$$;

CREATE FUNCTION affidavit_check_person(pointer text, person jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    checked boolean := affidavit_check_texts(pointer, person, 2, '{type,id,name,email}', '{128,1024,1024,320}');
BEGIN
    RETURN affidavit_refuse(pointer || '/type', 'enum',
        'must be user, api_token, oauth_client, service, agent, system or anonymous', person ->> 'type');
END
$$;

CREATE FUNCTION affidavit_check_actor(at text, people jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    person jsonb := people -> 'actor';
    checked boolean;
BEGIN
    IF people - '{actor,on_behalf_of,session}'::text[] <> '{}' THEN
        IF people ? 'recorded_by' THEN
            checked := affidavit_refuse(at || '/recorded_by', 'forbidden', 'is not for SQL to say');
        END IF;
        checked := affidavit_check_texts(at, people, 0, '{}', '{}', '{actor,on_behalf_of,session}');
    ELSIF person IS NULL THEN
        checked := affidavit_refuse(at || '/actor', 'required',
            'say who did it; where nobody knows: {"actor":{"type":"anonymous","id":"anonymous"}}');
    ELSIF NOT coalesce(affidavit_is_person(person), false) THEN
        checked := affidavit_check_person(at || '/actor', person);
    END IF;
    IF people ? 'on_behalf_of' AND NOT coalesce(affidavit_is_person(people -> 'on_behalf_of'), false) THEN
        checked := affidavit_check_person(at || '/on_behalf_of', people -> 'on_behalf_of');
    END IF;
    IF people ? 'session' AND NOT coalesce(affidavit_is_session(people -> 'session'), false) THEN
        checked := affidavit_check_texts(at || '/session', people -> 'session', 1,
            '{type,id,token_id,token_name}', '{128,1024,1024,1024}');
    END IF;
    RETURN person ->> 'id';
END
$$;

CREATE FUNCTION affidavit_check_resources(at text, resources jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    resource jsonb;
    checked boolean;
BEGIN
    IF resources - 'resources' <> '{}' THEN
        RETURN affidavit_check_texts(at, resources, 0, '{}', '{}', '{resources}');
    ELSIF jsonb_typeof(resources -> 'resources') <> 'array' THEN
        RETURN affidavit_refuse(at || '/resources', 'type', 'must be a list of resources');
    ELSIF jsonb_array_length(resources -> 'resources') > 20 THEN
        RETURN affidavit_refuse(at || '/resources', 'too_many', 'must be at most 20');
    END IF;
    FOR number IN 0 .. coalesce(jsonb_array_length(resources -> 'resources'), 0) - 1 LOOP
        resource := resources -> 'resources' -> number;
        IF NOT coalesce(
            jsonb_typeof(resource) = 'object' AND resource - '{type,id,name}'::text[] = '{}'
            AND jsonb_typeof(resource -> 'type') = 'string' AND length(resource ->> 'type') BETWEEN 1 AND 128
            AND jsonb_typeof(resource -> 'id') = 'string' AND length(resource ->> 'id') BETWEEN 1 AND 1024
            AND affidavit_is_text(resource, 'name', 1024), false)
        THEN
            checked := affidavit_check_texts(
                at || '/resources/' || number, resource, 2, '{type,id,name}', '{128,1024,1024}');
        END IF;
    END LOOP;
    RETURN true;
END
$$;

CREATE FUNCTION affidavit_check_address(at text, address text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    normal inet;
BEGIN
    IF strpos(address, '/') > 0 THEN
        RETURN affidavit_refuse(at || '/ip', 'address', 'must be an IP address without port or zone', address);
    END IF;
    BEGIN
        normal := address::inet;
    EXCEPTION WHEN data_exception THEN
        RETURN affidavit_refuse(at || '/ip', 'address', 'must be an IP address without port or zone', address);
    END;
    IF family(normal) = 4 AND host(normal) <> address THEN
        RETURN affidavit_refuse(at || '/ip', 'address', 'must be an IP address in its usual form', address);
    ELSIF normal <<= '::ffff:0.0.0.0/96' THEN
        RETURN affidavit_refuse(at || '/ip', 'address', 'must be written as IPv4, not as IPv4 within IPv6', address);
    END IF;
    RETURN true;
END
$$;

CREATE FUNCTION affidavit_check_request(pointer text, request jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    checked boolean := affidavit_check_texts(pointer, request, 0, '{id,method,endpoint}', '{1024,64,4096}', '{params}');
BEGIN
    IF jsonb_typeof(request -> 'params') <> 'object' THEN
        RETURN affidavit_refuse(pointer || '/params', 'type', 'must be a JSON object');
    END IF;
    RETURN checked;
END
$$;

CREATE FUNCTION affidavit_check_ci(pointer text, ci jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    checked boolean := affidavit_check_texts(
        pointer, ci, 2, '{platform,confidence,repository,run_id}', '{1024,1024,1024,1024}');
BEGIN
    IF ci ->> 'confidence' NOT IN ('token', 'declared', 'guess') THEN
        RETURN affidavit_refuse(
            pointer || '/confidence', 'enum', 'must be token, declared or guess', ci ->> 'confidence');
    END IF;
    RETURN checked;
END
$$;

CREATE FUNCTION affidavit_check_context(at text, context jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
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
        IF context ? 'request' THEN
            checked := affidavit_check_request(at || '/request', context -> 'request');
        END IF;
    END IF;
    RETURN true;
END
$$;

CREATE FUNCTION affidavit_check_changes(at text, changes jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    field text;
BEGIN
    IF changes - 'changes' <> '{}' THEN
        RETURN affidavit_check_texts(at, changes, 0, '{}', '{}', '{changes}');
    ELSIF jsonb_typeof(changes -> 'changes') <> 'object' THEN
        RETURN affidavit_refuse(at || '/changes', 'type', 'must be an object of fields with old and new');
    ELSIF jsonb_path_exists(changes, 'strict $.changes.* ? (@.type() <> "object")')
          OR jsonb_path_exists(changes, 'strict $.changes.*.keyvalue() ? (@.key <> "old" && @.key <> "new")')
    THEN
        SELECT key INTO field FROM jsonb_each(changes -> 'changes')
        WHERE jsonb_typeof(value) <> 'object' OR value - '{old,new}'::text[] <> '{}' LIMIT 1;
        RETURN affidavit_refuse(at || '/changes/' || left(replace(replace(field, '~', '~0'), '/', '~1'), 100),
            'type', 'must be an object with old and new, and nothing else');
    END IF;
    RETURN true;
END
$$;

CREATE FUNCTION affidavit_check_details(at text, details jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (details - '{description,reason,metadata}'::text[] = '{}'
            AND affidavit_is_text(details, 'description', 1000) AND affidavit_is_text(details, 'reason', 1000))
    THEN
        RETURN affidavit_check_texts(at, details, 0, '{description,reason}', '{1000,1000}', '{metadata}');
    ELSIF jsonb_typeof(details -> 'metadata') <> 'object' THEN
        RETURN affidavit_refuse(at || '/metadata', 'type', 'must be a JSON object');
    END IF;
    RETURN true;
END
$$;

-- The five groups; returns the actor's id.
CREATE FUNCTION affidavit_check_groups(
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
    IF length(said) - length(replace(replace(said, '{', ''), '[', '')) > 32
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
    IF length(said) - length(replace(said, ':', '')) <> length(again) - length(replace(again, ':', ''))
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

CREATE FUNCTION affidavit_is_name(name text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT name ~ '^[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,126}[A-Za-z0-9])?$' AND strpos(name, '..') = 0
$$;

CREATE FUNCTION affidavit_check_words(
    at text, organization text, action text, outcome text, severity text, source text, project text
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
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

CREATE FUNCTION affidavit_organization_secret(organization text) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    found_secret bytea;
BEGIN
    LOOP
        SELECT o.secret INTO found_secret FROM affidavit_organizations o
        WHERE o.name = affidavit_organization_secret.organization;
        IF found_secret IS NOT NULL THEN
            RETURN found_secret;
        END IF;
        INSERT INTO affidavit_organizations (name, secret, created_at)
        VALUES (organization, affidavit_random(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        ON CONFLICT DO NOTHING;
    END LOOP;
END
$$;

CREATE FUNCTION affidavit_random() RETURNS bytea LANGUAGE sql VOLATILE AS $$
    SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
$$;

-- The id of an event: made of its time and chance, or its key, or the one that was given.
CREATE FUNCTION affidavit_identify(
    at text, organization text, occurred_at timestamptz, idempotency_key text, id uuid, now timestamptz, moment bigint
) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    checked boolean;
    occurred timestamptz := occurred_at;
    microseconds bigint;
BEGIN
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

-- Whether what stands under an id says the same. A group that was erased or has expired counts as the same.
CREATE FUNCTION affidavit_check_same(at text, came affidavit_events) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    stands affidavit_events;
BEGIN
    SELECT * INTO stands FROM affidavit_events e WHERE e.organization = came.organization AND e.id = came.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the event % was there and is gone; try again', came.id USING ERRCODE = 'serialization_failure';
    END IF;
    IF (stands.project, stands.action, stands.outcome, stands.source, stands.imported, stands.parent_id, stands.facts)
       IS DISTINCT FROM
       (came.project, came.action, came.outcome, came.source, false, came.parent_id, NULL::text)
       OR NOT coalesce(stands.actor = came.actor
                       OR affidavit_json(stands.actor) - 'recorded_by' = came.actor::jsonb, stands.actor IS NULL)
       OR stands.resources <> came.resources OR stands.changes <> came.changes OR stands.details <> came.details
       OR NOT coalesce(stands.context = came.context
                       OR affidavit_json(stands.context) = came.context::jsonb, stands.context IS NULL)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'YA409', COLUMN = at || '/id', CONSTRAINT = 'conflict',
            MESSAGE = at || '/id: event ' || came.id || ' exists with other content; nothing was stored',
            DETAIL = 'rule: conflict';
    END IF;
    RETURN true;
END
$$;

CREATE FUNCTION affidavit_check_secret(at text, secret bytea) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    checked boolean;
BEGIN
    IF octet_length(secret) <> 32 THEN
        checked := affidavit_refuse(at || '/secret', 'length', 'must be 32 random bytes, or be left out');
    END IF;
    RETURN coalesce(secret, affidavit_random());
END
$$;

CREATE FUNCTION affidavit_record_v1(
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
    came.organization := organization;
    came.action := action;
    came.outcome := coalesce(outcome, 'success');
    came.severity := coalesce(severity, 'info');
    came.source := coalesce(source, 'sql');
    came.project := project;
    came.parent_id := parent_id;
    came.actor := coalesce(btrim(actor, E' \t\n\r'), '{}');
    came.resources := coalesce(btrim(resources, E' \t\n\r'), '{}');
    came.context := coalesce(btrim(context, E' \t\n\r'), '{}');
    came.changes := coalesce(btrim(changes, E' \t\n\r'), '{}');
    came.details := coalesce(btrim(details, E' \t\n\r'), '{}');
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
