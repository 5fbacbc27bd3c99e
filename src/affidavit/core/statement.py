"""From checked rows to the statements that store them in the caller's own transaction. Pure.

What is to be asked of a database is a generator of :class:`Statement` that is sent an :class:`Answer` for
each: the same for a driver that blocks and for one that is awaited, and for an ORM's connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from affidavit.core.content import same_content
from affidavit.core.event import Draft
from affidavit.core.ids import format_id, microseconds_of
from affidavit.core.row import COLUMNS, Recorded, Row
from affidavit.errors import FieldError, IdConflict, StorageError

__all__ = [
    "Answer",
    "Prepare",
    "Statement",
    "Steps",
    "postgres_steps",
    "sqlite_steps",
    "stored_in",
    "stored_steps",
    "written",
]


class Statement(NamedTuple):
    """One statement for a driver.

    Attributes:
        sql: with ``?`` for parameters, whatever the driver's own mark is.
        parameters: of one execution; of many, a sequence of these. A list is an array of PostgreSQL.
        many: whether it is executed once for each.
        returns: whether rows come back.
    """

    sql: str
    parameters: Sequence[Any]
    many: bool = False
    returns: bool = False

    @property
    def arrays(self) -> bool:
        """Whether there are arrays; in binary form, where a driver has one, they take a third of the time."""
        return not self.many and any(type(value) is list for value in self.parameters)


class Answer(NamedTuple):
    """What a statement gave: its rows, and how many rows it changed (-1 where the driver does not say)."""

    rows: Sequence[Sequence[Any]] = ()
    changed: int = -1


Steps = Generator[Statement, Answer, list[Recorded]]
"""The statements of one recording, and what became of each event."""

Prepare = Callable[[Callable[[str], bytes]], list[Row]]
"""Checks the drafts and makes their rows, given the secret of an organization."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AT = {name: number for number, name in enumerate(COLUMNS)}
_INSERT = f"INSERT INTO affidavit_events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM affidavit_events WHERE organization = ? AND id = ?"


def sqlite_steps(
    drafts: Sequence[Draft],
    prepare: Prepare,
    *,
    organization: Callable[[Draft], str | None],
    now: int,
    entropy: Callable[[int], bytes],
) -> Steps:
    """Record on SQLite: one INSERT for all.

    Args:
        drafts: what is recorded.
        prepare: makes their rows.
        organization: whose a draft is.
        now: ``recorded_at``, microseconds since 1970 UTC.
        entropy: that many random bytes, for the secret of an organization that has none.

    Raises:
        InvalidEvent: nothing was written.
        IdConflict: other content stands under an id; the caller's transaction must be rolled back.
    """
    secrets: dict[str, bytes] = {}
    for name in sorted({organization(draft) or "" for draft in drafts if draft.idempotency_key is not None}):
        yield Statement(
            "INSERT INTO affidavit_organizations (name, secret, created_at) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO NOTHING",
            (name, entropy(32), now),
        )
        answer = yield Statement(
            "SELECT secret FROM affidavit_organizations WHERE name = ?", (name,), returns=True
        )
        secrets[name] = bytes(answer.rows[0][0])
    rows = prepare(secrets.__getitem__)
    return (yield from _sqlite_insert(rows, now))


def stored_steps(rows: Sequence[Row], dialect: str, now: int) -> Steps:
    """Record rows that were made before and bring their ids: what waited in a spool.

    Args:
        rows: each with an id of its own; one that exists already is a duplicate.
        dialect: ``sqlite`` or ``postgresql``.
        now: ``recorded_at`` on SQLite, microseconds since 1970 UTC.
    """
    if dialect == "postgresql":
        return _postgres_call([_arguments(row, named=True, timed=True, key=None) for row in rows])
    return _sqlite_insert(rows, now)


def _sqlite_insert(rows: Sequence[Row], now: int) -> Steps:
    known: set[int] = set()
    batch: dict[tuple[str, bytes], Row] = {}
    for number, row in enumerate(rows):
        if not row.given:
            continue
        earlier = batch.get((row.organization, row.id))
        if earlier is None:
            answer = yield Statement(_SELECT, (row.organization, row.id), returns=True)
            stands = tuple(answer.rows[0]) if answer.rows else None
        else:
            stands = (*earlier.values, 0)
        if stands is None:
            batch[row.organization, row.id] = row
            continue
        _same(row, stands)
        known.add(number)
    fresh = [
        (*row.values, now if row.recorded_at is None else row.recorded_at)
        for number, row in enumerate(rows)
        if number not in known
    ]
    if fresh:
        many = len(fresh) > 1
        answer = yield Statement(_INSERT, fresh if many else fresh[0], many=many)
        if answer.changed not in (-1, len(fresh)):
            raise StorageError("A new event's random id exists already; roll back and record it again.")
    return [Recorded(row.id, number in known) for number, row in enumerate(rows)]


