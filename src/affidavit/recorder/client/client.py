"""``AuditClient``: records over HTTP; an event that was handed in is on the disk until the server has it."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, Unpack
from uuid import UUID, uuid4
from weakref import ref

import msgspec

from affidavit.core.catalog import Catalog, CatalogSet, EventType
from affidavit.core.event import GROUPS
from affidavit.core.ids import microseconds_of
from affidavit.core.row import Row
from affidavit.core.times import format_time
from affidavit.recorder.client.sender import Sender
from affidavit.recorder.client.transport import SECONDS, Transport
from affidavit.recorder.fields import Fields, Said
from affidavit.recorder.forks import when_forked
from affidavit.recorder.recorder import Recorder
from affidavit.recorder.spool import LIMIT, DeadLetter, Spool
from affidavit.recorder.watchers import watchers

__all__ = ["AsyncAuditClient", "AuditClient"]

AT_EXIT = 2.0
"""Seconds that the end of the interpreter waits for what can still be sent."""
_GROUP_AT = 12
_encode = msgspec.json.encode


def _clock() -> int:
    return time.time_ns() // 1_000


class AuditClient:
    """Sends events to a server of Affidavit, in batches and in the background.

    :meth:`record` checks an event, masks its secrets, gives it a key and returns when it is on the disk. A
    thread sends it; while the server is away events wait, over a crash of this process as well. Safe to use
    from several threads and after a fork.

    Args:
        url: of the server.
        token: with the ability ``events:write``.
        spool: file in which events wait; a folder that survives a restart.
        organization: of events that name none; needed where the token reaches several.
        source: channel of events that name none.
        catalogs: of the app's own event types: their ``requires`` and ``mask`` hold before anything is sent.
        limit: bytes that may wait.
        when_full: ``raise`` :class:`~affidavit.errors.SpoolFull`, or ``block`` until there is room.
        seconds: how long one request may take.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        spool: Path | str,
        organization: str | None = None,
        source: str = "app",
        catalogs: Iterable[type[Catalog]] = (),
        limit: int = LIMIT,
        when_full: Literal["raise", "block"] = "raise",
        seconds: float = SECONDS,
        clock: Callable[[], int] = _clock,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        known = CatalogSet.of(*catalogs)
        self._named = organization
        self.recorder = Recorder(
            organization=organization or "unnamed",
            source=source,
            catalogs=lambda: known,
            clock=clock,
            entropy=entropy,
            allow_import=True,
        )
        # Not a partial: its repr, which a crash reporter may send away, would show the token.
        self._transport: Callable[[], Transport] = lambda: Transport(url, token, seconds=seconds)
        self._transport()  # a bad address is named here and not in a thread
        self._clock = clock
        self.spool = Spool(Path(spool), limit=limit, when_full=when_full)
        self._lock = threading.Lock()
        self._sender: Sender | None = None
        self._closed = False
        when_forked(self)
        self._at_exit = _ends_at_exit(self)
        if self.spool.has_entries():
            self._wake()

    def record(self, action: str | EventType, /, **fields: Unpack[Fields]) -> None:
        """Record an event; when this returns it is on the disk.

        Raises:
            InvalidEvent: a rule is broken; nothing was taken.
            SpoolFull: there is no room; nothing was taken.
        """
        self._put(self.recorder.said(action, fields))

    def _put(self, said: Said) -> None:
        self._store(self._made(said))

    def _made(self, said: Said) -> tuple[bytes, Row]:
        key, now = said.fields.get("idempotency_key"), said.fields.get("occurred_at")
        key = uuid4().hex if key is None else key
        now = self._clock() if now is None else now
        draft = self.recorder.draft(
            said._replace(fields={**said.fields, "idempotency_key": key, "occurred_at": now})
        )
        (row,) = self.recorder.rows([draft], lambda _organization: bytes(32))
        return _body(row, key, with_organization=self._names(said)), row

    def _store(self, made: tuple[bytes, Row]) -> None:
        body, row = made
        self.spool.put([body])
        for watcher in watchers:
            watcher.put_aside([row])
        if self._closed:
            self.spool.close()  # it waits for the next client of this spool
        else:
            self._wake()

    def _names(self, said: Said) -> bool:
        return self._named is not None or said.fields.get("organization") is not None

    def _wake(self) -> None:
        with self._lock:
            if self._sender is None:
                try:
                    self._sender = Sender(self.spool, self._transport(), clock=self._clock)
                except RuntimeError:
                    return  # the interpreter ends and starts no thread: the event waits on the disk
            self._sender.wake()

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until everything was sent or put aside; false where that took too long."""
        if not self.spool.has_entries():
            return True
        if not self._closed:
            self._wake()
        return self._sender is not None and self._sender.flush(seconds)

    @property
    def last_error(self) -> str | None:
        """Why the last attempt failed, ``None`` after a success."""
        return self._sender.last_error if self._sender is not None else None

    def dead_letters(self) -> list[DeadLetter]:
        """What the server refused, with its words; see :meth:`affidavit.recorder.spool.Spool.revive`."""
        return self.spool.dead_letters()

    def close(self, seconds: float = 10.0) -> bool:
        """Send what can be sent in time, then end. What is left waits for the next client of the spool."""
        sent = self.flush(seconds)
        self._end(0.0)
        return sent

    def _end(self, seconds: float = AT_EXIT) -> None:
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        if self._sender is not None:
            if seconds:
                self._sender.flush(seconds)
            self._sender.close()
        self.spool.close()

    def before_fork(self) -> None:
        """Let no thread be started, nor the lock of the spool be taken, while the process forks."""
        self._lock.acquire()
        if self._sender is not None:
            self._sender.taking.acquire()

    def after_fork(self, *, child: bool) -> None:
        """A child has no thread, and a connection and a lock of its own, with its next event."""
        sender = self._sender
        if child:
            self._sender = None
            self._lock = threading.Lock()
            if sender is not None:
                sender.abandon()
            return
        if sender is not None:
            sender.taking.release()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncAuditClient:
    """The same for an event loop: the disk is waited for in a thread.

    Args:
        client: that does the work.
    """

    def __init__(self, client: AuditClient) -> None:
        self.client = client

    async def record(self, action: str | EventType, /, **fields: Unpack[Fields]) -> None:
        """See :meth:`AuditClient.record`."""
        # Made here: an ORM's object belongs to the thread and the task of its session.
        made = self.client._made(self.client.recorder.said(action, fields))
        await asyncio.to_thread(self.client._store, made)

    async def flush(self, seconds: float = 10.0) -> bool:
        """See :meth:`AuditClient.flush`."""
        return await asyncio.to_thread(self.client.flush, seconds)

    async def close(self, seconds: float = 10.0) -> bool:
        """See :meth:`AuditClient.close`."""
        return await asyncio.to_thread(self.client.close, seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _ends_at_exit(client: AuditClient) -> Callable[[], None]:
    """Ends a client with the interpreter, without keeping it alive until then."""
    known = ref(client)

    def end() -> None:
        if (one := known()) is not None:
            one._end()

    atexit.register(end)
    return end


def _body(row: Row, key: str, *, with_organization: bool) -> bytes:
    """The event as the API takes it, its groups as the exact texts that were checked and masked."""
    _id, _version, organization, project, action, outcome, severity, source, _imported, parent, *_ = (
        row.values
    )
    clear: dict[str, str] = {
        "action": action,
        "occurred_at": format_time(microseconds_of(row.id)),
        "idempotency_key": key,
        "outcome": outcome,
        "severity": severity,
        "source": source,
    }
    if with_organization:
        clear["organization"] = organization
    if project is not None:
        clear["project"] = project
    if parent is not None:
        clear["parent_id"] = str(UUID(bytes=parent))
    groups = (row.values[_GROUP_AT + number] for number in range(len(GROUPS)))
    parts = [_encode(clear)[:-1], *(text[1:-1].encode() for text in groups if text != "{}")]
    return b",".join(parts) + b"}"
