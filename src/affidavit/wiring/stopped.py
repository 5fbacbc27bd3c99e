"""The log's share of a worker that must not touch the log: its files are not of one history.

Nothing is sequenced, signed or erased. What waits in spools is stored: recording never waits for its log.
Only what a person orders to settle it is done; and the files are looked at again every few seconds, because
somebody may put the right ones back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from affidavit.errors import LogMismatch
from affidavit.log.tasks import WAITING, TaskFunction, TaskRunner, TaskSteps
from affidavit.log.upkeep import LogParts
from affidavit.storage.log import Alarm, Claimed, QueueProgress
from affidavit.storage.tasks import Task
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Engine
from affidavit.wiring.log import log_kinds
from affidavit.wiring.spools import Drain, OpenSpools
from affidavit.wiring.store import open_store

__all__ = ["stopped_parts"]

LOOK_AGAIN = 2.0
"""Seconds until the files are tried again."""


def stopped_parts(engine: Engine, mismatch: LogMismatch) -> LogParts:
    """What is left to do where log and events do not belong together.

    Args:
        engine: of the database.
        mismatch: what is wrong; sequencing raises it.
    """
    renewed = threading.Event()
    until = time.monotonic() + LOOK_AGAIN
    instance = open_store(engine, source="worker")
    kinds = _OnlyThese(log_kinds(engine, instance.database, instance.access_events, renewed.set))
    runner = TaskRunner(instance.tasks, kinds, clock=clock, monotonic=time.monotonic)
    stopped = _Stopped(mismatch)
    spools = OpenSpools(engine)

    def close() -> None:
        spools.close()
        runner.close()
        instance.close()

    def stale() -> bool:
        return renewed.is_set() or time.monotonic() >= until

    return LogParts(stopped, stopped, _Nothing(), runner, stopped, close, None, stale, drain=Drain(spools))


class _OnlyThese(dict[str, TaskFunction]):
    """Tasks of other kinds wait; they are not unknown."""

    def get(self, kind: str, _default: Any = None) -> TaskFunction:
        """The function of a kind."""
        return super().get(kind, _wait)


def _wait(_task: Task) -> TaskSteps:
    while True:
        yield WAITING


class _Nothing:
    """A signer without a log."""

    def step(self) -> int:
        """Nothing."""
        return 0


class _Stopped:
    """A queue and sequencer that say what is wrong, and an alarm store without a file.

    What is wrong with the files themselves is seen by whoever reads them (:mod:`affidavit.log.standing`).
    """

    def __init__(self, mismatch: LogMismatch) -> None:
        self._mismatch = mismatch

    def step(self) -> int:
        """Raise."""
        raise self._mismatch

    def claim(self, _limit: int) -> Sequence[Claimed]:
        """Raise."""
        raise self._mismatch

    def settle(self, _claimed: Sequence[Claimed]) -> None:
        """Raise."""
        raise self._mismatch

    def progress(self) -> QueueProgress:
        """Raise."""
        raise self._mismatch

    def sound(self, _alarm: Alarm) -> None:
        """There is no file that could keep it."""

    def clear(self, _kind: str, _subject: str | None = None) -> None:
        """There is none."""

    def alarms(self) -> list[Alarm]:
        """None is kept."""
        return []
