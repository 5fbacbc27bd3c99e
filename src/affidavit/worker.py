"""The worker process: it keeps what is derived from the events up to date, beside whoever records.

A busy thread in the web process would cost that most of its throughput, so this is a process of its own.
``serve`` and ``audit.start()`` start one and start it again when it dies (:mod:`affidavit.supervisor`);
``affidavit worker`` is the same alone. Of several workers of one database the holder of the lease works
(:mod:`affidavit.wiring.lease`).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from typing import Protocol

from affidavit.config import Settings
from affidavit.errors import AffidavitError
from affidavit.storage.protocols import Follower
from affidavit.supervisor import PARENT_VARIABLE, SETTINGS_VARIABLE, unpacked
from affidavit.wiring import Engine, Lease, engine_of, open_follower, open_upkeep

__all__ = ["follow", "run_worker"]

log = logging.getLogger("affidavit.worker")

TICK = 0.2
"""Seconds between two looks for new events."""
FULL_BATCH = 4_096
AGE = 1.0
"""Seconds after which a batch that is not full is taken in."""
RETRY = 1.0
"""Seconds after an error until the database is tried again."""


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
    """Work until SIGTERM or Ctrl-C, or until the process that supervises this one is gone.

    A worker with a supervisor leaves Ctrl-C to that: both get it on a terminal.
    """
    parent = int(os.environ[PARENT_VARIABLE]) if PARENT_VARIABLE in os.environ else None
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end if parent is None else signal.SIG_IGN)

    def wait(seconds: float) -> bool:
        return ended.wait(seconds) or (parent is not None and os.getppid() != parent)

    engine = engine_of(settings)
    lease = engine.lease()
    said = _Said()
    pause = 0.0
    while not wait(pause):
        pause = TICK
        try:
            if lease.take():
                _work(engine, lease, wait, said)
        except AffidavitError as error:
            # The database may be back in a moment, or get its tables.
            said.fails(error)
            pause = RETRY


def _work(engine: Engine, lease: Lease, wait: Callable[[float], bool], said: _Said) -> None:
    """Work as the holder of the lease, until told to stop or until it is lost."""
    try:
        with closing(open_follower(engine)) as follower, closing(open_upkeep(engine)) as upkeep:
            said.works()
            follow(follower, lambda seconds: wait(seconds) or not lease.held, upkeep=upkeep)
    finally:
        lease.release()
    if not wait(0):
        log.warning("Another worker holds the lease now; this one waits for it.")


class _Said:
    """Says once what keeps the worker from its work, and once that it goes on."""

    def __init__(self) -> None:
        self._text: str | None = None

    def fails(self, error: AffidavitError) -> None:
        """Say it where it is something else than before."""
        if error.message != self._text:
            log.error("%s: %s", error.category, error.message)
        self._text = error.message

    def works(self) -> None:
        """Say that it is over."""
        if self._text is not None:
            log.warning("The worker works.")
        self._text = None


if __name__ == "__main__":
    given = unpacked(os.environ[SETTINGS_VARIABLE])
    logging.basicConfig(
        level=given.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    run_worker(given)
