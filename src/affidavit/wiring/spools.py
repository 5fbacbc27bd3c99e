"""Spools of apps on this machine: the worker stores what an app could not, or did not live to.

A living app empties its spool itself as soon as its transaction is over. So an entry is left alone until it
has stood at the head for a while; should app and worker store it at the same time all the same, its id makes
it one event. The database is never waited for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from affidavit.core.ids import microseconds_of
from affidavit.core.row import Row
from affidavit.core.spooled import fault_of, row_in
from affidavit.errors import Refused, StorageBusy, StorageError
from affidavit.log.erasure.spools import DeadLetter, Spools
from affidavit.recorder.spool import Entry, Spool, Standing, look
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Engine

__all__ = ["Drain", "OpenSpools", "SpoolOfApp", "oldest_in", "paths_of", "standings"]

log = logging.getLogger("affidavit.worker")

PIECE = 100
"""Entries that are stored in one transaction."""
LOOK = 1.0
"""Seconds between two looks at a spool; what stood there at both is taken."""


def paths_of(engine: Engine) -> list[Path]:
    """The spools that the settings name, whether there are files or not."""
    settings = engine.settings
    own = settings.database_path
    beside = [] if own is None else [own.with_name(f"{own.with_suffix('').name}-spool.db")]
    return list(dict.fromkeys(path.absolute() for path in (*beside, *settings.spools)))


def standings(engine: Engine) -> list[tuple[Path, Standing | StorageError]]:
    """What is in each spool that exists, or why that cannot be said."""
    found: list[tuple[Path, Standing | StorageError]] = []
    for path in paths_of(engine):
        try:
            standing = look(path)
        except StorageError as error:
            found.append((path, error))
        else:
            if standing is not None:
                found.append((path, standing))
    return found


def oldest_in(standing: Standing) -> int:
    """When the event occurred that waits longest, microseconds since 1970 UTC; now where none waits."""
    row = None if standing.oldest is None else row_in(standing.oldest.body)
    return clock() if row is None else microseconds_of(row.id)


class SpoolOfApp:
    """One spool, for the holder of the worker's lease; see :class:`affidavit.log.erasure.spools.Refuge`.

    Args:
        path: of the file, which is never made here.
        store: stores rows in a transaction of its own.
    """

    def __init__(self, path: Path, store: Callable[[Sequence[Row]], None]) -> None:
        self.name = str(path)
        self._path = path
        self._spool = Spool(path)
        self._file: tuple[int, int] | None = None
        self._store = store

    @property
    def exists(self) -> bool:
        """Whether there is a file; where it is another one than before, that is opened next.

        Raises:
            StorageError: that cannot be said.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"The spool {self._path} cannot be read: {error.strerror}") from error
        if self._file != (found.st_dev, found.st_ino):
            self._spool.close()
            self._file = (found.st_dev, found.st_ino)
        return True

    def first(self) -> int:
        """See the protocol."""
        entries = self._spool.take(1) if self.exists else ()
        return entries[0].number if entries else 0

    def last(self) -> int:
        """See the protocol."""
        return self._spool.newest() if self.exists else 0

    def drain(self, number: int) -> bool:
        """See the protocol.

        Raises:
            StorageError: the entries cannot be stored; another writer who holds the database is no error.
        """
        try:
            self._take_in([each for each in self._spool.take(PIECE) if each.number <= number])
        except StorageBusy:
            return False
        return True

    def _take_in(self, entries: Sequence[Entry]) -> None:
        rows, now = [], clock()
        for entry in entries:
            row = row_in(entry.body)
            if row is None and entry.body[:1] == b"{":
                raise StorageError(
                    f"{self._path} is the spool of an AuditClient, which sends by itself; take it out of the"
                    " setting spools."
                )
            fault = "it is no event" if row is None else fault_of(row, now)
            if fault is not None:
                self._park(entry, fault)
            elif row is not None:
                rows.append((entry, row))
        self._insert(rows)

    def _insert(self, rows: Sequence[tuple[Entry, Row]]) -> None:
        if not rows:
            return
        try:
            self._store([row for _, row in rows])
        except Refused as refused:
            if len(rows) > 1:
                for each in rows:
                    self._insert([each])
                return
            self._park(rows[0][0], refused.message)
        else:
            self._spool.done([entry.number for entry, _ in rows])

    def _park(self, entry: Entry, why: str) -> None:
        self._spool.park(entry.number, why, clock())
        log.error("An event of the spool %s was refused for good: %s.", self._path, why)

    def dead_letters(self, after: int, limit: int) -> Sequence[DeadLetter]:
        """See the protocol."""
        return self._spool.dead_letters(limit, after) if self.exists else ()

    def rewrite(self, number: int, body: bytes | None, error: str) -> None:
        """See the protocol."""
        if body is None:
            self._spool.discard([number])
        else:
            self._spool.rewrite(number, body, error)

    def scrub(self) -> bool:
        """Empty the write-ahead log; false where somebody was in the way."""
        return not self.exists or self._spool.scrub()

    def close(self) -> None:
        """Close the file."""
        self._spool.close()


class OpenSpools:
    """Every spool of a database; each file is opened when there is one, and closed at the end.

    Args:
        engine: of the database.
    """

    def __init__(self, engine: Engine) -> None:
        self.each = [SpoolOfApp(path, engine.take_in) for path in paths_of(engine)]
        self.copies = Spools(self.each)

    def close(self) -> None:
        """Close the files."""
        for spool in self.each:
            spool.close()


class Drain:
    """Stores what waits in spools, a piece at a step.

    Args:
        spools: of the database.
        monotonic: seconds.
    """

    def __init__(self, spools: OpenSpools, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._spools = spools
        self._monotonic = monotonic
        self._seen: dict[str, int] = {}
        self._looked = float("-inf")

    def step(self) -> int:
        """One piece of each spool; how many of them have more that can be stored at once."""
        if self._monotonic() - self._looked < LOOK:
            return 0
        more = sum(self._step(spool) for spool in self._spools.each)
        self._looked = float("-inf") if more else self._monotonic()
        return more

    def _step(self, spool: SpoolOfApp) -> bool:
        first, seen = spool.first(), self._seen.get(spool.name, 0)
        if not 0 < first <= seen:
            # What is new since the last look its app may be about to store.
            self._seen[spool.name] = spool.last()
            return False
        return spool.drain(seen) and 0 < spool.first() <= seen
