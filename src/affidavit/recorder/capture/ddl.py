"""The DDL of triggers that record a table's changes. Pure: from what is wanted and how the table is to SQL.

A statement's rows are recorded together, by transition tables, up to 1,000 in one call; on a partitioned
table one by one, because only triggers for rows reach partitions that are named themselves or made later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Literal

import msgspec

from affidavit.recorder.capture.tables import MARK, Shape

__all__ = [
    "KINDS",
    "Kind",
    "Wanted",
    "body_of",
    "function_of",
    "identifier",
    "literal",
    "script",
    "triggers_of",
]

Kind = Literal["create", "update", "delete"]
KINDS: tuple[Kind, ...] = ("create", "update", "delete")
_NAME_BYTES = 63
_OLD = '"old":'
_NEXT = ",\n            "
_AT_ONCE = 50
"""Arguments of one call of ``concat_ws``; 100 are allowed."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What triggers were asked for; kept as JSON in the comment of their function.

    Attributes:
        actions: of the kinds that are captured.
        type: of the resource.
        key: columns that are its id.
        columns: that events show, beside the key.
        name: column with its name.
        organization: of rows that say none and where no setting does.
        organization_column: whose value is the organization.
        exclude: columns whose change alone is no event.
        masked: whether there are columns whose values no event shows.
        mask: digests of the names of those that were named.
        without_actor: what becomes of a change by nobody who is known: ``refuse`` it, or record the system
            ``database``.
        schema: of our tables.
    """

    actions: Mapping[Kind, str]
    type: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    name: str | None = None
    organization: str | None = None
    organization_column: str | None = None
    exclude: tuple[str, ...] = ()
    masked: bool = False
    mask: tuple[str, ...] = ()
    without_actor: Literal["refuse", "database"] = "refuse"
    schema: str = "public"


def identifier(*parts: str) -> str:
    """A name as SQL writes it, quoted."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(text: str | None) -> str:
    """A text as SQL writes it, whatever ``standard_conforming_strings`` is."""
    if text is None:
        return "NULL"
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def function_of(shape: Shape) -> str:
    """The name of the triggers' function, in the schema of the table."""
    name = f"audit_capture_{shape.name}"
    if len(name.encode()) <= _NAME_BYTES:
        return name
    return f"audit_capture_{sha256(shape.name.encode()).hexdigest()[:32]}"


def script(wanted: Wanted, shape: Shape) -> str:
    """The statements that make function and triggers anew; they may be run again."""
    body = body_of(wanted, shape)
    tag = next(tag for tag in _tags() if tag not in body)
    table, function = identifier(shape.schema, shape.name), identifier(shape.schema, function_of(shape))
    comment = literal(MARK + msgspec.json.encode(wanted, order="sorted").decode())
    lines = [
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER",
        # The plan is that of the session's first change, often of one row: a loop would never end for many.
        # What is not to be used counts as dear, and what is dear would be compiled, for seconds.
        "    SET search_path = pg_catalog, pg_temp SET \"TimeZone\" = 'UTC'",
        "    SET enable_nestloop = off SET jit = off",
        f"    AS {tag}{body}{tag};",
        f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;",
        f"COMMENT ON FUNCTION {function}() IS {comment};",
    ]
    made = triggers_of(wanted, shape)
    for name, when in made.items():
        lines.append(f"CREATE OR REPLACE TRIGGER {name} {when}\n    EXECUTE FUNCTION {function}();")
    lines += [f"DROP TRIGGER IF EXISTS {name} ON {table};" for name in sorted(_TRIGGERS.keys() - made.keys())]
    return "\n".join(lines) + "\n"


def _tags() -> Iterator[str]:
    yield "$affidavit$"
    number = 0
    while True:
        yield f"$affidavit{number}$"
        number += 1


_TRIGGERS: Mapping[str, tuple[Kind, str]] = {
    "audit_capture_insert": ("create", "AFTER INSERT ON {} REFERENCING NEW TABLE AS came"),
    "audit_capture_update": ("update", "AFTER UPDATE ON {} REFERENCING OLD TABLE AS gone NEW TABLE AS came"),
    "audit_capture_delete": ("delete", "AFTER DELETE ON {} REFERENCING OLD TABLE AS gone"),
    "audit_capture_truncate": ("delete", "AFTER TRUNCATE ON {}"),
}


def triggers_of(wanted: Wanted, shape: Shape) -> dict[str, str]:
    """The triggers that a table gets: their names, and when they fire."""
    table = identifier(shape.schema, shape.name)
    found = {}
    for name, (kind, when) in _TRIGGERS.items():
        if kind not in wanted.actions:
            continue
        rows = shape.partitioned and "TRUNCATE" not in when
        if rows:
            when = when.partition(" REFERENCING")[0]
        # The name may hold braces.
        when = table.join(when.split("{}"))
        found[name] = f"{when} FOR EACH {'ROW' if rows else 'STATEMENT'}"
    return found


