"""What a place is where events were written, and how it is asked."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from affidavit.recorder.own import Source
from affidavit.testing.audit_log.forget import SQLITE_OPEN, forgetting, found_by

__all__ = ["NotAwaited", "Place", "forget_by", "found", "ids_in", "is_awaited"]


class NotAwaited(RuntimeError):
    """Only an awaited question can tell whether the events of this connection are there."""

    def __init__(self) -> None:
        super().__init__(
            "Events were recorded on a connection that is awaited. Ask: log = await audit_log.look()"
        )


def is_awaited() -> bool:
    """Whether a loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Place(Protocol):
    """Where events were written.

    Attributes:
        sure: whether what was rolled back is gone. The driver of SQLite, left as it is, sets savepoints
            without a transaction around them, and the end of the first one commits.
    """

    sure: bool

    def look(self, ids: Sequence[bytes]) -> set[bytes]:
        """Which of these are there, as the app's connection sees it.

        Raises:
            NotAwaited: see there.
        """
        ...

    async def look_awaited(self, ids: Sequence[bytes]) -> set[bytes]:
        """The same."""
        ...

    def forget(self, ids: Sequence[bytes]) -> None:
        """Take these away, where it is a database for tests."""
        ...


def forget_by(source: Source, ids: Sequence[bytes], schema: str) -> None:
    """Take events away over a connection of its own."""
    connection = source.connect()
    try:
        if isinstance(connection, sqlite3.Connection) and not connection.execute(SQLITE_OPEN).fetchone()[0]:
            return  # found out without the lock of a writer: somebody may hold it
        source.run(connection, forgetting(ids, source.dialect, schema))
    finally:
        source.close(connection)


def found(driver: Any, ids: Sequence[bytes]) -> set[bytes]:
    """Which of these a connection sees."""
    return ids_in(driver.run(each) for each in found_by(ids, driver.dialect))


def ids_in(answers: Iterable[Any]) -> set[bytes]:
    """The ids in the answers to such questions."""
    return {getattr(row[0], "bytes", row[0]) for answer in answers for row in answer.rows}
