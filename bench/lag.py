"""How far an index is behind the events, watched from outside."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Final, Self

from affidavit.storage.sqlite.connect import index_path
from affidavit.wiring import clock

__all__ = ["ONE_BATCH", "Lag"]

ONE_BATCH: Final = 4_096
"""Events that a worker may be behind and still be called current: those it has in hand."""


class Lag:
    """Watches one database with a thread of its own while it is entered.

    Args:
        path: of the database.
    """

    _EVERY: Final = 0.05

    def __init__(self, path: Path) -> None:
        self._path = path
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
        probe = _Probe(self._path)
        while not self._ended.wait(self._EVERY):
            self._worst = max(self._worst, probe.look()[1])
        probe.close()

    def wait(self, within: int = ONE_BATCH) -> float:
        """Wait until the index lacks no more than so many events.

        Returns:
            The greatest age of an event that the index lacked since the last call, in seconds.
        """
        probe = _Probe(self._path)
        while probe.look()[0] > within:
            time.sleep(0.01)
        probe.close()
        worst, self._worst = self._worst, 0.0
        return worst


class _Probe:
    def __init__(self, path: Path) -> None:
        self._index_path = index_path(path)
        self._events = sqlite3.connect(path, isolation_level=None)
        self._index: sqlite3.Connection | None = None

    def look(self) -> tuple[int, float]:
        """How many events the index lacks, and the age of the oldest of them in seconds."""
        if self._index is None and self._index_path.exists():
            self._index = sqlite3.connect(self._index_path, isolation_level=None)
        seq = self._watermark()
        oldest, last = self._events.execute(
            "SELECT (SELECT recorded_at FROM affidavit_events WHERE seq > ? ORDER BY seq LIMIT 1),"
            " (SELECT max(seq) FROM affidavit_events)",
            (seq,),
        ).fetchone()
        return (last or 0) - seq, 0.0 if oldest is None else (clock() - oldest) / 1_000_000

    def _watermark(self) -> int:
        if self._index is None:
            return 0
        try:
            return int(self._index.execute("SELECT seq FROM affidavit_index").fetchone()[0])
        except (sqlite3.OperationalError, TypeError):
            return 0  # it is being made

    def close(self) -> None:
        self._events.close()
        if self._index is not None:
            self._index.close()