def body_of(wanted: Wanted, shape: Shape) -> str:
    """The text of the function."""
    shown = f"{shape.schema}.{shape.name}"
    here = identifier(wanted.schema)
    opened = "".join(
        f"    {'ELSIF' if number else 'IF'} TG_OP = '{operation}' THEN\n"
        f"        action := {literal(wanted.actions[kind])};\n"
        f"        OPEN changed FOR\n        {select};\n"
        for number, (operation, kind, select) in enumerate(_selects(wanted, shape))
    )
    return _BODY.format(
        organization=literal(wanted.organization),
        table=literal(shown),
        plain=literal(msgspec.json.encode([shape.name]).decode()),
        full=literal(msgspec.json.encode([shown]).decode()),
        opened=opened,
        nobody=_NOBODY[wanted.without_actor].format(table=literal(shown)),
        here=here,
    )


def _selects(wanted: Wanted, shape: Shape) -> Iterator[tuple[str, Kind, str]]:
    if "create" in wanted.actions:
        yield "INSERT", "create", _one_sided(wanted, shape, "n")
    if "update" in wanted.actions:
        yield "UPDATE", "update", _two_sided(wanted, shape)
    if "delete" in wanted.actions:
        yield "DELETE", "delete", _one_sided(wanted, shape, "o")
        everything = f"""'{{"type":' || to_jsonb({literal(wanted.type)}::text)::text || ',"id":"*"}}'"""
        yield (
            "TRUNCATE",
            "delete",
            f"SELECT NULL::text AS organization, {everything} AS resource, ''::text AS changes,"
            """ '{"metadata":{"statement":"truncate"}}'::text AS details""",
        )


def _one_sided(wanted: Wanted, shape: Shape, side: Literal["n", "o"]) -> str:
    """Of rows that came or went: every value that there is."""
    sides = (_OLD + 'null,"new":', "") if side == "n" else (_OLD, ',"new":null')
    parts = [
        f"{literal(_key(name) + sides[0])} || to_jsonb({side}.{identifier(name)})::text"
        f" || {literal(sides[1] + '}')}"
        for name in wanted.columns
    ]
    rows = ("NEW" if side == "n" else "OLD") if shape.partitioned else ("came" if side == "n" else "gone")
    source = f"(SELECT {rows}.*)" if shape.partitioned else rows
    return (
        f"SELECT {_organization(wanted, side)} AS organization, {_resource(wanted, side)} AS resource,"
        f" {_joined(parts)} AS changes, NULL::text AS details FROM {source} AS {side}"
    )


def _two_sided(wanted: Wanted, shape: Shape) -> str:
    """Of rows that were changed: the values that differ, as JSON has them."""
    names = (*wanted.key, *wanted.columns)
    texts = _NEXT.join(
        f"to_jsonb({side}.{identifier(name)})::text AS {side}{number}"
        for number, name in enumerate(names)
        for side in "on"
    )
    parts = [
        f"CASE WHEN t.o{number} IS DISTINCT FROM t.n{number} THEN {literal(_key(name) + _OLD)}"
        f""" || coalesce(t.o{number}, 'null') || ',"new":' || coalesce(t.n{number}, 'null') || '}}' END"""
        for number, name in enumerate(names)
    ]
    old, new = _resource(wanted, "o"), _resource(wanted, "n")
    moved = " OR ".join(f"t.o{number} IS DISTINCT FROM t.n{number}" for number in range(len(wanted.key)))
    rows, hidden = _pairs(wanted, shape)
    return (
        "SELECT e.organization, e.resource, e.changes,"
        """ CASE WHEN e.changes = '' THEN '{"metadata":{"masked":true}}' END AS details FROM ("""
        f"\n        SELECT {_organization(wanted, 'n')} AS organization,"
        f" {new} || CASE WHEN {moved} THEN ',' || {old} ELSE '' END AS resource,"
        f" {_joined(parts)} AS changes,\n        {hidden} AS hidden"
        f"\n        FROM {rows},\n        LATERAL (SELECT\n            {texts}\n        OFFSET 0) AS t) AS e"
        "\n        WHERE e.changes <> '' OR e.hidden"
    )


def _pairs(wanted: Wanted, shape: Shape) -> tuple[str, str]:
    """The rows before and after, in pairs, and whether more differs in one than is shown or excluded."""
    taken = {column.name for column in shape.columns}
    place = next(name for name in ("place", *(f"place{n}" for n in range(len(taken)))) if name not in taken)
    if shape.partitioned:
        rows = "(SELECT OLD.*) AS o, (SELECT NEW.*) AS n"
    else:
        # PostgreSQL fills both in step. Keys would not do: a statement may hand a row the key of another.
        numbered = f"(SELECT *, row_number() OVER () AS {place} FROM {{}})"
        rows = f"{numbered.format('gone')} AS o JOIN {numbered.format('came')} AS n ON n.{place} = o.{place}"
    if not wanted.masked:
        return rows, "false"
    derived = [column.name for column in shape.columns if column.generated]
    without = literal("{" + ",".join(_element(name) for name in (*wanted.exclude, *derived, place)) + "}")
    return rows, f"to_jsonb(o.*) - {without}::text[] IS DISTINCT FROM to_jsonb(n.*) - {without}::text[]"


