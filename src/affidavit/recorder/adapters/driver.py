"""What an adapter does, and the one loop that drives a recording over a connection, blocking or awaited."""

from __future__ import annotations

from typing import Any, Protocol

from affidavit.core.row import Recorded
from affidavit.core.statement import Answer, Statement, Steps
from affidavit.recorder.watchers import is_drained, watchers

__all__ = ["AsyncDriver", "Driver", "drive", "drive_async"]


class Driver(Protocol):
    """Runs statements on one connection, within whatever transaction it is in."""

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        ...

    def run(self, statement: Statement) -> Answer:
        """Run one statement; the driver's errors come out as they are, or as one of ours that quotes them."""
        ...


class AsyncDriver(Protocol):
    """The same for a connection that is awaited."""

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        ...

    async def run(self, statement: Statement) -> Answer:
        """Run one statement."""
        ...


def drive(driver: Driver, steps: Steps) -> list[Recorded]:
    """Run a recording to its end."""
    answer: Any = None
    ran: list[Statement] = []
    try:
        while True:
            ran.append(steps.send(answer))
            answer = driver.run(ran[-1])
    except StopIteration as end:
        recorded: list[Recorded] = end.value
        _tell(driver, ran, recorded)
        return recorded
    finally:
        steps.close()


async def drive_async(driver: AsyncDriver, steps: Steps) -> list[Recorded]:
    """Run a recording to its end."""
    answer: Any = None
    ran: list[Statement] = []
    try:
        while True:
            try:
                ran.append(steps.send(answer))
            except StopIteration as end:
                recorded: list[Recorded] = end.value
                _tell(driver, ran, recorded)
                return recorded
            answer = await driver.run(ran[-1])
    finally:
        steps.close()


def _tell(driver: Driver | AsyncDriver, ran: list[Statement], recorded: list[Recorded]) -> None:
    for watcher in watchers:
        watcher.written(driver, ran, recorded, again=is_drained())
