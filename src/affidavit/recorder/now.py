"""``record_now``: an event in a transaction of its own, or in the spool where the database is not there."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from affidavit.core.event import Draft
from affidavit.core.ids import make_id
from affidavit.core.row import Recorded, Row
from affidavit.core.statement import Steps, stored_steps
from affidavit.errors import AffidavitError
from affidavit.recorder.own import OwnConnections
from affidavit.recorder.recorder import Recorder
from affidavit.recorder.spool import Entry, Spool

__all__ = ["Now"]

_PIECE = 200
"""Entries of the spool that are stored in one transaction."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode


class Now:
    """Records at once, whatever transaction the app is in.

    Args:
        recorder: makes rows.
        own: connections of its own.
        spool: where an event goes while another writer holds the database or it is away; ``None``: then the
            error is the caller's.
    """

    def __init__(self, recorder: Recorder, own: OwnConnections, spool: Spool | None) -> None:
        self._recorder = recorder
        self._own = own
        self.spool = spool

    def record(self, drafts: Sequence[Draft]) -> list[Recorded]:
        """Record events, durable on return; each gets its id here, so that it can be repeated.

        Raises:
            InvalidEvent: a rule is broken; nothing was stored.
            SpoolFull: neither database nor spool took them.
        """
        named = [self._named(draft) for draft in drafts]
        self._recorder.check(named)
        try:
            self.drain()
            return self._own.record(lambda dialect: self._recorder.steps(named, dialect))
        except Exception as error:
            if self.spool is None or not self._may_wait(error):
                raise
            if any(draft.idempotency_key is not None for draft in named):
                raise  # its id needs a secret that only the database has
            rows = [
                msgspec.structs.replace(row, given=True, compare=False)
                for row in self._recorder.rows(named, _no_secret)
            ]
            self.spool.put([_encode(row) for row in rows])
            return [Recorded(row.id, False) for row in rows]

    def drain(self) -> int:
        """Store what waits in the spool, as far as that is possible now; how many events went.

        An entry that the database refuses for good is put among the dead letters.
        """
        if self.spool is None or not self.spool.has_entries():
            return 0
        stored = 0
        while entries := self.spool.take(_PIECE):
            stored += self._store(entries, self.spool)
        return stored

    def _store(self, entries: Sequence[Entry], spool: Spool) -> int:
        rows = [_decode(entry.body) for entry in entries]
        try:
            self._own.record(lambda dialect: self._steps(rows, dialect))
        except AffidavitError as error:
            if self._may_wait(error):
                raise
            if len(entries) > 1:
                return sum(self._store([entry], spool) for entry in entries)
            spool.park(entries[0].number, error.message, self._recorder.clock())
            return 0
        spool.done([entry.number for entry in entries])
        return len(entries)

    def _steps(self, rows: Sequence[Row], dialect: str) -> Steps:
        return stored_steps(rows, dialect, self._recorder.clock())

    def _may_wait(self, error: BaseException) -> bool:
        cause = error.__cause__
        source = self._own.source
        return any(
            each is not None and (source.is_busy(each) or source.is_away(each)) for each in (error, cause)
        )

    def _named(self, draft: Draft) -> Draft:
        if draft.id is not None or draft.idempotency_key is not None:
            return draft
        tail = int.from_bytes(self._recorder.entropy(8), "big")
        if draft.occurred_at is not None:
            (row,) = self._recorder.rows([draft], _no_secret)
            return msgspec.structs.replace(draft, id=UUID(bytes=row.id))
        return msgspec.structs.replace(draft, id=UUID(bytes=make_id(self._recorder.clock(), tail)))


def _no_secret(_organization: str) -> bytes:
    return bytes(32)
