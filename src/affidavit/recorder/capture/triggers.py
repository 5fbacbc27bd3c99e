"""Triggers of PostgreSQL that record every change of a table, whatever program makes it.

The DDL names the columns that events show and no others: a masked column stands nowhere in it, and a column
that is renamed stops the change rather than slip through. Who acts, and from where, comes in as settings of
the transaction (:mod:`.carried`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import msgspec

from affidavit.core.catalog import EventType
from affidavit.core.event import RESERVED
from affidavit.core.mask import is_secret
from affidavit.core.names import NAME_RULE, name_is_valid
from affidavit.errors import ConfigError
from affidavit.recorder.capture.ddl import (
    KINDS,
    Kind,
    Wanted,
    body_of,
    function_of,
    identifier,
    script,
    triggers_of,
)
from affidavit.recorder.capture.tables import Shape, Standing, shape_of, standing

__all__ = ["Stale", "drop_sql", "stale", "trigger_sql"]

_ACTION = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+\Z", re.ASCII)


class Stale(NamedTuple):
    """Triggers that no longer fit their table.

    Attributes:
        table: as SQL writes its name.
        reasons: one sentence each.
    """

    table: str
    reasons: tuple[str, ...]


def trigger_sql(
    connection: Any,
    table: str,
    *,
    organization: str | None = None,
    organization_column: str | None = None,
    actions: Mapping[Kind, str | EventType] | None = None,
    type: str | None = None,
    key: Sequence[str] = (),
    name: str | None = None,
    exclude: Collection[str] = (),
    mask: Collection[str] = (),
    without_actor: Literal["refuse", "database"] = "refuse",
    schema: str = "public",
) -> str:
    """The SQL that lets triggers record each insert, update, delete and truncation of a table.

    It may be run again, and is to be made and run again whenever the table's columns change. Whoever runs it
    owns the triggers' function, and must be allowed to record: ``GRANT affidavit_writer``.

    Args:
        connection: of psycopg, SQLAlchemy or Django; only asked about the table.
        table: its name as SQL writes it.
        organization: of changes whose transaction says none.
        organization_column: whose value is the organization of each row, before anything else.
        actions: of the kinds that are captured; by default all: ``<table>.create``, ``<table>.update`` and
            ``<table>.delete``.
        type: of the resource; by default the table's name.
        key: columns that are its id; by default the primary key.
        name: column with its name.
        exclude: columns that no event shows; an update of nothing else makes none.
        mask: columns whose values no event shows, and whose names the SQL does not hold, beside those whose
            names look like a secret. An update of nothing else is an event without changes.
        without_actor: what becomes of a change whose transaction does not say who acts: ``refuse`` stops it,
            ``database`` records the system ``database`` with the name of the role that logged in.
        schema: of our tables.

    Raises:
        ConfigError: there is no such table or column, or one of the rules above is broken.
    """
    shape = shape_of(connection, table)
    wanted = _wanted(
        shape,
        organization=organization,
        organization_column=organization_column,
        actions=_actions(shape, actions),
        type=type or shape.name,
        key=tuple(key) or shape.key,
        name=name,
        exclude=tuple(exclude),
        mask=tuple(mask),
        without_actor=without_actor,
        schema=schema,
    )
    # A table that was renamed has triggers that call a function of its old name.
    left = _functions(standing(connection, shape.oid)) - {(shape.schema, function_of(shape))}
    return script(wanted, shape) + _without(left)


def drop_sql(connection: Any, table: str) -> str:
    """The SQL that takes our triggers off a table.

    Args:
        connection: see :func:`trigger_sql`.
        table: its name as SQL writes it.

    Raises:
        ConfigError: there is no such table.
    """
    shape = shape_of(connection, table)
    found = standing(connection, shape.oid)
    lines = [
        f"DROP TRIGGER {identifier(each.name)} ON {identifier(shape.schema, shape.name)};" for each in found
    ]
    return "".join(f"{line}\n" for line in lines) + _without(_functions(found))


def stale(connection: Any) -> list[Stale]:
    """The triggers of a database that no longer fit their tables, with the reasons; by table.

    Args:
        connection: see :func:`trigger_sql`.
    """
    found = []
    for table, group in groupby(standing(connection), key=attrgetter("table")):
        ours = list(group)
        reasons = tuple(_reasons(shape_of(connection, ours[0].oid), ours))
        if reasons:
            found.append(Stale(table, reasons))
    return found


def _functions(triggers: Sequence[Standing]) -> set[tuple[str, str]]:
    return {(each.schema, each.function) for each in triggers}


def _without(functions: Collection[tuple[str, str]]) -> str:
    return "".join(f"DROP FUNCTION {identifier(*function)}();\n" for function in sorted(functions))


def _reasons(shape: Shape, ours: Sequence[Standing]) -> Iterator[str]:
    wanted = msgspec.json.decode(ours[0].comment, type=Wanted)
    present = {column.name for column in shape.columns}
    named = {*wanted.key, *wanted.columns, *filter(None, (wanted.name, wanted.organization_column))}
    for column in sorted(named - present):
        yield f'the column "{column}" is gone or has another name: every change of the table fails'
    for column in sorted(_shown(shape, {*wanted.key, *wanted.exclude}, wanted.mask) - named):
        yield f'the column "{column}" is new: no event shows it'
    must = triggers_of(wanted, shape)
    for trigger in sorted(must.keys() - {each.name for each in ours}):
        yield f"the trigger {trigger} is missing"
    for each in ours:
        if not each.enabled:
            yield f"the trigger {each.name} is disabled"
        if each.name in must and each.rows != must[each.name].endswith("ROW"):
            yield f"the trigger {each.name} fires for {'rows' if each.rows else 'statements'} only"
    if ours[0].source != body_of(wanted, shape):
        yield "the function is not the one that would be made now"


def _actions(shape: Shape, actions: Mapping[Kind, str | EventType] | None) -> dict[Kind, str]:
    table = re.sub(r"[^a-z0-9_-]", "_", shape.name.lower())
    given: Mapping[Kind, str | EventType] = (
        {kind: f"{table}.{kind}" for kind in KINDS} if actions is None else actions
    )
    found: dict[Kind, str] = {}
    for kind, action in given.items():
        if kind not in KINDS:
            raise ConfigError(f"{kind!r} is none of {', '.join(KINDS)}.")
        found[kind] = name = action.action if isinstance(action, EventType) else action
        if not _ACTION.match(name) or len(name) > 128:
            raise ConfigError(f"The action {name!r} must be segments of a-z 0-9 _ - joined by dots.")
        if name.startswith(RESERVED):
            raise ConfigError(f"The action {name!r} is the product's own; say actions for this table.")
    if not found:
        raise ConfigError(f"Say at least one action of {', '.join(KINDS)}.")
    return found


def _wanted(shape: Shape, *, exclude: tuple[str, ...], mask: tuple[str, ...], **more: Any) -> Wanted:
    """Check what is wanted against the table.

    Raises:
        ConfigError: a rule is broken.
    """
    present = {column.name for column in shape.columns}
    digests = tuple(sorted(_digest(column) for column in mask))
    columns = _shown(shape, {*more["key"], *exclude}, digests)
    hidden = present - {*columns, *more["key"], *exclude}
    wanted = Wanted(
        columns=tuple(column.name for column in shape.columns if column.name in columns),
        exclude=exclude,
        masked=any(column.name in hidden and not column.generated for column in shape.columns),
        mask=digests,
        **more,
    )
    for column in (*wanted.key, *exclude, *mask, wanted.name, wanted.organization_column):
        if column is not None and column not in present:
            raise ConfigError(f"{shape.schema}.{shape.name} has no column {column!r}.")
    if not wanted.key:
        raise ConfigError(
            f"{shape.schema}.{shape.name} has no primary key; say which columns are the id of its resources."
        )
    for column in (*wanted.key, wanted.name, wanted.organization_column):
        if column is not None and (column in (*exclude, *mask) or is_secret(column)):
            raise ConfigError(
                f"{column!r} of {shape.schema}.{shape.name} is not to be shown, and would be in each event."
            )
    if wanted.organization is not None and not name_is_valid(wanted.organization):
        raise ConfigError(f"The organization {wanted.organization!r} {NAME_RULE}.")
    if wanted.without_actor not in ("refuse", "database"):
        raise ConfigError(f"without_actor must be refuse or database, not {wanted.without_actor!r}.")
    return wanted


def _shown(shape: Shape, apart: Collection[str], mask: Collection[str]) -> set[str]:
    """The columns that events show; a generated one follows from others, which may be masked."""
    return {
        column.name
        for column in shape.columns
        if not (
            column.generated or column.name in apart or is_secret(column.name) or _digest(column.name) in mask
        )
    }


def _digest(column: str) -> str:
    """What stands for the name of a masked column where its name shall not stand."""
    return sha256(column.encode()).hexdigest()[:16]
