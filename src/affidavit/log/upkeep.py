"""The log's share of the worker: sequence, sign, do tasks; stop at what must be looked at, and say so.

A stop is a stop of the log only: recording goes on in other processes, and the search index in this one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from affidavit.errors import AffidavitError, LogError
from affidavit.storage.log import Alarm, AlarmStore, Queue

__all__ = ["LogParts", "Stepper", "Tasks", "Upkeep"]

T = TypeVar("T")

log = logging.getLogger("affidavit.log")

CLAIM_AT = 256
"""Waiting events at which a claim is made at once; fewer are claimed once a second."""
AGE = 1.0
"""Seconds between two claims of a few events. The signer keeps its own pace."""
RETRY = 2.0
"""Seconds after an error until the log is tried again."""


_STAGES = ("sequence", "sign", "cosign", "task", "housekeeping")


class Stepper(Protocol):
    """A sequencer or a signer: does one bounded batch."""

    def step(self) -> int:
        """How much it did; 0 where nothing waits."""
        ...


class Tasks(Protocol):
    """Work that somebody ordered."""

    def step(self) -> bool:
        """Do one bounded piece; whether there may be more."""
        ...


def _never() -> bool:
    return False


class LogParts(NamedTuple):
    """What the holder of the worker's lease works with; closed and opened anew once ``stale`` says so.

    ``housekeeping`` does one bounded piece of the engine's own upkeep; true asks for more of it. ``drain``
    stores what waits in spools.
    """

    queue: Queue
    sequencer: Stepper
    signer: Stepper
    tasks: Tasks
    alarms: AlarmStore
    close: Callable[[], None]
    cosigner: Stepper | None = None
    stale: Callable[[], bool] = _never
    housekeeping: Callable[[], bool] | None = None
    drain: Stepper | None = None


class Upkeep:
    """Runs the log's parts round by round.

    Args:
        open_parts: opens the files; tried again after an error.
        monotonic: seconds.
        clock: microseconds since 1970 UTC.
        first: parts that are open already; closed with it whether a round was run or not.
    """

    def __init__(
        self,
        open_parts: Callable[[], LogParts],
        *,
        monotonic: Callable[[], float],
        clock: Callable[[], int],
        first: LogParts | None = None,
    ) -> None:
        self._open_parts = open_parts
        self._first = first
        self._monotonic = monotonic
        self._clock = clock
        self._parts: LogParts | None = None
        self._claimed = float("-inf")
        self._rest: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def step(self) -> bool:
        """One round: what waits is stored and sequenced, then signed, then one piece of a task is done.

        Returns:
            Whether to come again at once.
        """
        parts = self._guarded("open", self._open)
        if parts is None:
            return False
        busy = parts.drain is not None and bool(self._guarded("drain", parts.drain.step))
        busy |= bool(self._guarded("sequence", lambda: self._sequence(parts)))
        busy |= bool(self._guarded("sign", parts.signer.step))
        if parts.cosigner is not None:
            self._guarded("cosign", parts.cosigner.step)
        busy |= bool(self._guarded("task", parts.tasks.step))
        if parts.housekeeping is not None:
            busy |= bool(self._guarded("housekeeping", parts.housekeeping))
        if parts.stale():
            self.close()
        return busy

    def _open(self) -> LogParts:
        if self._parts is None:
            first, self._first = self._first, None
            self._parts = self._open_parts() if first is None else first
            # What an earlier worker said is taken back by the first success of this one.
            standing = {alarm.kind: alarm.text for alarm in self._parts.alarms.alarms()}
            for stage in _STAGES:
                if f"log_{stage}" in standing:
                    self._said.setdefault(stage, standing[f"log_{stage}"])
        return self._parts

    def _sequence(self, parts: LogParts) -> bool:
        waiting = parts.queue.progress().waiting
        now = self._monotonic()
        if waiting < CLAIM_AT and now - self._claimed < AGE:
            return False
        # Also where nothing waits: only a claim sees that the database of events is one from before.
        self._claimed = now
        return parts.sequencer.step() > 0 and waiting >= CLAIM_AT

    def _guarded(self, stage: str, work: Callable[[], T]) -> T | None:
        """Do a stage; an error is said once, kept as an alarm, and the stage rests for a moment."""
        if self._rest.get(stage, 0.0) > self._monotonic():
            return None
        try:
            answer = work()
        except AffidavitError as error:
            self._rest[stage] = self._monotonic() + RETRY
            self._failed(stage, error)
            return None
        if self._said.pop(stage, None) is not None:
            log.warning("The log goes on (%s).", stage)
            self._alarm(lambda alarms: alarms.clear(f"log_{stage}"))
        return answer

    def _failed(self, stage: str, error: AffidavitError) -> None:
        if self._said.get(stage) == error.message:
            return
        self._said[stage] = error.message
        log.error("%s: %s", error.category, error.message)
        if isinstance(error, LogError):
            alarm = Alarm(f"log_{stage}", error.category, self._clock(), error.message)
            self._alarm(lambda alarms: alarms.sound(alarm))

    def _alarm(self, change: Callable[[AlarmStore], None]) -> None:
        if self._parts is None:
            return
        try:
            change(self._parts.alarms)
        except AffidavitError as error:
            log.error("the alarm could not be stored: %s", error.message)

    def close(self) -> None:
        """Close the files."""
        for parts in (self._first, self._parts):
            if parts is not None:
                parts.close()
        self._first = self._parts = None
