"""SQLite databases to measure on, and the raw engine: the same table, written by the driver alone.

Raw means: the same indexes, no triggers, no checks of ours, no objects; ``executemany`` of tuples that are
ready, with the product's pragmas.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from affidavit.config import Settings
from affidavit.core.filter import Filter
from affidavit.core.row import COLUMNS, Recorded, Row
from affidavit.storage.sqlite.connect import READER_CACHE, WRITER_CACHE, index_path
from affidavit.storage.sqlite.database import SqliteDatabase, migrate_file
from affidavit.storage.sqlite.log_file import log_path
from affidavit.storage.sqlite.writer import BULK_CHECKPOINT
from affidavit.wiring import clock as now
from bench.base import Behind, EnginePage, Ready
from bench.data import MAIN

__all__ = ["SqliteBase"]

_INSERT = f"INSERT INTO affidavit_events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_PAGES = {
    "no filter": ("affidavit_events_id", ""),
    "actor": ("affidavit_events_actor", " AND actor_id = ?"),
    "action": ("affidavit_events_action", " AND action = ?"),
    "outcome failure": ("affidavit_events_failure", " AND outcome = 'failure'"),
}


class SqliteBase:
    """See :class:`bench.base.Base`.

    Args:
        folder: of its files.
        name: without suffix.
    """

    engine = "SQLite"

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.path = folder / f"{name}.db"
        self._folder = folder
        self.settings = Settings(
            database=f"sqlite:///{self.path}", data_dir=folder / "data" / name, listen="127.0.0.1:0"
        )

    def whole(self) -> bool:
        return self._mark.exists()

    def finished(self) -> None:
        self._mark.touch()

    @property
    def _mark(self) -> Path:
        return self._folder / f"{self.name}.whole"

    def make(self, since: int | None = None) -> None:  # noqa: ARG002
        self.drop()
        migrate_file(self.path)

    @contextmanager
    def inserting(self, clock: Callable[[], int]) -> Iterator[Callable[[Sequence[Row]], list[Recorded]]]:
        with closing(SqliteDatabase(self.path, clock=clock)) as database:
            yield database.events.insert

    def beside(self, name: str) -> SqliteBase:
        return SqliteBase(self._folder, name)

    def copy_to(self, name: str) -> SqliteBase:
        other = self.beside(name)
        other.drop()
        for part in _FILES:
            if part(self.path).exists():
                shutil.copyfile(part(self.path), part(other.path))
        if self.settings.data_dir.exists():
            shutil.copytree(self.settings.data_dir, other.settings.data_dir)
        return other

    def drop(self) -> None:
        shutil.rmtree(self.settings.data_dir, ignore_errors=True)
        self._mark.unlink(missing_ok=True)
        for part in _FILES:
            for file in self._folder.glob(f"{part(self.path).name}*"):
                file.unlink()

    def raw(self, name: str, *, like: bool) -> _Raw:
        return _Raw(self._folder / f"{name}.db", self.path if like else None)

    def probe(self) -> _Probe:
        return _Probe(self.path)

    def sizes(self) -> Mapping[str, int]:
        names = ("events", "index", "log")
        return {name: part(self.path).stat().st_size for name, part in zip(names, _FILES, strict=True)}

    @contextmanager
    def alone(self) -> Iterator[Mapping[str, EnginePage]]:
        select = f"SELECT seq, {', '.join(COLUMNS)} FROM affidavit_events"
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA cache_size = -{READER_CACHE}")

            def page(index: str, where: str) -> EnginePage:
                sql = f"{select} INDEXED BY {index} WHERE organization = ?{where} ORDER BY id DESC LIMIT 51"

                def ask(filter_: Filter) -> object:
                    value = [filter_.conditions[0].values[0]] if "?" in where else []
                    return connection.execute(sql, [MAIN, *value]).fetchall()

                return ask

            yield {name: page(*parts) for name, parts in _PAGES.items()}


_FILES: tuple[Callable[[Path], Path], ...] = (lambda path: path, index_path, log_path)


class _Raw:
    def __init__(self, path: Path, like: Path | None) -> None:
        self._path = path
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

    def ready(self, rows: Sequence[Row], now: int) -> Ready:
        return Ready(len(rows), [(*row.values, now) for row in rows])

    def write(self, batches: Sequence[Ready]) -> float:
        execute, executemany = self._connection.execute, self._connection.executemany
        begun = time.perf_counter()
        for batch in batches:
            execute("BEGIN IMMEDIATE")
            executemany(_INSERT, batch.content)
            execute("COMMIT")
        return sum(batch.events for batch in batches) / (time.perf_counter() - begun)

    def close(self) -> None:
        self._connection.close()
        for file in self._path.parent.glob(f"{self._path.name}*"):
            file.unlink()


class _Probe:
    def __init__(self, path: Path) -> None:
        self._index_path = index_path(path)
        self._events = sqlite3.connect(path, isolation_level=None)
        self._index: sqlite3.Connection | None = None

    def look(self) -> Behind:
        if self._index is None and self._index_path.exists():
            self._index = sqlite3.connect(self._index_path, isolation_level=None)
        seq = self._watermark()
        oldest, last = self._events.execute(
            "SELECT (SELECT recorded_at FROM affidavit_events WHERE seq > ? ORDER BY seq LIMIT 1),"
            " (SELECT max(seq) FROM affidavit_events)",
            (seq,),
        ).fetchone()
        return Behind((last or 0) - seq, 0.0 if oldest is None else (now() - oldest) / 1_000_000)

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