def _same(row: Row, stands: tuple[Any, ...]) -> None:
    if row.compare and not same_content(row, stands):
        name = format_id(row.id)
        raise IdConflict(
            f"Event {name} exists with other content; nothing was recorded.",
            (FieldError("/id", "conflict", "exists with other content", name),),
        )


_NAMES = (
    *("organization", "action", "occurred_at", "outcome", "severity", "source", "project", "parent_id"),
    *("idempotency_key", "actor", "resources", "context", "changes", "details", "secret", "id"),
)
"""The arguments of ``affidavit_record_v1`` in their order."""
_WORDS = itemgetter(*(_AT[name] for name in (*_NAMES[:2], *_NAMES[3:8])))
_GROUPS = itemgetter(*(_AT[name] for name in _NAMES[9:15]))
_TYPES = {"occurred_at": "timestamptz", "parent_id": "uuid", "secret": "bytea", "id": "uuid"}
_ONE = (
    "SELECT id, duplicate FROM affidavit_record_v1("
    + ", ".join(f"CAST(? AS {_TYPES.get(name, 'text')})" for name in _NAMES)
    + ")"
)
_MANY = (
    "SELECT id, duplicate FROM affidavit_record_many_v1("
    + ", ".join(f"CAST(? AS {_TYPES.get(name, 'text')}[])" for name in _NAMES)
    + ")"
)


def postgres_steps(drafts: Sequence[Draft], prepare: Prepare) -> Steps:
    """Record on PostgreSQL: one call of ``affidavit_record_v1``, for several of ``affidavit_record_many_v1``.

    The database sets ``recorded_at``, the times that nobody gave and the ids that follow from them.

    Raises:
        InvalidEvent: nothing was sent.
    """
    rows = prepare(lambda _organization: bytes(32))
    calls = [
        _arguments(
            row,
            named=draft.id is not None,
            timed=draft.occurred_at is not None or draft.id is not None,
            key=draft.idempotency_key,
        )
        for draft, row in zip(drafts, rows, strict=True)
    ]
    return (yield from _postgres_call(calls))


def _postgres_call(calls: Sequence[tuple[Any, ...]]) -> Steps:
    if not calls:
        return []
    if len(calls) == 1:
        answer = yield Statement(_ONE, calls[0], returns=True)
    else:
        columns = [list(column) for column in zip(*calls, strict=True)]
        # An array of nothing but NULL says no more than no array.
        given = [column if column.count(None) < len(calls) else None for column in columns]
        answer = yield Statement(_MANY, given, returns=True)
    return [
        Recorded(found.bytes if isinstance(found, UUID) else UUID(str(found)).bytes, bool(duplicate))
        for found, duplicate in answer.rows
    ]


def _arguments(row: Row, *, named: bool, timed: bool, key: str | None) -> tuple[Any, ...]:
    organization, action, *words, parent = _WORDS(row.values)
    return (
        organization,
        action,
        _EPOCH + timedelta(microseconds=microseconds_of(row.id)) if timed else None,
        *words,
        None if parent is None else str(UUID(bytes=parent)),
        key,
        *_GROUPS(row.values),
        str(UUID(bytes=row.id)) if named else None,
    )


def stored_in(statement: Statement) -> list[Mapping[str, Any]]:
    """The events that a statement of a recording stores, by the names of columns and of arguments.

    On PostgreSQL those that exist already are among them, and an ``id`` or time that nobody gave is ``None``;
    the answer says what became of each. A statement that only asks stores nothing.
    """
    if statement.sql == _ONE:
        return [dict(zip(_NAMES, statement.parameters, strict=True))]
    if statement.sql == _MANY:
        many = max(len(column) for column in statement.parameters if column is not None)
        columns = [[None] * many if column is None else column for column in statement.parameters]
        return [dict(zip(_NAMES, values, strict=True)) for values in zip(*columns, strict=True)]
    if statement.sql == _INSERT:
        rows = statement.parameters if statement.many else [statement.parameters]
        return [dict(zip(COLUMNS, values, strict=True)) for values in rows]
    return []


_MARK = re.compile(r"\?")
_OURS = re.compile(r"(?<![\w.\"'])affidavit_\w+")


@lru_cache(maxsize=256)
def written(sql: str, mark: str, schema: str | None) -> str:
    """A statement for a driver: its own mark for parameters, and our names with their schema.

    Args:
        sql: as :class:`Statement` has it; it holds no other question mark.
        mark: ``?``, ``%s`` or ``%b``.
        schema: quoted as an identifier; ``None`` leaves the names as they are.
    """
    if schema is not None:
        quoted = '"' + schema.replace('"', '""') + '"'
        sql = _OURS.sub(lambda found: f"{quoted}.{found[0]}", sql)
    return _MARK.sub(lambda _found: mark, sql)
