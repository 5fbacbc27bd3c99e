"""Stores to measure on: filled with ninety days of events, indexed by a real worker."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from affidavit.catalogs import ready_made
from affidavit.config import Settings
from affidavit.core.row import Row
from affidavit.core.times import DAY
from affidavit.recorder.intake import Intake, Rights
from affidavit.storage.sqlite.connect import index_path
from affidavit.storage.sqlite.database import SqliteDatabase, migrate_file
from affidavit.storage.sqlite.follower import IndexFollower
from affidavit.storage.sqlite.log_file import log_path
from affidavit.wiring import Instance, clock, open_store
from affidavit.wiring.work import open_parts
from affidavit.worker import Supervisor
from bench.data import DAYS, Source
from bench.lag import Lag

__all__ = ["BATCH", "copy", "fill", "intake", "opened", "prepared", "seal", "settings_of", "worker"]

BATCH: Final = 1_000
_IMPORTS = Rights(may_import=True)


def settings_of(database: Path) -> Settings:
    """Settings of a program that works on this file, with a key and a guard for it alone."""
    folder = database.parent / "data" / database.stem
    return Settings(database=f"sqlite:///{database}", data_dir=folder, listen="127.0.0.1:0")


def intake(now: Callable[[], int] = clock) -> Intake:
    """What makes rows of drafts, and stores none."""
    catalogs = ready_made()
    return Intake(
        lambda _: [],
        clock=now,
        entropy=os.urandom,
        catalogs=lambda: catalogs,
        organization_secret=lambda _: bytes(32),
    )


def prepared(made: Intake, source: Source, count: int, *, at: int | None = None, step: int = 0) -> list[Row]:
    """The next events of a source as rows."""
    return made.prepare(source.drafts(count, at=at, step=step), organization=None, rights=_IMPORTS)


def fill(path: Path, events: int, *, lean: bool = False, say: Callable[[str], None] = print) -> None:
    """Make a database of so many events, ending now, and its index; leave it as it is where it exists."""
    if index_path(path).exists():
        say(f"{path} is there already")
        return
    _forget(path)
    begun = time.perf_counter()
    now = clock() - DAYS * DAY
    step = DAYS * DAY // events
    migrate_file(path)
    database = SqliteDatabase(path, clock=lambda: now)
    made = intake(lambda: now)
    source = Source(7, lean=lean)
    with worker(path), Lag(path) as lag:
        for _ in range(0, events, BATCH):
            rows = prepared(made, source, BATCH, at=now - (BATCH - 1) * step, step=step)
            database.events.insert(rows)
            now += BATCH * step
        recorded = time.perf_counter() - begun
        lag.wait(0)
    settle(path)
    seal(path)
    database.close()
    say(
        f"filled {path.name}: {events:,} events in {recorded:.0f} s,"
        f" indexed after {time.perf_counter() - begun:.0f} s"
    )


def settle(path: Path) -> None:
    """Merge the index as far as it goes: what a worker does when nothing waits."""
    follower = IndexFollower(path, index_path(path))
    while follower.step() or follower.tidy():
        pass
    follower.close()


def seal(path: Path) -> None:
    """Give every event its leaf, and every tree its checkpoint."""
    parts = open_parts(settings_of(path))
    while parts.sequencer.step():
        pass
    while parts.signer.step():
        pass
    parts.close()


def copy(path: Path, to: Path) -> Path:
    """A copy of a closed store: events, index, log, key and guard."""
    _forget(to)
    for part in (lambda file: file, index_path, log_path):
        shutil.copyfile(part(path), part(to))
    shutil.copytree(settings_of(path).data_dir, settings_of(to).data_dir)
    return to


def _forget(path: Path) -> None:
    """Take away the key and the guard of a database that is gone, which would guard no other."""
    shutil.rmtree(settings_of(path).data_dir, ignore_errors=True)


@contextmanager
def opened(path: Path) -> Iterator[Instance]:
    """The product on a file, made where it is missing."""
    if not path.exists():
        _forget(path)
    instance = open_store(settings_of(path), migrate=True)
    try:
        yield instance
    finally:
        instance.close()


@contextmanager
def worker(path: Path) -> Iterator[None]:
    """A worker process on a file."""
    with Supervisor(settings_of(path)):
        yield
