"""What an adapter does, and the one loop that drives a recording over a connection, blocking or awaited."""

from __future__ import annotations

from typing import Any, Protocol

from affidavit.core.row import Recorded
from affidavit.core.statement import Answer, Statement, Steps

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
    try:
        while True:
            answer = driver.run(steps.send(answer))
    except StopIteration as end:
        recorded: list[Recorded] = end.value
        return recorded
    finally:
        steps.close()


async def drive_async(driver: AsyncDriver, steps: Steps) -> list[Recorded]:
    """Run a recording to its end."""
    answer: Any = None
    try:
        while True:
            try:
                statement = steps.send(answer)
            except StopIteration as end:
                recorded: list[Recorded] = end.value
                return recorded
            answer = await driver.run(statement)
    finally:
        steps.close()
