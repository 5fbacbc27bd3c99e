"""``record_now``: an event in a transaction of its own, or in the spool where the database is not there."""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Sequence
from uuid import UUID
from weakref import ref

import msgspec

from affidavit.core.event import Draft
from affidavit.core.ids import make_id
from affidavit.core.row import Recorded, Row
from affidavit.core.statement import stored_steps
from affidavit.errors import Refused, StorageBusy
from affidavit.recorder.own import OwnConnections
from affidavit.recorder.recorder import Recorder
from affidavit.recorder.spool import Entry, Spool
from affidavit.recorder.watchers import drained, watchers

__all__ = ["Now", "transaction_ended"]

_PIECE = 200
"""Entries of the spool that are stored in one transaction."""
_BAD = frozenset({"IntegrityError", "DataError"})
"""Classes of every driver (PEP 249) that say: it is the row that is wrong."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode
_logger = logging.getLogger("affidavit.recorder")


class Now:
    """Records at once, whatever transaction the app is in.

    Args:
        recorder: makes rows.
        own: connections of its own.
        spool: where an event goes while another writer holds the database or it is away; ``None``: then the
            error is the caller's, except where the source brings a spool, as a database in memory does.
    """

    def __init__(self, recorder: Recorder, own: OwnConnections, spool: Spool | None) -> None:
        self._recorder = recorder
        self._own = own
        make = getattr(own.source, "make_spool", None)
        self.spool: Spool | None = make() if spool is None and make is not None else spool

    def record(self, drafts: Sequence[Draft]) -> list[Recorded]:
        """Record events, durable on return; each gets its id here, so that it can be repeated.

        Raises:
            InvalidEvent: a rule is broken; nothing was stored.
            SpoolFull: neither database nor spool took them.
            StorageBusy: another writer holds the database, and the event's ``idempotency_key`` keeps it out
                of the spool: its id needs a secret that only the database has.
        """
        named = [self._named(draft) for draft in drafts]
        self._recorder.check(named)
        try:
            recorded = self._own.record(lambda dialect: self._recorder.steps(named, dialect))
        except Exception as error:
            if self.spool is None or not self._may_wait(error):
                raise
            return self._spooled(named, error, self.spool)
        for watcher in watchers:
            watcher.kept(recorded)
        self.drain_if_possible()
        return recorded

    def _spooled(self, named: Sequence[Draft], error: Exception, spool: Spool) -> list[Recorded]:
        busy = self._is_busy(error)
        if any(draft.idempotency_key is not None for draft in named):
            if busy:
                raise StorageBusy(
                    "Another writer holds the database, and an event with an idempotency_key cannot wait in"
                    " the spool; nothing was recorded."
                ) from error
            raise error
        rows = [
            msgspec.structs.replace(row, given=True, compare=False)
            for row in self._recorder.rows(named, _no_secret)
        ]
        spool.put([_encode(row) for row in rows])
        for watcher in watchers:
            watcher.put_aside(rows)
        if busy:
            _waiting[id(self)] = ref(self)
        return [Recorded(row.id, False) for row in rows]

    def drain(self) -> int:
        """Store what waits in the spool; how many events went.

        An entry that the database refuses for good is put among the dead letters. Where the database is busy
        or away its driver's error comes out, and what is left goes on waiting.
        """
        if self.spool is None or not self.spool.has_entries():
            _waiting.pop(id(self), None)
            return 0
        stored = 0
        while entries := self.spool.take(_PIECE):
            stored += self._store(entries, self.spool)
        _waiting.pop(id(self), None)
        return stored

    def drain_if_possible(self) -> None:
        """The same, after something else that has succeeded: what goes wrong is logged, and tried again."""
        try:
            self.drain()
        except Exception as error:
            if not self._may_wait(error):
                _logger.exception("Events wait in the spool %s and cannot be stored", self._path())

    def close(self) -> None:
        """Store what can be stored, then close connections and spool; what still waits stays."""
        self.drain_if_possible()
        self._own.close()
        if self.spool is not None:
            self.spool.close()

    def _path(self) -> object:
        return self.spool.path if self.spool is not None else None

    def _store(self, entries: Sequence[Entry], spool: Spool) -> int:
        try:
            rows = [_decode(entry.body) for entry in entries]
            with drained():
                self._own.record(lambda dialect: stored_steps(rows, dialect, self._recorder.clock()))
        except Exception as error:
            if self._may_wait(error) or not _is_for_good(error):
                raise
            if len(entries) > 1:
                return sum(self._store([entry], spool) for entry in entries)
            spool.park(entries[0].number, f"{type(error).__name__}: {error}"[:1_000], self._recorder.clock())
            _logger.error("An event of the spool %s was refused for good: %s", spool.path, error)
            return 0
        spool.done([entry.number for entry in entries])
        return len(entries)

    def _is_busy(self, error: BaseException) -> bool:
        return any(each is not None and self._own.source.is_busy(each) for each in (error, error.__cause__))

    def _may_wait(self, error: BaseException) -> bool:
        away = self._own.source.is_away
        return self._is_busy(error) or any(
            each is not None and away(each) for each in (error, error.__cause__)
        )

    def _named(self, draft: Draft) -> Draft:
        if draft.id is not None or draft.idempotency_key is not None:
            return draft
        tail = int.from_bytes(self._recorder.entropy(8), "big")
        if draft.occurred_at is not None:
            (row,) = self._recorder.rows([draft], _no_secret)
            return msgspec.structs.replace(draft, id=UUID(bytes=row.id))
        return msgspec.structs.replace(draft, id=UUID(bytes=make_id(self._recorder.clock(), tail)))


_waiting: dict[int, ref[Now]] = {}
"""Those that put something aside because a transaction held the database, by identity."""


def transaction_ended() -> None:
    """Store what waited for a transaction of this process; called by adapters when one has ended."""
    for number, known in list(_waiting.items()):
        now = known()
        if now is None:
            _waiting.pop(number, None)
            continue
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            now.drain_if_possible()
        else:
            _drain_beside(loop, now)


def _drain_beside(loop: asyncio.AbstractEventLoop, now: Now) -> None:
    try:
        loop.run_in_executor(None, now.drain_if_possible)
    except RuntimeError:  # the loop ends and takes no more work: the events wait for the next call
        _logger.debug("Events go on waiting in the spool: the event loop ends")


atexit.register(transaction_ended)


def _is_for_good(error: Exception) -> bool:
    """Whether it is the event that is refused, and not the state of the database that keeps it out."""
    if isinstance(error, Refused | msgspec.MsgspecError):
        return True
    return any(cls.__name__ in _BAD for cls in type(error).__mro__)


def _no_secret(_organization: str) -> bytes:
    return bytes(32)
