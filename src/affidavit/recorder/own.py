"""Events in a transaction of their own: what is said of an attempt that was refused or that failed.

The connections are this object's own, at most two, opened when they are needed and never taken from the app's
pool: an app that holds its only connection would wait for itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from affidavit.core.row import Recorded
from affidavit.core.statement import Steps
from affidavit.recorder.forks import when_forked

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

    @property
    def keeps(self) -> bool:
        """Whether a connection may be used again, by any thread."""
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
        """Whether the database could not be reached, or was lost on the way."""
        ...

    def close(self, connection: Any) -> None:
        """Close a connection."""
        ...


_inherited: list[Any] = []
"""Connections of parents: never used and never closed, as their other end belongs to the parent."""


class OwnConnections:
    """At most two connections, kept between uses; safe to use from several threads and after a fork.

    Args:
        source: of the connections.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._places = threading.BoundedSemaphore(MOST)
        self._idle: list[Any] = []
        self._used = self._held = False
        when_forked(self)

    @property
    def source(self) -> Source:
        """Where the connections come from."""
        return self._source

    def before_fork(self) -> None:
        """Close what is idle on SQLite, once nobody writes; see :mod:`affidavit.recorder.forks`."""
        self._held = self._used and self._source.dialect == "sqlite"
        if self._held:
            for _ in range(MOST):
                self._places.acquire()
            self.close()

    def after_fork(self, *, child: bool) -> None:
        """A child has connections of its own."""
        if child:
            _inherited.extend(self._idle)
            self._idle = []
            self._places = threading.BoundedSemaphore(MOST)
        elif self._held:
            self._places.release(MOST)

    def record(self, steps: StepsOf) -> list[Recorded]:
        """Run a recording in a transaction of its own.

        A connection that died while it was idle is replaced once, so the statements may run twice: the events
        must bring their ids. After an error nothing was stored, except where a connection was lost in the
        middle of its commit: then that is unknown, and the driver's error says so.
        """
        with self._places:
            self._used = True
            connection = self._take()
            if connection is not None:
                try:
                    return self._run(connection, steps)
                except Exception as error:
                    if not self._source.is_away(error):
                        raise
            return self._run(self._source.connect(), steps)

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _run(self, connection: Any, steps: StepsOf) -> list[Recorded]:
        try:
            recorded = self._source.run(connection, steps(self._source.dialect))
        except BaseException:
            with suppress(Exception):  # what it says of its end adds nothing to what it failed with
                self._source.close(connection)
            raise
        if self._source.keeps:
            self._idle.append(connection)
        else:
            self._source.close(connection)
        return recorded

    def close(self) -> None:
        """Close what is idle."""
        while (connection := self._take()) is not None:
            self._source.close(connection)