def _key(name: str) -> str:
    return f"{msgspec.json.encode(name).decode()}:{{"


def _element(name: str) -> str:
    """An element of an array as PostgreSQL reads it."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _organization(wanted: Wanted, side: str) -> str:
    if wanted.organization_column is None:
        return "NULL::text"
    return f"{side}.{identifier(wanted.organization_column)}::text"


def _resource(wanted: Wanted, side: str) -> str:
    """The JSON of a row as a resource."""
    key = ", ".join(f"{side}.{identifier(name)}::text" for name in wanted.key)
    start = '{"type":' + msgspec.json.encode(wanted.type).decode() + ',"id":'
    name = ""
    if wanted.name is not None:
        text = f"to_jsonb(left({side}.{identifier(wanted.name)}::text, 1024))::text"
        name = f""" || coalesce(',"name":' || {text}, '')"""
    return f"{literal(start)} || to_jsonb(concat_ws(',', {key}))::text{name} || '}}'"


def _joined(parts: Sequence[str]) -> str:
    """The parts that are not null, with commas between them."""
    if len(parts) <= _AT_ONCE:
        return f"concat_ws(',',\n            {_NEXT.join(parts)})" if parts else "''::text"
    groups = [_joined(parts[start : start + _AT_ONCE]) for start in range(0, len(parts), _AT_ONCE)]
    return _joined([f"nullif({group}, '')" for group in groups])


_NOBODY: Mapping[str, str] = {
    "refuse": """RAISE EXCEPTION USING ERRCODE = 'YA422', COLUMN = '/actor', CONSTRAINT = 'required',
                    MESSAGE = '/actor: ' || {table} || ' is captured by triggers: say who changes it',
                    HINT = 'In the transaction of the change: audit.carry(...) in Python; in SQL'
                        || ' SELECT set_config(''affidavit.actor'','
                        || ' ''{{"actor":{{"type":"user","id":"7"}}}}'', true);';""",
    "database": """who := '{{"actor":{{"type":"system","id":"database","name":'
                    || to_jsonb(session_user::text)::text || '}}}}';""",
}
_BODY = """
DECLARE
    here text := coalesce(nullif(current_setting('affidavit.organization', true), ''), {organization});
    project text := nullif(current_setting('affidavit.project', true), '');
    source text := nullif(current_setting('affidavit.source', true), '');
    parent uuid := nullif(current_setting('affidavit.parent_id', true), '')::uuid;
    who text := nullif(current_setting('affidavit.actor', true), '');
    whence text := nullif(current_setting('affidavit.context', true), '');
    elsewhere jsonb := nullif(current_setting('affidavit.captured', true), '')::jsonb;
    action text;
    changed refcursor;
    one record;
    organizations text[] := '{{}}';
    resources text[] := '{{}}';
    changes text[] := '{{}}';
    details text[] := '{{}}';
    many integer := 0;
    size integer := 0;
    ended boolean;
BEGIN
    IF elsewhere @> {plain}::jsonb OR elsewhere @> {full}::jsonb THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = {table} || ' is captured by triggers and by audit.capture(), that is twice',
            HINT = 'Take one of the two away: the call, or the triggers by affidavit triggers --drop.';
    END IF;
{opened}    END IF;
    LOOP
        FETCH changed INTO one;
        ended := NOT FOUND;
        IF NOT ended THEN
            many := many + 1;
            organizations[many] := coalesce(one.organization, here);
            resources[many] := '{{"resources":[' || one.resource || ']}}';
            IF one.changes <> '' THEN
                changes[many] := '{{"changes":{{' || one.changes || '}}}}';
            ELSE
                changes[many] := NULL;
            END IF;
            details[many] := one.details;
            size := size + length(one.changes);
        END IF;
        IF many = 1000 OR size > 2000000 OR (ended AND many > 0) THEN
            IF who IS NULL THEN
                {nobody}
            END IF;
            IF many = 1 THEN
                PERFORM {here}.affidavit_record_v1(organizations[1], action, NULL, NULL, NULL, source,
                    project, parent, NULL, who, resources[1], whence, changes[1], details[1]);
            ELSE
                PERFORM {here}.affidavit_record_many_v1(organizations, array_fill(action, ARRAY[many]),
                    NULL, NULL, NULL, array_fill(source, ARRAY[many]), array_fill(project, ARRAY[many]),
                    array_fill(parent, ARRAY[many]), NULL, array_fill(who, ARRAY[many]), resources,
                    array_fill(whence, ARRAY[many]), changes, details);
            END IF;
            organizations := '{{}}';
            resources := '{{}}';
            changes := '{{}}';
            details := '{{}}';
            many := 0;
            size := 0;
        END IF;
        EXIT WHEN ended;
    END LOOP;
    CLOSE changed;
    RETURN NULL;
END
"""
