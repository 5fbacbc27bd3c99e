"""The reference: the same table and indexes, written by the driver alone.

No triggers, no checks of ours, no objects: ``executemany`` of tuples that are ready, with the product's
pragmas.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from affidavit.core.row import COLUMNS, Row
from affidavit.storage.sqlite.connect import WRITER_CACHE
from affidavit.storage.sqlite.database import migrate_file
from affidavit.storage.sqlite.writer import BULK_CHECKPOINT

__all__ = ["Raw", "ready"]

_INSERT = f"INSERT INTO affidavit_events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"

Tuples = list[tuple[Any, ...]]


def ready(rows: Sequence[Row], now: int) -> Tuples:
    """Prepared events as tuples for the driver."""
    return [(*row.values, now) for row in rows]


class Raw:
    """The raw engine on a file of its own.

    Args:
        path: made here.
        like: a filled database whose copy it starts from; ``None`` for an empty table.
    """

    def __init__(self, path: Path, like: Path | None = None) -> None:
        if like is None:
            migrate_file(path)
        else:
            shutil.copyfile(like, path)
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            f"cache_size = -{WRITER_CACHE}",
            f"wal_autocheckpoint = {BULK_CHECKPOINT}",
            "temp_store = MEMORY",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        triggers = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            self._connection.execute(f"DROP TRIGGER {name}")

    def write(self, batches: Sequence[Tuples]) -> float:
        """Write each batch in a durable transaction; events a second."""
        execute, executemany = self._connection.execute, self._connection.executemany
        begun = time.perf_counter()
        for batch in batches:
            execute("BEGIN IMMEDIATE")
            executemany(_INSERT, batch)
            execute("COMMIT")
        return sum(map(len, batches)) / (time.perf_counter() - begun)

    def close(self) -> None:
        """Close the file."""
        with closing(self._connection):
            pass
