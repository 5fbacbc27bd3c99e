"""Recording never waits for its log, and the log never waits for a writer."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.log.sequencer import Sequencer
from affidavit.storage.sqlite.log_writer import SqliteLogWriter
from affidavit.testing.author import Author, Clock
from affidavit.testing.sqlite import SqliteEngine, SqliteStores


@pytest.fixture
def clock() -> Clock:
    """Stands still."""
    return Clock()


@pytest.fixture
def stores(tmp_path: Path, clock: Clock) -> Iterator[SqliteStores]:
    """An empty store."""
    engine = SqliteEngine(tmp_path, clock=clock)
    yield engine.open(engine.create())
    engine.close()


@pytest.fixture
def writer(stores: SqliteStores) -> Iterator[SqliteLogWriter]:
    """The worker's side of its log."""
    made = SqliteLogWriter(stores.database.path, stores.database.log_path)
    yield made
    made.close()


def test_the_sequencer_works_while_the_app_holds_its_write_lock(
    stores: SqliteStores, writer: SqliteLogWriter, clock: Clock
) -> None:
    """A transaction of the app that stays open keeps nothing from its leaf."""
    author = Author(clock)
    stores.events.insert([author.row() for _ in range(10)])
    other = sqlite3.connect(stores.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT OR REPLACE INTO affidavit_meta VALUES ('held', 'x')")
    try:
        sequencer = Sequencer(writer, writer, writer, host="h", clock=clock, entropy=os.urandom)
        assert sequencer.step() == 10
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert [tree.size for tree in stores.log.trees("acme")] == [10]


def test_recording_goes_on_while_the_log_is_locked(
    stores: SqliteStores, writer: SqliteLogWriter, clock: Clock
) -> None:
    """Whoever holds the log file holds nobody up but the worker."""
    author = Author(clock)
    with writer.transaction():
        assert len(stores.events.insert([author.row() for _ in range(3)])) == 3
    assert stores.events.last_seq() == 3


def test_the_log_never_writes_the_apps_file(
    stores: SqliteStores, writer: SqliteLogWriter, clock: Clock
) -> None:
    """Not one page of it changes while 2,000 events get their leaves."""
    author = Author(clock)
    for _ in range(2):
        stores.events.insert([author.row() for _ in range(1000)])
    watch = sqlite3.connect(stores.database.path)
    before = watch.execute("PRAGMA data_version").fetchone()
    sequencer = Sequencer(writer, writer, writer, host="h", clock=clock, entropy=os.urandom)
    while sequencer.step():
        pass
    assert watch.execute("PRAGMA data_version").fetchone() == before
    watch.close()
    stores.events.insert([author.row()])
    assert [tree.size for tree in stores.log.trees("acme")] == [2000]
