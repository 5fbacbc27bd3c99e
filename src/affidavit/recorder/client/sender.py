"""Takes events out of the spool and sends them: in batches, again after an error, around a bad one."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from affidavit.recorder.client.transport import Reply, Transport, Unreachable
from affidavit.recorder.spool import Entry, Spool

__all__ = ["LOGGER", "Sender"]

LOGGER = "affidavit.client"
"""Name of what the client itself logs; its own handler leaves it out."""
MOST = 1_000
"""Events of a batch."""
MOST_BYTES = 8 * 1024 * 1024
"""Bytes of a batch; the server takes 16 MiB."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 60.0
"""Seconds until an attempt is repeated: drawn at random up to a bound that doubles."""
REFUSED = (409, 413, 422)
"""A server of Affidavit has read it and will never take it: something in the batch is bad."""
_logger = logging.getLogger(LOGGER)


class Sender:
    """One thread that empties a spool; of several processes with one spool, one at a time sends.

    Args:
        spool: where the events wait.
        transport: to the server.
        clock: microseconds since 1970 UTC.
        jitter: a number from 0 to 1.

    Attributes:
        taking: held while the lock of the spool is taken.
        last_error: why the last attempt failed, ``None`` after a success.
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
        self._lock: int | None = None
        self.taking = threading.Lock()
        self.last_error: str | None = None
        self._thread = threading.Thread(target=self._run, name="affidavit-client", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    def flush(self, seconds: float) -> bool:
        """Wait until the spool is empty; false where it was not in time."""
        until = time.monotonic() + seconds
        self.wake()
        while self._spool.has_entries():
            left = until - time.monotonic()
            if left <= 0 or not self._thread.is_alive():
                return False
            self._ended.wait(min(left, 0.02))
        return True

    def close(self) -> None:
        """End; what was not sent stays in the spool. A request that is under way may still be answered."""
        self._ended.set()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def abandon(self) -> None:
        """In a child after a fork: the thread is not there, lock and connection are the parent's."""
        self._transport.close()
        if self._lock is not None:
            # Whoever holds a copy of the descriptor holds the lock, after the parent's death as well.
            os.close(self._lock)
            self._lock = None

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._ended.is_set():
            self._wake.clear()
            try:
                sent = self._take_turn() and self._send_some()
            except Exception as error:  # noqa: BLE001 - a thread that ended would send nothing any more
                asked = error.seconds if isinstance(error, _Later) else 0.0
                self._failed(error)
                self._ended.wait(asked + self._jitter() * pause)
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            pause = FIRST_PAUSE
            if not sent:
                # Another process may put something there, or die while it was sending.
                self._wake.wait(1.0)
        self.abandon()

    def _failed(self, error: Exception) -> None:
        expected = isinstance(error, _Later | Unreachable)
        words = self._transport.masked(str(error) if expected else f"{type(error).__name__}: {error}")
        if words != self.last_error:
            _logger.warning("Events wait in %s: %s", self._spool.path, words)
        self.last_error = words

    def _take_turn(self) -> bool:
        """Whether this process is the one that sends: a lock that its death gives back."""
        with self.taking:
            return self._lock is not None or self._lock_spool()

    def _lock_spool(self) -> bool:
        path = Path(f"{self._spool.path}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
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
        if self._ended.is_set():
            raise _Later("the client ends", 0.0)
        reply = self._transport.post(b'{"events":[' + b",".join(entry.body for entry in entries) + b"]}")
        if _has_stored(reply, len(entries)):
            self._spool.done([entry.number for entry in entries])
            self.last_error = None
            return
        if not _refuses(reply, alone=len(entries) == 1):
            # Not these events are what is wrong: the token, the server, the way to it.
            raise _Later(self._said(reply), reply.retry_after or 0.0)
        if len(entries) == 1:
            words = self._said(reply)
            self._spool.park(entries[0].number, words, self._clock())
            _logger.error("An event was refused for good, see dead_letters(): %s", words)
            return
        half = len(entries) // 2
        self._send(entries[:half])
        self._send(entries[half:])

    def _said(self, reply: Reply) -> str:
        return self._transport.masked(_said(reply))


class _Later(Exception):
    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


def _has_stored(reply: Reply, count: int) -> bool:
    """Whether it says what became of each event: a page of somebody else's may come with a 200, too."""
    if reply.status not in (200, 201):
        return False
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        events = json.loads(reply.body)["events"]
        return isinstance(events, list) and len(events) == count and all(each["id"] for each in events)
    return False


def _refuses(reply: Reply, *, alone: bool) -> bool:
    """Whether a server of Affidavit refuses something in the batch.

    A proxy on the way may find a batch too large, but never has a say in what becomes of an event.
    """
    if reply.status not in REFUSED:
        return False
    return reply.kind == "application/problem+json" or (reply.status == 413 and not alone)


def _said(reply: Reply) -> str:
    """The server's words, of a problem document where it sent one."""
    words = "no answer of Affidavit" if reply.status < 300 else ""
    with suppress(ValueError, AttributeError, TypeError, RecursionError):
        document = json.loads(reply.body)
        errors = "; ".join(
            f"{error.get('pointer', '')}: {error.get('message', '')}" for error in document.get("errors", ())
        )
        words = errors or str(document.get("detail") or document.get("title") or words)
    printable = "".join(letter if letter.isprintable() else "?" for letter in words[:1_000])
    return f"{reply.status} {printable}".strip()
