"""Whether the schema of a database is the one that the migrations make.

Somebody with the rights of the owner can drop or disable the triggers that keep the events append-only, put
other code into a function, or add a rule or a policy that hides rows. Nothing else would notice. What must
stand there is ``schema.json``, written from a freshly migrated database (``tools/describe_schema.py``) and
compared in the tests with what each supported server makes of the migrations: so a check needs no right to
create anything, works on a standby, and its expectation is not kept where it could be edited along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec

from affidavit.storage.evidence import Fault
from affidavit.storage.postgres.connect import Session

__all__ = [
    "CLOSED",
    "Described",
    "Part",
    "columns_of",
    "describe",
    "key_of",
    "of_ours",
    "schema_faults",
    "wanted",
]

Facts = dict[str, str]
"""What makes up one object: ``column id``, ``trigger name``, ... to its definition."""
_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "c": "type",
}
_PERSISTENCE = {"p": "", "u": ", unlogged", "t": ", temporary"}
_VIEW = "audit_logs"
"""For people who come with SQL; left out where an application has the name already."""
CLOSED = "trigger affidavit_events_closed"
"""Stands on those partitions of the events into which a closed range reaches."""
_CLOSED = (
    "CREATE TRIGGER affidavit_events_closed BEFORE INSERT ON it"
    " FOR EACH ROW EXECUTE FUNCTION affidavit_events_closed()"
)


class Part(NamedTuple):
    """A partition: of which table, and for which ids."""

    parent: str
    bound: str


class Described(NamedTuple):
    """A schema as it stands.

    Attributes:
        objects: tables, views, sequences and functions to their facts.
        parts: partition to what it is a partition of.
    """

    objects: dict[str, Facts]
    parts: dict[str, Part]


@lru_cache
def wanted() -> Mapping[str, Facts]:
    """What the migrations of this version make: objects to facts, partitions left out."""
    text = files("affidavit.storage.postgres").joinpath("schema.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Facts])


def columns_of(table: str) -> tuple[str, ...]:
    """The columns of one of our tables."""
    return tuple(name.partition(" ")[2] for name in wanted()[table] if name.startswith("column "))


def key_of(table: str) -> tuple[str, ...]:
    """The columns of the primary key of one of our tables; its first column where it has none."""
    for fact, text in wanted()[table].items():
        if fact.startswith("constraint ") and text.startswith("PRIMARY KEY"):
            return tuple(name.strip() for name in text[text.index("(") + 1 : text.index(")")].split(","))
    return columns_of(table)[:1]


_RELATIONS = """
SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
       (SELECT p.relname FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent WHERE i.inhrelid = c.oid),
       pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid), array_to_string(c.reloptions, ', '),
       (SELECT nspname FROM pg_namespace n WHERE n.oid = c.relnamespace)
FROM pg_class c
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c', 'S') AND c.relpersistence <> 't'
  AND ((c.relnamespace = ?::regnamespace AND (c.relname LIKE 'affidavit\\_%' OR c.relname = ANY(?::text[])))
       OR EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
                  WHERE i.inhrelid = c.oid AND p.relnamespace = ?::regnamespace
                    AND p.relname LIKE 'affidavit\\_%'))
