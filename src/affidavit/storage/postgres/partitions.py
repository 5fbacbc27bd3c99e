"""The months of the event table: made ahead, filled from the default partition, dropped when they are empty.

The functions that do it stand in ``migrations/0006_partitions.sql`` and belong to the owner of the tables.
None of them waits for a lock for longer than 200 ms, because whoever records would wait behind it; here they
are called again, with pauses in which recording goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from typing import NamedTuple

from affidavit.errors import StorageBusy, StorageReadOnly
from affidavit.storage.postgres.connect import Address, Session, translated
from affidavit.storage.postgres.freeing import Freeing
from affidavit.storage.postgres.own import OwnSession

__all__ = ["AHEAD", "Month", "Months", "Partitions", "months"]

log = logging.getLogger("affidavit.log")

AHEAD = 3
"""Months that are made before they begin."""
FIRST = date(2000, 1, 1)
"""Older months are not made: what a broken clock put there stays in the default partition."""
LOOK = 1.0
"""Seconds between two looks at the default partition."""
DROP = 60.0
"""Seconds between two looks for months that were pruned."""
FREE = 300.0
"""Seconds between two looks for what was taken away and not freed: moved rows, a scrub that was cut short."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds that a try is put off, doubled each time, where one after the other did not get its locks."""
TRIES = 10
"""How often the months of an import are tried, 200 ms each; without them it goes to the default partition."""
PAUSE = 0.3
"""Seconds between two tries of an import."""
FEWEST, MOST = 100, 20_000
"""Rows of the default partition that are moved at once: more where that took less than :data:`SHORT`
microseconds, fewer where more than :data:`LONG`."""
SHORT, LONG = 50_000, 100_000


class Month(NamedTuple):
    """A month that is attached: its partition and its ids, 16 bytes each, ``high`` lies beyond them."""

    part: str
    low: bytes
    high: bytes


class Months(NamedTuple):
    """The months as one statement saw them.

    Attributes:
        version: of the partitioning. Whoever remembers the months asks for
            ``(SELECT version FROM affidavit_partitioning)`` in the statement that relies on them: where it
            is another one, events may have moved from the default partition to a month that is not here.
        each: by their ids.
    """

    version: int
    each: tuple[Month, ...]


def months(session: Session) -> Months:
    """The months that are attached, in one statement.

    Args:
        session: within a transaction or not. In one whose statements see one moment, so do these.
    """
    rows = session.execute(
        "SELECT p.version, m.part, m.low, m.high FROM affidavit_partitioning p"
        " LEFT JOIN affidavit_months m ON true ORDER BY m.low"
    ).fetchall()
    return Months(rows[0][0], tuple(Month(_text(part), low, high) for _, part, low, high in rows if part))


