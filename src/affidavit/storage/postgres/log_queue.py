"""What waits for its leaf: rows of ``affidavit_pending``, which commit out of the order of their numbers.

A claim locks nothing. It reads on from where the last batch ended, and once a second also what lies before
that: a transaction that took its number early and was committed late. A row that cannot be sequenced (of a
newer version, without its event, in the queue a second time) stays where it is, is named by an alarm, and
does not hold up the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from affidavit import errors
from affidavit.core.forms import format_id
from affidavit.core.leaf import LEAF_VERSION
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import home_of
from affidavit.storage.log import Alarm, AlarmStore, Claimed, QueueProgress
from affidavit.storage.postgres.connect import Pool, Session, uid
from affidavit.storage.postgres.log_place import EVENT, check_place

__all__ = ["EVENT", "MISSING", "TOO_NEW", "TWICE", "PostgresQueue"]

SWEEP_EVERY = 1.0
"""Seconds between two looks at everything that waits."""
SWEEP_SHARE = 3
"""A look whose reading took longer than usual is followed by a pause this many times as long."""
PIECES = 4
"""Reads of one claim that may find nothing but rows that cannot be sequenced."""
MOST_COUNTED = 20_000
"""Waiting rows that are counted; where more wait, nobody needs to know how many."""

TOO_NEW, MISSING, TWICE = "row_too_new", "event_missing", "event_queued_twice"
"""The kinds of alarms about rows that stay in the queue."""

_ID, _VERSION, _ORGANIZATION = COLUMNS.index("id"), COLUMNS.index("version"), COLUMNS.index("organization")

# The ids of a piece first: with both ends as parameters the plan of the second statement has no other months
# than those between them. A row that is committed meanwhile with an id beyond them is one of the late ones.
_IDS = "SELECT uuid_send(id) FROM affidavit_pending WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?"
# LIMIT 1 keeps each event one look into the index, whatever is known of a table that grew a moment ago.
_PIECE = (
    f"SELECT p.seq, uuid_send(p.id), {EVENT} FROM (SELECT seq, organization, id FROM affidavit_pending"
    " WHERE seq >= ? AND seq < ? AND id >= ? AND id <= ? ORDER BY seq LIMIT ?) p LEFT JOIN LATERAL"
    " (SELECT * FROM affidavit_events e WHERE e.organization = p.organization AND e.id = p.id"
    " AND e.id >= ? AND e.id <= ? LIMIT 1) e ON true ORDER BY p.seq"
)
_PROGRESS = (
    "SELECT t.seq, (SELECT count(*) FROM (SELECT 1 FROM affidavit_pending WHERE seq >= ? LIMIT ?) w),"
    " p.organization, uuid_send(p.id) FROM affidavit_position t LEFT JOIN LATERAL"
    " (SELECT organization, id FROM affidavit_pending WHERE seq >= ? ORDER BY seq LIMIT 1) p ON true"
)
_RECORDED = "SELECT recorded_at FROM affidavit_events WHERE organization = ? AND id = ?"
_SEALED = (
    "SELECT l.id FROM (SELECT DISTINCT ON (organization) tree FROM affidavit_trees"
    " WHERE organization = ANY(?) ORDER BY organization, incarnation DESC) t"
    " JOIN affidavit_leaves l ON l.tree = t.tree AND l.id = ANY(?)"
)
_END = (1 << 63) - 1


class _Waiting(NamedTuple):
    """A row of the queue with its event."""

    number: int
    event_id: bytes
    values: tuple[Any, ...]


class _Reading(NamedTuple):
    """Where a claim ends: ``front`` behind its last row, ``late`` in a look at what lies before the batch."""

    front: int
    late: int | None


class PostgresQueue:
    """The queue of one store; see :class:`affidavit.storage.log.Queue`.

    Args:
        pool: of connections.
        alarms: told of the rows that stay in the queue.
        monotonic: seconds.
    """

    def __init__(
        self, pool: Pool, alarms: AlarmStore, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._alarms = alarms
        self._monotonic = monotonic
        self._told: set[str] | None = None
        self._doubtful = False
        self.forget()

    def forget(self) -> None:
        """Read from the beginning again."""
        self._at = self._after = _Reading(0, None)
        self._sweep_due = float("-inf")
        self._begun = 0.0
        self._sweeping: float | None = None
        self._numbers: dict[int, int] = {}
        self._seen: dict[str, str] = {}

    def claim(self, limit: int) -> list[Claimed]:
        """See the role; a place is the position that the event gets if nobody else comes first."""
        self._begin_sweep()
        found: list[_Waiting] = []
        front, late = self._at
        with self._pool.session() as session:
            place = check_place(session)
            if late is not None:
                began = self._monotonic()
                late, ended = self._take(session, found, late, front, limit)
                late = None if ended else late
                self._sweeping = (self._sweeping or 0.0) + self._monotonic() - began
            front, _ = self._take(session, found, front, _END, limit)
        self._after = _Reading(front, late)
        self._numbers = {place.seq + at: each.number for at, each in enumerate(found, 1)}
        self._tell(place.now)
        if not found:
            self.passed()
        return [Claimed(place.seq + at, each.values) for at, each in enumerate(found, 1)]

    def numbers(self, claimed: Sequence[Claimed]) -> list[int]:
        """The rows of the queue that these events were claimed from.

        Raises:
            LogMoved: they are not what was claimed last.
        """
        try:
            return [self._numbers[each.seq] for each in claimed]
        except KeyError as error:
            raise errors.LogMoved(f"The place {error.args[0]} is not claimed here.") from error

    def passed(self) -> None:
        """What was claimed is off the queue: go on behind it."""
        self._at, self._numbers = self._after, {}
        if self._sweeping is not None and self._at.late is None:
            self._sweep_due = self._begun + max(SWEEP_EVERY, self._sweeping * SWEEP_SHARE)
            self._sweeping = None
            self._take_back()

    def doubt(self) -> None:
        """An event of the last claim has its leaf already: from now on ask that of each one."""
        self._doubtful = True

    def progress(self) -> QueueProgress:
        """See the role. Rows that a claim has passed over are named by an alarm and do not count."""
        front = self._at.front
        with self._pool.session() as session:
            place, waiting, organization, event_id = session.execute(
                _PROGRESS, (front, MOST_COUNTED, front)
            ).fetchone() or (0, 0, None, None)
            if event_id is None:
                return QueueProgress(place, waiting, None)
            row = session.execute(_RECORDED, (organization, uid(event_id))).fetchone()
        return QueueProgress(place, waiting, None if row is None else row[0])

    def _begin_sweep(self) -> None:
        now = self._monotonic()
        if self._at.late is None and now >= self._sweep_due:
            self._begun = now
            self._at = self._at._replace(late=0)

    def _take(
        self, session: Session, found: list[_Waiting], start: int, end: int, limit: int
    ) -> tuple[int, bool]:
        """Add what can be sequenced from a range of the queue; where reading goes on, whether it ended."""
        for _ in range(PIECES):
            wanted = limit - len(found)
            if wanted == 0:
                return start, False
            ids = [event_id for (event_id,) in session.execute(_IDS, (start, end, wanted)).fetchall()]
            if not ids:
                return start, True
            low, high = uid(min(ids)), uid(max(ids))
            rows = session.execute(_PIECE, (start, end, low, high, wanted, low, high)).fetchall()
            waiting = [_Waiting(row[0], row[1], row[2:]) for row in rows]
            found += self._sound_ones(session, found, waiting)
            if rows:
                start = waiting[-1].number + 1
            if len(ids) < wanted:
                return start, True
        return start, False

    def _sound_ones(
        self, session: Session, before: Sequence[_Waiting], rows: Sequence[_Waiting]
    ) -> Iterator[_Waiting]:
        """Those of a piece that can be sequenced; what is wrong with the others is noted."""
        sealed = _sealed(session, before, rows) if self._doubtful else set()
        for row in rows:
            version = row.values[_VERSION]
            if row.values[_ID] is None:
                self._note(MISSING, row, "has no event: somebody deleted it. See: affidavit fsck")
            elif version > LEAF_VERSION:
                self._note(
                    TOO_NEW,
                    row,
                    f"is of version {version}, this worker knows {LEAF_VERSION}; upgrade it. Others pass",
                )
            elif row.event_id in sealed:
                self._note(TWICE, row, "was sequenced before. See: affidavit fsck")
            else:
                if self._doubtful:
                    sealed.add(row.event_id)
                yield row

    def _note(self, kind: str, row: _Waiting, text: str) -> None:
        event_id = format_id(row.event_id)
        self._seen.setdefault(kind, f"Event {event_id} stays in the queue, maybe others do, too: it {text}.")

    def _tell(self, now: int) -> None:
        """Raise the alarms that do not stand yet."""
        if self._told is None:
            self._told = {alarm.kind for alarm in self._alarms.alarms()} & {MISSING, TOO_NEW, TWICE}
        for kind in self._seen.keys() - self._told:
            self._alarms.sound(Alarm(kind, "", now, self._seen[kind]))
            self._told.add(kind)

    def _take_back(self) -> None:
        """After a look at everything that waits: clear the alarms that no row gives reason for any more."""
        for kind in (self._told or set()) - self._seen.keys():
            self._alarms.clear(kind)
        self._told = set(self._seen)
        self._seen = {}


def _sealed(session: Session, before: Sequence[_Waiting], rows: Sequence[_Waiting]) -> set[bytes]:
    """The ids of these rows that stand in the newest tree of their organization, or earlier in the claim."""
    present = [row for row in rows if row.values[_ID] is not None]
    homes = list({home_of(row.values[_ORGANIZATION]) for row in present})
    ids = [uid(row.event_id) for row in present]
    found = session.execute(_SEALED, (homes, ids)).fetchall()
    return {event_id for (event_id,) in found} | {row.event_id for row in before}
