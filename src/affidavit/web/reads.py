"""Reading the log is an event too.

A read over HTTP (list, detail, histogram, facets, page) is recorded as ``audit.log.read``, coalesced: one
event for each credential, organization and hour, written after the answer was made, so that a reader
never waits for it. It says how the first read of that hour was made. An export is never coalesced: each is
recorded as ``audit.export.requested`` before its first byte leaves. No client can switch either off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread

from affidavit.access.scope import Scope
from affidavit.core.event import Draft, Request
from affidavit.core.filter import Filter
from affidavit.core.prepare import Rights
from affidavit.core.query import to_params
from affidavit.core.row import Row

if TYPE_CHECKING:
    from affidavit.web.instance import Instance

__all__ = ["HOUR", "Reads"]

log = logging.getLogger("affidavit.web")

HOUR = 3_600_000_000
_RIGHTS = Rights(reserved=True)
_REMEMBERED = 10_000
_BROWSERS = ("session", "viewer")

_Key = tuple[str, str, str]
"""Kind and id of a credential, and the organization that it read."""


class Reads:
    """Records reads and exports.

    Args:
        instance: where the events go.
        clock: microseconds since 1970 UTC.
    """

    def __init__(self, instance: Instance, *, clock: Callable[[], int]) -> None:
        self._instance = instance
        self._clock = clock
        self._hour = 0
        self._noted: set[_Key] = set()
        self._thread: ThreadPoolExecutor | None = None
        self._writing: set[Future[None]] = set()

    def note(self, scope: Scope, path: str, address: str | None, asked: Filter | None = None) -> None:
        """Record a read, unless this credential's reading of this organization was recorded this hour.

        Returns at once; the event is written beside what follows, in a thread, which goes on where the loop
        that answers ends: the last read before a server stops is recorded, too.
        """
        hour = self._clock() // HOUR
        if hour != self._hour or len(self._noted) >= _REMEMBERED:
            self._hour, self._noted = hour, set()
        key = (scope.credential.kind, scope.credential.id, scope.home)
        if key in self._noted:
            return
        self._noted.add(key)
        draft = self._draft("audit.log.read", scope, path, address, asked, {})
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "affidavit-reads")
        writing = self._thread.submit(self._write, draft, scope, address, key)
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    async def exported(
        self,
        scope: Scope,
        path: str,
        address: str | None,
        asked: Filter,
        file_format: str,
        more: Mapping[str, Any],
    ) -> None:
        """Record an export. Returns when the event is durable; without it, nothing is exported.

        Args:
            scope: who asked, for what.
            path: that was asked.
            address: of the client.
            asked: the filter.
            file_format: of the export.
            more: what else was asked of the format.
        """
        metadata = {"format": file_format, **more}
        draft = self._draft("audit.export.requested", scope, path, address, asked, metadata)
        await self._submit(draft, scope, address)

    def finish(self, seconds: float) -> None:
        """Wait until every read noted so far is written.

        Args:
            seconds: at most.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)
            wait(set(self._writing), seconds)

    def _write(self, draft: Draft, scope: Scope, address: str | None, key: _Key) -> None:
        try:
            self._instance.insert(self._rows(draft, scope, address))
        except Exception:  # the answer has gone out; the next read of the hour tries again
            self._noted.discard(key)
            log.exception("A read of the log could not be recorded")

    async def _submit(self, draft: Draft, scope: Scope, address: str | None) -> None:
        await self._instance.submit(await anyio.to_thread.run_sync(self._rows, draft, scope, address))

    def _rows(self, draft: Draft, scope: Scope, address: str | None) -> list[Row]:
        return self._instance.intake.prepare(
            [draft], organization=scope.home, by=scope.credential.recorded_by(address), rights=_RIGHTS
        )

    def _draft(
        self,
        action: str,
        scope: Scope,
        path: str,
        address: str | None,
        asked: Filter | None,
        metadata: dict[str, Any],
    ) -> Draft:
        if asked is not None and asked != Filter():
            metadata["filter"] = urlencode(to_params(asked))[:1000]
        return Draft(
            action=action,
            actor=scope.credential.actor(),
            source="web" if scope.credential.kind in _BROWSERS else "api",
            ip=address,
            request=Request(method="GET", endpoint=path),
            metadata=metadata or None,
        )
