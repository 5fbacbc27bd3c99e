r"""Writes events and their places in the queue, in the transaction of whoever calls.

What to send is said once, by generators that yield statements and are given the rows of the answers
(:data:`Steps`); :func:`insert_rows` sends them over a :class:`Session`, :mod:`.group` over a connection of
the event loop. Few rows are one statement with an array for each column; many go by COPY, events first, then
their places. An event that the caller named may exist: COPY fails then, and the same rows go again as the
one statement, which passes over what exists and says what was new.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from struct import pack
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from affidavit import errors
from affidavit.core.content import same_content
from affidavit.core.ids import format_id
from affidavit.core.row import COLUMNS, Recorded, Row
from affidavit.storage.postgres.closed import refusal
from affidavit.storage.postgres.connect import Session

__all__ = ["FEW", "Copy", "Run", "Steps", "copied", "insert_rows", "insertion", "named", "settled"]

FEW: Final = 50
"""Rows up to which one statement is faster than two COPYs."""

T = TypeVar("T")


class Run(NamedTuple):
    """One statement; its answer is its rows."""

    statement: str
    parameters: Sequence[Any] = ()


class Copy(NamedTuple):
    """One COPY FROM STDIN with all of its input."""

    statement: str
    block: bytes


Steps = Generator[Run | Copy, list[tuple[Any, ...]], T]
"""Says what to send, one step after the other; an error of the database is raised where the step stands."""
Key = tuple[str, bytes]
"""Organization and id: what an event is known by."""


def insert_rows(session: Session, rows: Sequence[Row], now: int | None) -> list[Recorded]:
    """Insert a batch and its places in the queue within the caller's transaction.

    Args:
        session: within a transaction.
        rows: the batch.
        now: ``recorded_at`` of rows that bring none; ``None`` takes the database's clock.

    Raises:
        IdConflict: other content stands under an id of the batch; the caller must roll back.
        InvalidEvent: an id lies in a pruned range; the caller must roll back.
    """
    steps = insertion(rows, now)
    try:
        step = next(steps)
        while True:
            try:
                answer = _send(session, step)
            except psycopg.Error as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        recorded: list[Recorded] = end.value
        return recorded
    except pg.RestrictViolation as error:
        raise refusal(error, rows) or error from error


def _send(session: Session, step: Run | Copy) -> list[tuple[Any, ...]]:
    if isinstance(step, Copy):
        with session.copy(step.statement) as copy:
            copy.write(step.block)
        return []
    cursor = session.execute(step.statement, step.parameters)
    return [] if cursor.description is None else cursor.fetchall()


def insertion(rows: Sequence[Row], now: int | None) -> Steps[list[Recorded]]:
    """The steps that insert one batch within a transaction; see :func:`insert_rows`."""
    if len(rows) > FEW and not any(row.given for row in rows):
        yield from copied(rows, now)
        return [Recorded(row.id, False) for row in rows]
    # COPY takes each event once.
    if len(rows) > FEW and len({(row.organization, row.id) for row in rows}) == len(rows):
        yield Run("SAVEPOINT batch")
        try:
            yield from copied(rows, now)
        except (pg.UniqueViolation, pg.DeadlockDetected):
            # Deadlock: another batch has the same events in another order.
            yield Run("ROLLBACK TO SAVEPOINT batch")
        else:
            yield Run("RELEASE SAVEPOINT batch")
            return [Recorded(row.id, False) for row in rows]
    fresh = yield from named(rows, now)
    outcome = yield from settled([rows], fresh)
    if isinstance(outcome[0], errors.Refused):
        raise outcome[0]
    return outcome[0]


# By COPY, in its text format.

_LAST = ("actor_id", "secret", "remains")
_ORDER = (*(name for name in COLUMNS[:-1] if name not in _LAST), *_LAST)
_COPY = f"COPY affidavit_events ({', '.join(_ORDER)}) FROM STDIN"
_COPY_AT = f"COPY affidavit_events ({', '.join(_ORDER)}, recorded_at) FROM STDIN"
_COPY_PENDING = "COPY affidavit_pending (organization, id) FROM STDIN"
_CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_NULL = "\\N"
_ESCAPES = {ord("\\"): "\\\\", **{number: f"\\x{number:02x}" for number in range(32)}}


def copied(rows: Sequence[Row], now: int | None) -> Steps[None]:
    """The steps that insert rows by COPY; an existing id is a unique violation."""
    if now is None and any(row.recorded_at is not None for row in rows):
        ((now,),) = yield Run(_CLOCK)
    if now is None:
        yield Copy(_COPY, "\n".join([_line(row) for row in rows]).encode())
    else:
        lines = [f"{_line(row)}\t{now if row.recorded_at is None else row.recorded_at}" for row in rows]
        yield Copy(_COPY_AT, "\n".join(lines).encode())
    yield Copy(_COPY_PENDING, "\n".join([f"{row.organization}\t{row.id.hex()}" for row in rows]).encode())


def _line(row: Row) -> str:
    """One row but for its ``recorded_at``.

    The actor's id is the only text that may hold control characters: canonical JSON escapes them, and the
    rest are words. So elsewhere backslashes are all there is to escape, and there are none but in JSON.
    """
    (
        event_id, version, organization, project, action, outcome, severity, source, imported, parent_id,
        facts, actor_id, actor, resources, context, changes, details, secret, remains,
    ) = row.values  # fmt: skip
    groups = f"{actor}\t{resources}\t{context}\t{changes}\t{details}"
    if "\\" in groups:
        groups = groups.replace("\\", "\\\\")
    if "\\" in actor_id or not actor_id.isprintable():
        actor_id = actor_id.translate(_ESCAPES)
    return (
        f"{event_id.hex()}\t{version}\t{organization}\t{project or _NULL}\t{action}\t{outcome}\t{severity}"
        f"\t{source}\t{imported}\t{_NULL if parent_id is None else parent_id.hex()}"
        f"\t{_NULL if facts is None else facts.translate(_ESCAPES)}\t{groups}\t{actor_id}"
        f"\t\\\\x{secret.hex()}\t{remains or _NULL}"
    )


# As one statement.


class _Array(bytes):
    """A parameter: an array in PostgreSQL's binary form."""

    element: int


