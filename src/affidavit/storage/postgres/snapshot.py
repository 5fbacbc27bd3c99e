"""Reading moments: one snapshot of events, log and index, and the parts that a walk goes through.

A partition that comes or goes, and the TRUNCATE that empties the index, are no part of a snapshot. So two
locks come first, that both of these need: what the planner sees then is what the snapshot sees, to its end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg

from affidavit.core.ids import first_id
from affidavit.storage.postgres.connect import Pool, Session, written
from affidavit.storage.sql.conditions import BEYOND

__all__ = ["INDEX_VERSION", "LONG_TAIL", "IndexState", "Part", "Snapshot", "Snapshots", "within"]

INDEX_VERSION = 1
LONG_TAIL = 20_000
"""With more events than this beyond the watermark, looked-up values are found by walking instead."""

PENDING = 40_001
"""Pending events that are counted; so many may be any number."""

Part = tuple[bytes, bytes]
"""A range of ids: the first of it, and the bound beyond its last."""

_OPEN = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
    # Whatever the statistics say, or whether there are any: an ordered index is read and nothing else.
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off;"
    "SET LOCAL enable_mergejoin = off; SET LOCAL enable_hashagg = off; SET LOCAL jit = off;"
    "SET LOCAL max_parallel_workers_per_gather = 0;"
    "LOCK TABLE ONLY affidavit_events, ONLY affidavit_events_default, ONLY affidavit_terms"
    " IN ACCESS SHARE MODE;"
    "SELECT p.seq, (SELECT version FROM affidavit_partitioning),"
    " EXISTS (SELECT FROM ONLY affidavit_events_default),"
    f" (SELECT count(*) FROM (SELECT FROM affidavit_pending LIMIT {PENDING}) waiting),"
    " i.version, i.key, i.seq, i.id, i.recorded_at, i.counted,"
    " EXISTS (SELECT FROM affidavit_leaves l WHERE l.seq = i.seq AND l.id = i.id)"
    " FROM affidavit_position p LEFT JOIN affidavit_index i ON true"
)


class IndexState(msgspec.Struct, frozen=True):
    """The one row of ``affidavit_index``."""

    key: bytes
    seq: int
    id: bytes | None
    recorded_at: int | None
    counted: int


def state_of(row: Sequence[Any]) -> IndexState | None:
    """The state from version, columns, and whether the leaf at its place is the one it has seen.

    ``None`` where there is none, of another layout, or of a log that was cut back.
    """
    version, key, seq, id_, recorded_at, counted, stands = row
    if version != INDEX_VERSION or (seq and not stands):
        return None
    return IndexState(key, seq, id_, recorded_at, counted)


def within(part: Part, column: str = "id") -> str:
    """A condition on an id with constants, so that the planner looks at the partitions concerned only."""
    low, high = part
    tests = []
    if high < BEYOND:
        tests.append(f"{column} < '{high.hex()}'" if len(high) == 16 else f"{column} <= '{high[:16].hex()}'")
    if low:
        tests.append(f"{column} >= '{low.hex()}'")
    return " AND ".join(tests) or "true"


class Snapshot:
    """What one answer is read from.

    Attributes:
        session: within a transaction whose statements all see one moment.
        state: of the index; ``None`` where there is none.
        last_seq: the position given last.
        pending: events without a place; :data:`PENDING` may be any number.
    """

    def __init__(self, session: Session, row: Sequence[Any], months: Sequence[Part]) -> None:
        self.session = session
        self.last_seq: int = row[0]
        self.state = state_of(row[4:])
        self._spilled = bool(row[2])
        self.pending: int = row[3]
        self._months = months

    @property
    def watermark(self) -> int:
        """Place up to which the index is complete."""
        return self.state.seq if self.state is not None else 0

    @property
    def tail(self) -> int:
        """Events that the index does not have yet."""
        return self.last_seq - self.watermark + self.pending

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a statement in this moment."""
        return self.session.execute(statement, parameters)

    def parts(self, low: bytes, below: bytes) -> Iterator[Part]:
        """What a walk from ``below`` down to ``low`` goes through, newest first, a few months at a time.

        The default partition is left out while it is empty.
        """
        for first, beyond in self._all_parts():
            if first < below and beyond > low:
                yield max(first, low), min(beyond, below)

    def whole(self, part: Part) -> Part:
        """A part with all of the partitions at its ends."""
        edges = {b"", BEYOND, *(edge for month in self._months for edge in month)}
        return max(edge for edge in edges if edge <= part[0]), min(edge for edge in edges if edge >= part[1])

    def _all_parts(self) -> Iterator[Part]:
        now = first_id(int(time.time() * 1_000_000))
        end = BEYOND
        group: Part | None = None
        before = taken = 0
        for low, high in self._months:
            # As many months at once as were walked through before; those to come, as a rule empty, go along.
            if group is not None and (high < end or taken >= max(1, before)):
                yield group
                group, before, taken = None, before + taken, 0
            if high < end and self._spilled:
                yield high, end
            group = (low, high if group is None else group[1])
            taken += low <= now
            end = low
        if group is not None:
            yield group
        if self._spilled and end:
            yield b"", end


class Snapshots:
    """Opens moments, and remembers the months between two of them.

    Args:
        pool: of the database.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._months: tuple[int, list[Part]] = (0, [])

    @contextmanager
    def open(self) -> Iterator[Snapshot]:
        """One moment, for the length of the block."""
        with self._pool.session() as session:
            cursor = session.connection.cursor()
            # In one message, and therefore without parameters.
            cursor.execute(written(_OPEN, session.address.schema))
            while cursor.nextset():
                pass
            row = cursor.fetchone() or ()
            yield Snapshot(session, row, self._known(session, row[1]))
            session.connection.execute("COMMIT")

    def _known(self, session: Session, version: int) -> list[Part]:
        known, months = self._months
        if known != version:
            months = [
                (low, high)
                for low, high in session.execute("SELECT low, high FROM affidavit_months ORDER BY low DESC")
            ]
            self._months = version, months
        return months
