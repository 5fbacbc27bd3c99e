"""Takes events out of the spool and sends them: in batches, again after an error, around a bad one."""

from __future__ import annotations

import fcntl
import json
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from affidavit.errors import StorageError
from affidavit.recorder.client.transport import Reply, Transport, Unreachable
from affidavit.recorder.spool import Entry, Spool

__all__ = ["Sender"]

MOST = 1_000
"""Events of a batch."""
MOST_BYTES = 8 * 1024 * 1024
"""Bytes of a batch; the server takes 16 MiB."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 60.0
"""Seconds until an attempt is repeated: drawn at random up to a bound that doubles."""
_REFUSED = (400, 409, 413, 415, 422)
"""The server has read it and will never take it: something in the batch is bad."""


class Sender:
    """One thread that empties a spool; of several processes with one spool, one at a time sends.

    Args:
        spool: where the events wait.
        transport: to the server.
        clock: microseconds since 1970 UTC.
        jitter: a number from 0 to 1.
    """

    def __init__(
        self,
        spool: Spool,
        transport: Transport,
        *,
        clock: Callable[[], int],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._spool = spool
        self._transport = transport
        self._clock = clock
        self._jitter = jitter
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._idle = threading.Event()
        self._lock: int | None = None
        self.last_error: str | None = None
        self._thread = threading.Thread(target=self._run, name="affidavit-client", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to send."""
        self._idle.clear()
        self._wake.set()

    def flush(self, seconds: float) -> bool:
        """Wait until the spool is empty; false where it was not in time."""
        until = time.monotonic() + seconds
        self.wake()
        while self._spool.has_entries():
            left = until - time.monotonic()
            if left <= 0 or not self._thread.is_alive():
                return False
            self._idle.wait(min(left, 0.05))
        return True

    def close(self) -> None:
        """End; what was not sent stays in the spool."""
        self._ended.set()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._ended.is_set():
            self._wake.clear()
            try:
                sent = self._take_turn() and self._send_some()
                pause = FIRST_PAUSE
            except (Unreachable, StorageError) as error:
                self.last_error = str(error)
                self._ended.wait(self._jitter() * pause)
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            except _Later as later:
                self.last_error = later.reason
                self._ended.wait(max(later.seconds, self._jitter() * pause))
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            if not sent:
                self._idle.set()
                # Another process may put something there, or die while it was sending.
                self._wake.wait(1.0)
        self._transport.close()
        if self._lock is not None:
            os.close(self._lock)

    def _take_turn(self) -> bool:
        """Whether this process is the one that sends: a lock that its death gives back."""
        if self._lock is not None:
            return True
        path = Path(f"{self._spool.path}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def _send_some(self) -> bool:
        if not self._spool.has_entries():
            return False
        entries = self._spool.take(MOST)
        size = count = 0
        for entry in entries:
            size += len(entry.body)
            if count and size > MOST_BYTES:
                break
            count += 1
        self._send(entries[:count])
        return bool(count)

    def _send(self, entries: Sequence[Entry]) -> None:
        """Send a batch; one that is refused goes in halves until the bad event is alone, which is parked."""
        reply = self._transport.post(b'{"events":[' + b",".join(entry.body for entry in entries) + b"]}")
        if 200 <= reply.status < 300:
            self.last_error = None
            self._spool.done([entry.number for entry in entries])
            return
        if reply.status not in _REFUSED:
            # Not these events are what is wrong: the token, the server, the way to it.
            raise _Later(_said(reply), reply.retry_after or 0.0)
        if len(entries) == 1:
            self._spool.park(entries[0].number, _said(reply), self._clock())
            return
        half = len(entries) // 2
        self._send(entries[:half])
        self._send(entries[half:])


class _Later(Exception):
    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.seconds = seconds


def _said(reply: Reply) -> str:
    """The server's words, of a problem document where it sent one."""
    with suppress(ValueError, AttributeError):
        document = json.loads(reply.body)
        errors = "; ".join(
            f"{error.get('pointer', '')}: {error.get('message', '')}" for error in document.get("errors", ())
        )
        detail = errors or str(document.get("detail") or document.get("title") or "")
        return f"{reply.status} {detail}"[:1_000]
    return f"{reply.status}"