def _kind(name: str) -> Callable[[Sequence[bytes | None]], _Array]:
    """Makes arrays of a type of PostgreSQL from elements in binary form."""
    registered = psycopg.postgres.types[name]
    kind = type(f"_{name}s", (_Array,), {})
    dumper = type(f"_Dump_{name}s", (_ArrayDumper,), {"oid": registered.array_oid})
    psycopg.adapters.register_dumper(kind, dumper)

    def make(items: Sequence[bytes | None]) -> _Array:
        parts = [pack("!5i", 1, None in items, registered.oid, len(items), 1)]
        for item in items:
            parts += (_ABSENT,) if item is None else (pack("!i", len(item)), item)
        array: _Array = kind(b"".join(parts))
        return array

    return make


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer:
        return bytes(obj)


_ABSENT = pack("!i", -1)
_texts, _uuids, _blobs = _kind("text"), _kind("uuid"), _kind("bytea")
_integers, _moments, _flags = _kind("int4"), _kind("int8"), _kind("bool")


def _column(name: str, values: Sequence[Any]) -> _Array:
    if name in ("id", "parent_id"):
        return _uuids(values)
    if name == "secret":
        return _blobs(values)
    if name == "version":
        return _integers([pack("!i", value) for value in values])
    if name == "imported":
        return _flags([b"\1" if value else b"\0" for value in values])
    return _texts([None if value is None else value.encode() for value in values])


_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_STORE = (
    f"WITH made AS (INSERT INTO affidavit_events ({', '.join(COLUMNS)})"
    f" SELECT {', '.join(COLUMNS[:-1])}, coalesce(recorded_at, {_NOW})"
    f" FROM unnest({', '.join('?' * len(COLUMNS))}) AS came ({', '.join(COLUMNS)})"
    " ON CONFLICT (organization, id) DO NOTHING RETURNING organization, id),"
    " queued AS (INSERT INTO affidavit_pending (organization, id) SELECT organization, id FROM made)"
    " SELECT organization, id FROM made"
)
_STANDING = (
    f"SELECT {', '.join(f'event.{name}' for name in COLUMNS)}"
    " FROM unnest(?, ?) AS asked (organization, id), LATERAL (SELECT * FROM affidavit_events AS e"
    " WHERE e.organization = asked.organization AND e.id = asked.id LIMIT 1) AS event"
)


def named(rows: Sequence[Row], now: int | None) -> Steps[set[Key]]:
    """The steps that insert of these rows what is new, in one statement; returns what was.

    Of several rows under one id the first is meant.
    """
    first: dict[Key, Row] = {}
    for row in rows:
        first.setdefault((row.organization, row.id), row)
    if not first:
        return set()
    if any(row.given for row in rows):
        # Two batches with the same events in another order would wait for each other.
        first = dict(sorted(first.items()))
    columns = zip(*[row.values for row in first.values()], strict=True)
    arrays = [_column(name, values) for name, values in zip(COLUMNS, columns, strict=False)]
    moments = [now if row.recorded_at is None else row.recorded_at for row in first.values()]
    arrays.append(_moments([None if moment is None else pack("!q", moment) for moment in moments]))
    made = yield Run(_STORE, arrays)
    return {(organization, event_id) for organization, event_id in made}


def settled(
    batches: Sequence[Sequence[Row]], fresh: set[Key]
) -> Steps[list[list[Recorded] | errors.IdConflict]]:
    """What became of batches that went through :func:`named` together, each compared with what stands.

    Args:
        batches: in the order in which their rows went.
        fresh: what was new.

    Raises:
        StorageError: an event of chance stands there already, or one that stood there is gone.
    """
    rows = [row for batch in batches for row in batch]
    known = {(row.organization, row.id): row for row in rows if (row.organization, row.id) not in fresh}
    stands: dict[Key, tuple[Any, ...]] = {}
    if known:
        asked = (_texts([key[0].encode() for key in known]), _uuids([key[1] for key in known]))
        for values in (yield Run(_STANDING, asked)):
            stands[(values[2], values[0])] = values
    left = set(fresh)
    return [_outcome(batch, left, stands) for batch in batches]


def _outcome(
    batch: Sequence[Row], fresh: set[Key], stands: dict[Key, tuple[Any, ...]]
) -> list[Recorded] | errors.IdConflict:
    recorded = []
    for row in batch:
        key = (row.organization, row.id)
        if key in fresh:
            fresh.remove(key)
            stands[key] = (*row.values, 0)
            recorded.append(Recorded(row.id, False))
            continue
        if not row.given or key not in stands:
            # A random id of 62 bits met an existing one, or erasure took the row away between two statements.
            raise errors.StorageError("An event's id existed when it was stored; send the batch again.")
        if row.compare and not same_content(row, stands[key]):
            name = format_id(row.id)
            return errors.IdConflict(
                f"Event {name} exists with other content; nothing of this batch was stored.",
                (errors.FieldError("/id", "conflict", "exists with other content", name),),
            )
        recorded.append(Recorded(row.id, True))
    return recorded
