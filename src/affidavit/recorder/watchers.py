"""Who hears of each event that this process records: the pytest plugin in tests, nobody in production."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from affidavit.core.row import Recorded, Row
from affidavit.core.statement import Statement

__all__ = ["Watcher", "drained", "is_drained", "request_watchers", "watchers"]


class Watcher(Protocol):
    """Is told by whichever thread records, while it records: it returns soon and raises nothing."""

    def written(
        self, driver: Any, statements: Sequence[Statement], recorded: Sequence[Recorded], *, again: bool
    ) -> None:
        """Events were written on a connection, in a transaction that may be undone yet.

        Args:
            driver: of :mod:`affidavit.recorder.adapters`.
            statements: that ran.
            recorded: what became of each event.
            again: they had waited in a spool and were told of before, perhaps by another process.
        """
        ...

    def kept(self, recorded: Sequence[Recorded]) -> None:
        """These are there whatever becomes of the app's transaction."""
        ...

    def put_aside(self, rows: Sequence[Row]) -> None:
        """These wait in a spool and are there for good, too."""
        ...


watchers: list[Watcher] = []
"""All of them; to be empty costs a recording one look."""

request_watchers: list[Callable[[str, str], None]] = []
"""Who is told the method and the path of each request that a middleware sees; nobody in production."""

_draining = threading.local()


@contextmanager
def drained() -> Iterator[None]:
    """What this thread records within the block comes out of a spool."""
    _draining.now = True
    try:
        yield
    finally:
        _draining.now = False


def is_drained() -> bool:
    """Whether this thread empties a spool."""
    return getattr(_draining, "now", False)