class Partitions:
    """Takes care of the months; several of these in several processes do no harm.

    Args:
        address: of the database.
        fence: raises within a transaction where another worker has taken over.
        monotonic: seconds.
    """

    def __init__(
        self,
        address: Address,
        *,
        fence: Callable[[Session], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._fence = fence
        self._monotonic = monotonic
        self._own = OwnSession(address, "affidavit partitions")
        self._look_at = self._drop_at = self._import_at = 0.0
        self._free_at = monotonic() + FREE
        self._freeing = Freeing(address, ())
        self._pause = FIRST_PAUSE
        self._rows = 500
        self._heads: frozenset[bytes] = frozenset()
        self._importing = threading.Lock()

    def step(self) -> bool:
        """One bounded piece of upkeep, for the worker; whether it should come again at once."""
        now = self._monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK
        try:
            with translated(self._address):
                more = self._work(self._own.get())
        except StorageBusy:
            self._look_at = self._monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            return False
        self._pause = FIRST_PAUSE
        if more:
            self._look_at = now
        return more

    def make_for(self, ids: Iterable[bytes]) -> None:
        """Make the months of these ids, so that what is recorded goes there; before each batch of an import.

        Where a lock cannot be had, or another thread is at it, the events go to the default partition, and
        are moved from there later. May be called from several threads.

        Args:
            ids: of rows that were checked, so that their times are times.
        """
        heads = {each[:4] for each in ids} - self._heads
        if not heads or self._monotonic() < self._import_at or not self._importing.acquire(blocking=False):
            return
        try:
            self._make_all(heads)
        finally:
            self._importing.release()

    def _make_all(self, heads: set[bytes]) -> None:
        with translated(self._address):
            session = self._own.get()
            last = _plus(_today(session), AHEAD)
        for month in sorted({month for head in heads for month in _months_of(head)}):
            if FIRST <= month <= last and not self._patiently(session, month):
                self._import_at = self._monotonic() + LONGEST_PAUSE
                return
        self._heads |= heads

    def made(self) -> Months:
        """The months that are attached now."""
        with translated(self._address):
            return months(self._own.get())

    def close(self) -> None:
        """Close the connections."""
        self._freeing.close()
        self._own.close()

    def _work(self, session: Session) -> bool:
        month = self._missing(session) or self._strayed(session)
        if month is not None:
            self._make(session, month)
            return True
        if self._monotonic() >= self._drop_at:
            if self._drop(session):
                return True
            self._drop_at = self._monotonic() + DROP
        if self._monotonic() >= self._free_at:
            self._free(session)
        return False

    def _free(self, session: Session) -> None:
        """Have freed what is noted as taken away; it goes on from step to step until it is."""
        try:
            noted = session.execute("SELECT FROM affidavit_unfreed LIMIT 1").fetchone() is not None
            if not noted or self._freeing.step():
                self._free_at = self._monotonic() + FREE
        except StorageReadOnly as error:  # autovacuum comes by some time; an erasure says it itself
            log.info("%s", error.message)
            self._free_at = self._monotonic() + 12 * FREE

    def _missing(self, session: Session) -> date | None:
        """The first of the months to come that is not made."""
        made = _made(session)
        this = _today(session)
        return next((each for step in range(AHEAD + 1) if (each := _plus(this, step)) not in made), None)

    def _strayed(self, session: Session) -> date | None:
        """A month of which something stands in the default partition."""
        if session.execute("SELECT FROM affidavit_events_default LIMIT 1").fetchone() is None:
            return None
        found = session.execute(
            "SELECT affidavit_month_of(id) FROM affidavit_events_default"
            " WHERE id >= affidavit_month_start(?) AND id < affidavit_month_start(?)"
            " GROUP BY 1 ORDER BY count(*) LIMIT 1",
            (FIRST, _plus(_today(session), AHEAD + 1)),
        ).fetchone()
        return None if found is None else found[0]

    def _make(self, session: Session, month: date) -> bool:
        """Make a month, or a further piece of it; whether it is complete."""
        with session.transaction():
            if self._fence is not None:
                self._fence(session)
            complete, held = session.execute(
                "SELECT complete, held FROM affidavit_month_make(?, ?)", (month, self._rows)
            ).fetchone() or (1, 0)
        if held < SHORT:
            self._rows = min(2 * self._rows, MOST)
        elif held > LONG:
            self._rows = max(self._rows // 2, FEWEST)
        return bool(complete)

    def _patiently(self, session: Session, month: date) -> bool:
        """Make a month; whether its locks could be had."""
        refused = 0
        while refused < TRIES:
            try:
                with translated(self._address):
                    if self._make(session, month):
                        return True
            except StorageBusy:
                refused += 1
                time.sleep(PAUSE)
        return False

    def _drop(self, session: Session) -> bool:
        """Drop a month that is over, that a closed range reaches into, and in which nothing stands."""
        parts = session.execute(
            "SELECT part FROM affidavit_months m WHERE high <= affidavit_month_start(?)"
            " AND EXISTS (SELECT FROM affidavit_pruned p WHERE p.from_id < m.high AND p.to_id >= m.low)"
            " ORDER BY low",
            (_today(session),),
        ).fetchall()
        for (part,) in parts:
            with session.transaction():
                if self._fence is not None:
                    self._fence(session)
                (dropped,) = session.execute("SELECT affidavit_month_drop(?)", (part,)).fetchone() or (0,)
            if dropped:
                return True
        return False


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _made(session: Session) -> set[date]:
    rows = session.execute("SELECT affidavit_month_of(low) FROM affidavit_months").fetchall()
    return {month for (month,) in rows}


def _today(session: Session) -> date:
    """The first day of the month that it is for the database."""
    (today,) = session.execute("SELECT (now() AT TIME ZONE 'UTC')::date").fetchone() or (date.max,)
    return date(today.year, today.month, 1)


def _months_of(head: bytes) -> Iterator[date]:
    """The months of ids that begin with these 4 bytes, a minute of ids: one, or two at its turn."""
    for tail in (b"\0\0", b"\xff\xff"):
        moment = datetime.fromtimestamp(int.from_bytes(head + tail, "big") // 1_000, UTC)
        yield date(moment.year, moment.month, 1)


def _plus(month: date, count: int) -> date:
    years, index = divmod(month.month - 1 + count, 12)
    return date(month.year + years, index + 1, 1)
