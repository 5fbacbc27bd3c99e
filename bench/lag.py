"""How far a worker is behind the events, watched from outside."""

from __future__ import annotations

import threading
import time
from typing import Final, Self

from bench.base import Base

__all__ = ["ONE_BATCH", "Lag"]

ONE_BATCH: Final = 4_096
"""Events that a worker may be behind and still be called current: those it has in hand."""

_STUCK: Final = 60


class Lag:
    """Watches one database with a thread of its own while it is entered.

    Args:
        base: the database.
    """

    _EVERY: Final = 0.05

    def __init__(self, base: Base) -> None:
        self._base = base
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._worst = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        probe = self._base.probe()
        while not self._ended.wait(self._EVERY):
            self._worst = max(self._worst, probe.look().age)
        probe.close()

    def wait(self, within: int = ONE_BATCH) -> float:
        """Wait until the worker lacks no more than so many events.

        Returns:
            The greatest age of an event that it lacked since the last call, in seconds.

        Raises:
            RuntimeError: it did not take in anything for a minute.
        """
        probe = self._base.probe()
        least, since = probe.look().events, time.monotonic()
        while (lacks := probe.look().events) > within:
            if lacks < least:
                least, since = lacks, time.monotonic()
            if time.monotonic() - since > _STUCK:
                raise RuntimeError(f"the worker has lacked {lacks:,} events for {_STUCK} s")
            time.sleep(0.01)
        probe.close()
        worst, self._worst = self._worst, 0.0
        return worst