ORDER BY c.relname
"""
_COLUMNS = """
SELECT a.attrelid, 'column ' || a.attname,
       format_type(a.atttypid, a.atttypmod)
       || coalesce((SELECT ' collate ' || o.collname FROM pg_collation o
                    WHERE o.oid = a.attcollation AND o.collname <> 'default'), '')
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
       || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
       || CASE WHEN a.attidentity <> '' THEN ' identity ' || a.attidentity::text ELSE '' END
       || CASE WHEN a.attgenerated <> '' THEN ' generated ' || a.attgenerated::text ELSE '' END
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(?::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
  AND NOT EXISTS (SELECT FROM pg_sequence WHERE seqrelid = a.attrelid)
ORDER BY a.attrelid, a.attnum
"""
_CONSTRAINTS = """
SELECT c.conrelid, 'constraint ' || coalesce(p.conname, c.conname),
       pg_get_constraintdef(c.oid) || CASE WHEN c.convalidated THEN '' ELSE ' not validated' END
FROM pg_constraint c LEFT JOIN pg_constraint p ON p.oid = c.conparentid
WHERE c.conrelid = ANY(?::oid[]) AND c.contype <> 'n'
"""
_INDEXES = """
SELECT i.indrelid, 'index ' || coalesce(p.relname, c.relname),
       CASE WHEN i.indisunique THEN 'unique ' ELSE '' END
       || regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING ', '')
       || CASE WHEN i.indisvalid AND i.indisready AND i.indislive THEN '' ELSE ' (not valid)' END
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
LEFT JOIN pg_inherits h ON h.inhrelid = i.indexrelid LEFT JOIN pg_class p ON p.oid = h.inhparent
WHERE i.indrelid = ANY(?::oid[])
"""
_TRIGGERS = """
SELECT t.tgrelid, 'trigger ' || t.tgname,
       regexp_replace(pg_get_triggerdef(t.oid, true), ' ON (?:"(?:[^"]|"")*"|[^" ])+ ', ' ON it ')
       || CASE t.tgenabled WHEN 'O' THEN '' WHEN 'D' THEN ' (disabled)'
          ELSE ' (fires ' || t.tgenabled::text || ')' END
FROM pg_trigger t WHERE t.tgrelid = ANY(?::oid[]) AND (NOT t.tgisinternal OR t.tgparentid <> 0)
UNION ALL
SELECT r.ev_class, 'rule ' || r.rulename, pg_get_ruledef(r.oid)
FROM pg_rewrite r WHERE r.ev_class = ANY(?::oid[]) AND r.rulename <> '_RETURN'
UNION ALL
SELECT p.polrelid, 'policy ' || p.polname, coalesce(pg_get_expr(p.polqual, p.polrelid), 'true')
FROM pg_policy p WHERE p.polrelid = ANY(?::oid[])
"""
_FUNCTIONS = """
SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
       pg_get_function_arguments(p.oid), coalesce(pg_get_function_result(p.oid), ''), l.lanname,
       p.provolatile, p.proisstrict, p.prosecdef, p.proleakproof, p.prokind, p.proparallel,
       coalesce(p.proconfig, '{}'), coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = ?::regnamespace AND p.proname LIKE 'affidavit\\_%'
"""
_SEQUENCES = """
SELECT seqrelid, 'numbers', format('%s from %s by %s, %s to %s%s', format_type(seqtypid, NULL), seqstart,
       seqincrement, seqmin, seqmax, CASE WHEN seqcycle THEN ', again and again' ELSE '' END)
FROM pg_sequence WHERE seqrelid = ANY(?::oid[])
"""


def describe(session: Session) -> Described:
    """Everything of ours that a schema holds, in words that depend neither on its name nor on the server.

    Args:
        session: within a transaction; its ``search_path`` is changed for the rest of it.
    """
    quoted = _quoted(session.address.schema)
    session.connection.execute(f"SET LOCAL search_path = pg_catalog, {quoted}".encode())
    rows = session.execute(_RELATIONS, (quoted, [_VIEW], quoted)).fetchall()
    names = {row[0]: _name(row, session.address.schema) for row in rows}
    oids = list(names)
    objects: dict[str, Facts] = {names[row[0]]: _relation(row) for row in rows}
    for statement in (_COLUMNS, _CONSTRAINTS, _INDEXES, _TRIGGERS, _SEQUENCES):
        for oid, fact, text in session.execute(statement, [oids] * statement.count("?")):
            objects[names[oid]][_text(fact)] = _plain(text)
    for row in rows:
        if _text(row[2]) in "vm":
            (definition,) = session.execute("SELECT pg_get_viewdef(?::oid)", (row[0],)).fetchone() or ("",)
            text = _unqualified(_text(definition))
            shown = " of affidavit_events" if re.search(r"\baffidavit_events\b", text) else ""
            objects[names[row[0]]]["view"] += f"{shown} {_digest(text)}"
    for function in session.execute(_FUNCTIONS, (quoted,)):
        objects[_text(function[0])] = {"function": _function(function, session.address.schema)}
    parts = {
        names[row[0]]: Part(_text(row[6]), _text(row[7])) for row in rows if row[6] is not None and row[7]
    }
    return Described(objects, parts)


def _name(row: Sequence[Any], schema: str) -> str:
    """A name of another schema keeps it: it can only be a partition that somebody attached."""
    home = _text(row[10])
    return _text(row[1]) if home == schema else f"{home}.{_text(row[1])}"


def _relation(row: Sequence[Any]) -> Facts:
    kind = _text(row[2])
    if kind == "S":
        return {}
    text = _KINDS[kind] + _PERSISTENCE.get(_text(row[3]), "")
    if row[8] is not None:
        text += f" by {_text(row[8])}"
    if row[4] or row[5]:
        text += ", row level security"
    if row[6] is not None and not row[7]:
        text += f", inherits {_text(row[6])}"
    if kind == "v" and row[9]:
        text += f", {_text(row[9])}"
    return {"view" if kind in "vm" else "table": text}


def _function(row: Sequence[Any], schema: str) -> str:
    _, arguments, result, language, volatile, strict, definer, leakproof, kind, parallel, config, body = row
    words = [
        f"({_text(arguments)}) returns {_text(result)}",
        _text(language),
        *map(_text, (volatile, kind, parallel)),
    ]
    words += [
        word for word, said in (("strict", strict), ("definer", definer), ("leakproof", leakproof)) if said
    ]
    for setting in config:
        name, _, value = _text(setting).partition("=")
        value = value.replace(_quoted(schema), "<schema>")
        values = [each.strip().strip('"') for each in value.split(",")]
        words.append(f"{name}={', '.join('<schema>' if each == schema else each for each in values)}")
    return f"{'; '.join(words)}; {_digest(_text(body))}"


def _quoted(schema: str) -> str:
    return '"' + schema.replace('"', '""') + '"'


def _digest(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()[:32]}"


def _unqualified(definition: str) -> str:
    """A view's text without the names of tables before its columns, which servers before 16 write."""
    return re.sub(r"\s+", " ", re.sub(r"\b(affidavit_\w+|\w)\.(?=\w)", "", definition)).strip()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> str:
    return re.sub(r"\s+", " ", _text(value))


def schema_faults(live: Described) -> Iterator[Fault]:
    """Everything that is missing, changed, or put beside or onto what is ours."""
    missing = dict(wanted())
    if not of_ours(live):
        missing.pop(_VIEW, None)
    for name, facts in live.objects.items():
        if name == _VIEW and name not in missing:
            continue
        part = live.parts.get(name)
        if part is not None:
            yield from _part(name, part, facts)
            continue
        expected = missing.pop(name, None)
        if expected is None:
            yield _added(name, next(iter(facts), "object"), next(iter(facts.values()), ""))
        else:
            yield from _differences(name, facts, expected)
    for name, facts in missing.items():
        yield Fault(
            name, "", next(iter(facts)), "is missing from the schema", next(iter(facts.values()))[:160]
        )
    for parent in (name for name, facts in wanted().items() if "partitioned" in facts.get("table", "")):
        if Part(parent, "DEFAULT") not in live.parts.values():
            yield Fault(parent, "", "partition", "has no default partition", "DEFAULT", "")


def of_ours(live: Described) -> bool:
    """Whether the view for people who come with SQL is there and shows our events."""
    return " of affidavit_events" in live.objects.get(_VIEW, {}).get("view", "")


def _part(name: str, part: Part, facts: Facts) -> Iterator[Fault]:
    """A partition has what its table has: columns, rules, triggers and a valid index for each index."""
    expected = wanted().get(part.parent)
    if expected is None:
        yield _added(name, "table", f"partition of {part.parent}")
        return
    closed = {CLOSED: _CLOSED} if part.parent == "affidavit_events" and CLOSED in facts else {}
    yield from _differences(name, facts, {**expected, "table": "table", **closed})


def _differences(name: str, facts: Facts, expected: Facts) -> Iterator[Fault]:
    for fact in facts.keys() | expected.keys():
        stands, must = facts.get(fact), expected.get(fact)
        if stands == must:
            continue
        if must is None:
            yield _added(name, fact, stands or "")
        elif stands is None:
            yield Fault(name, "", fact, "is missing from the schema", must[:160])
        else:
            rule = "has another definition than the migrations give it"
            yield Fault(name, "", fact, rule, must[-160:], stands[-160:])


def _added(name: str, fact: str, text: str) -> Fault:
    return Fault(name, "", fact, "stands in the schema although no migration makes it", "", text[:160])
