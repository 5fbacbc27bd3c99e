"""Events in a transaction of their own: what is said of an attempt that was refused or that failed.

The connections are this object's own, at most two, opened when they are needed and never taken from the app's
pool: an app that holds its only connection would wait for itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from affidavit.core.row import Recorded
from affidavit.core.statement import Steps

__all__ = ["BUSY_SECONDS", "OwnConnections", "Source"]

MOST = 2
"""Connections at most."""
BUSY_SECONDS = 0.05
"""How long a write waits for the lock of an SQLite database before the event goes to the spool."""

StepsOf = Callable[[str], Steps]
"""The statements of a recording, for ``sqlite`` or ``postgresql``."""


class Source(Protocol):
    """Where connections come from, and how a recording is run on one."""

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        ...

    def connect(self) -> Any:
        """A new connection."""
        ...

    def run(self, connection: Any, steps: Steps) -> list[Recorded]:
        """Run a recording in a transaction of its own; durable on return, nothing stored where it raises."""
        ...

    def is_busy(self, error: BaseException) -> bool:
        """Whether the database is there and another writer holds it."""
        ...

    def is_away(self, error: BaseException) -> bool:
        """Whether the database could not be reached, so that nothing was stored."""
        ...

    def close(self, connection: Any) -> None:
        """Close a connection."""
        ...


class OwnConnections:
    """At most two connections, kept between uses; safe to use from several threads and after a fork.

    Args:
        source: of the connections.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._start()
        os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        # A child does not touch the connections of its parent, not even to close them.
        self._inherited = getattr(self, "_idle", None)
        self._places = threading.BoundedSemaphore(MOST)
        self._idle: list[Any] = []

    @property
    def source(self) -> Source:
        """Where the connections come from."""
        return self._source

    def record(self, steps: StepsOf) -> list[Recorded]:
        """Run a recording in a transaction of its own.

        A connection that died while it was idle is replaced once; after an error nothing was stored, except
        where a connection was lost in the middle of its commit: then that is unknown, and the driver's error
        says so.
        """
        with self._place():
            connection = self._idle.pop() if self._idle else None
            if connection is not None:
                try:
                    return self._run(connection, steps)
                except Exception as error:
                    if not self._source.is_away(error):
                        raise
            return self._run(self._source.connect(), steps)

    @contextmanager
    def _place(self) -> Iterator[None]:
        with self._places:
            yield

    def _run(self, connection: Any, steps: StepsOf) -> list[Recorded]:
        try:
            recorded = self._source.run(connection, steps(self._source.dialect))
        except BaseException:
            with suppress(Exception):
                self._source.close(connection)
            raise
        self._idle.append(connection)
        return recorded

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._source.close(self._idle.pop())
