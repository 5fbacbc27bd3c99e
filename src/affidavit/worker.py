"""The worker process: it keeps what is derived from the events up to date, beside whoever records.

A busy thread in the web process would cost that most of its throughput, so this is a process of its own.
``serve`` starts one and starts it again when it dies; ``affidavit worker`` is the same alone. Of several
workers of one database the holder of the lease works (:mod:`affidavit.wiring.lease`).
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Protocol, Self

from affidavit.config import Settings
from affidavit.errors import AffidavitError
from affidavit.storage.protocols import Follower
from affidavit.wiring import Lease, engine_of, open_follower, open_upkeep

__all__ = ["Supervisor", "follow", "run_worker"]

log = logging.getLogger("affidavit.worker")

TICK = 0.2
"""Seconds between two looks for new events."""
FULL_BATCH = 4_096
AGE = 1.0
"""Seconds after which a batch that is not full is taken in."""
SETTINGS_VARIABLE = "AFFIDAVIT_WORKER_SETTINGS"
PARENT_VARIABLE = "AFFIDAVIT_WORKER_PARENT"
"""What a supervisor tells its worker. The number of its own process, because it may be gone before the worker
could ask for it."""


class _Upkeep(Protocol):
    """The log's share; see :class:`affidavit.log.upkeep.Upkeep`."""

    def step(self) -> bool:
        """One round; whether to come again at once."""
        ...


def follow(
    follower: Follower,
    wait: Callable[[float], bool],
    *,
    upkeep: _Upkeep | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Keep the log and a follower up to date until told to stop; what waits is sequenced first.

    A batch is taken in when it is full or one second old; upkeep is done when nothing waits, and between
    batches when much does, so that it never holds them back for longer than one bounded piece.

    Args:
        follower: what to keep up.
        wait: waits that many seconds at most; true means stop.
        upkeep: the log's share, one round before each look at the follower.
        monotonic: seconds.
    """
    last = monotonic() - AGE
    delay = 0.0
    while not wait(delay):
        delay = 0.0 if upkeep is not None and upkeep.step() else TICK
        try:
            behind = follower.progress().behind
            if behind and (behind >= FULL_BATCH or monotonic() - last >= AGE):
                last = monotonic()
                delay = 0.0 if follower.step() >= FULL_BATCH else delay
                follower.tidy()
            elif follower.tidy():
                delay = 0.0
        except AffidavitError as error:
            # The files may be back in a moment; what was taken in so far stands.
            log.error("%s: %s", error.category, error.message)
            delay = 1.0


def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or Ctrl-C, or until the process that supervises this one is gone."""
    parent = int(os.environ[PARENT_VARIABLE]) if PARENT_VARIABLE in os.environ else None
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)

    def wait(seconds: float) -> bool:
        return ended.wait(seconds) or (parent is not None and os.getppid() != parent)

    engine = engine_of(settings)
    lease = engine.lease()

    def lost(seconds: float) -> bool:
        return wait(seconds) or not lease.held

    while not ended.is_set():
        while not _taken(lease):
            if wait(TICK):
                return
        try:
            follower, upkeep = open_follower(engine), open_upkeep(engine)
            try:
                follow(follower, lost, upkeep=upkeep)
            finally:
                upkeep.close()
                follower.close()
        finally:
            lease.release()
        if wait(0):
            return
        log.warning("Another worker holds the lease now; this one waits for it.")


def _taken(lease: Lease) -> bool:
    try:
        return lease.take()
    except AffidavitError as error:
        # The database may be back in a moment.
        log.error("%s: %s", error.category, error.message)
        return False


class Supervisor:
    """Runs one worker as a child process for the length of a ``with`` block; one that dies is started again.

    Args:
        settings: of the server; the worker gets the same database.
    """

    FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
    """Seconds before a worker that died is started again: doubled while it dies at once."""
    STEADY = 30.0
    """Seconds that a worker must live for the pause to be short again."""
    GRACE = 5.0
    """Seconds that a worker gets to end when it is told to; then it is killed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="affidavit-supervisor", daemon=True)
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the worker, ``None`` while there is none."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def __enter__(self) -> Self:
        self._child = self._start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._child is not None:
            self._child.terminate()
        self._thread.join(self.GRACE)
        if self._thread.is_alive() and self._child is not None:
            # It hangs, or was started in the moment in which the other one was told to end.
            self._child.kill()
            self._thread.join()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "affidavit.worker"],
            env={
                **os.environ,
                SETTINGS_VARIABLE: _pack(self._settings),
                PARENT_VARIABLE: str(os.getpid()),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def _run(self) -> None:
        pause = self.FIRST_PAUSE
        while True:
            child = self._child
            assert child is not None
            begun = time.monotonic()
            self._watch(child)
            if self._ended.is_set():
                return
            lived = time.monotonic() - begun
            pause = self.FIRST_PAUSE if lived >= self.STEADY else min(self.LONGEST_PAUSE, pause * 2)
            log.error(
                "The worker ended with status %s; starting it again in %.1f s.", child.returncode, pause
            )
            if self._ended.wait(pause):
                return
            self._child = self._start()

    def _watch(self, child: subprocess.Popen[bytes]) -> None:
        """Wait for the child's end."""
        try:
            descriptor = os.pidfd_open(child.pid)
        except (AttributeError, OSError):
            pass
        else:
            try:
                select.select([descriptor], [], [])
            finally:
                os.close(descriptor)
        child.wait()


def _pack(settings: Settings) -> str:
    import msgspec

    return msgspec.json.encode(settings, enc_hook=str).decode()


def _unpack(text: str) -> Settings:
    import msgspec

    return msgspec.json.decode(text, type=Settings, dec_hook=lambda kind, value: kind(value))


if __name__ == "__main__":
    given = _unpack(os.environ[SETTINGS_VARIABLE])
    logging.basicConfig(
        level=given.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    run_worker(given)
