"""The index file killed in the middle, damaged, replaced, or ahead of its database: answers stay right."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.core.credentials import ALL
from affidavit.core.cursor import Position
from affidavit.core.event import Actor, Resource
from affidavit.core.filter import Condition, Filter
from affidavit.errors import NotADatabase, StorageBusy, StorageError
from affidavit.storage.sqlite import index_file
from affidavit.storage.sqlite.follower import IndexFollower
from affidavit.storage.sqlite.index_file import INDEX_VERSION
from affidavit.testing.author import NOW, Author, Clock
from affidavit.testing.sqlite import SqliteStores, empty_database
from tests.faults.recount import check_index

EVENTS = 60
ANA = Filter((Condition("actor", ("ana",)), Condition("resource", ("r1",))))

FOLLOW = """
import itertools, os, signal, sqlite3, sys
from pathlib import Path
from affidavit.storage.sqlite import connect, follower

database, index, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
follower.BATCH, follower.FAN_IN, follower.SLICE = 5, 3, 10
count = itertools.count(1)

class Deadly(sqlite3.Connection):
    def execute(self, *arguments):
        self.die()
        return super().execute(*arguments)
    def executemany(self, *arguments):
        self.die()
        return super().executemany(*arguments)
    def die(self):
        if next(count) == last:
            os.kill(os.getpid(), signal.SIGKILL)

plain = sqlite3.connect
connect.sqlite3.connect = lambda *a, **o: plain(*a, **o, factory=Deadly)

def run(last_statement):
    global count, last
    count, last = itertools.count(1), last_statement
    one = follower.IndexFollower(database, index)
    while one.step():
        one.tidy()
    while one.tidy():
        pass
    one.close()

# Forked before any connection is open: each child is a worker that dies at one statement further on.
statement = 1
while True:
    for name in (index, Path(f"{index}-wal"), Path(f"{index}-shm")):
        name.unlink(missing_ok=True)
    deaths = 0
    for dies_at in (statement, statement // 2 + 1, 0):
        child = os.fork()
        if child == 0:
            run(dies_at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        deaths += os.WIFSIGNALED(status)
        if index.exists():
            seen = plain(f"file:{index}?immutable=1", uri=True)
            assert seen.execute("SELECT 1 FROM sqlite_schema WHERE name = 'affidavit_index'").fetchone()
            seen.close()
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    print(statement, deaths, flush=True)
    sys.stdin.readline()
    if deaths == 0:
        break
    statement += last
"""
"""A worker that is killed at one statement, then at another, then works to the end; and again, later.

A file that it leaves is never without its tables.
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Sixty events."""
    empty_database(tmp_path / "a.db")
    stores = SqliteStores(tmp_path / "a.db", Clock())
    record(stores, EVENTS)
    stores.close()
    return tmp_path / "a.db"


@pytest.fixture
def stores(path: Path) -> Iterator[SqliteStores]:
    """The same, open."""
    made = SqliteStores(path, Clock())
    yield made
    made.close()


def record(stores: SqliteStores, number: int, seed: int = 0) -> None:
    """Events of two people on two resources, from a few addresses."""
    author = Author(Clock(), seed)
    rows = [
        author.row(
            ("user.create", "user.delete")[each % 2],
            actor=Actor(type="user", id=("ana", "bob")[each % 2], email=f"e{each % 3}@x.io"),
            resources=(Resource(type="team", id=f"r{each % 3}", name="Straße"),),
            ip=f"10.0.0.{each % 7}",
            occurred_at=NOW - each * 999_999_999,
        )
        for each in range(number)
    ]
    stores.events.insert(rows)


def answer(stores: SqliteStores, filter_: Filter = ANA) -> list[int]:
    """The whole answer to a question that the index helps with."""
    found = stores.index.page(ALL, filter_, Position("desc"), limit=1_000, seconds=None)
    assert found.position is None
    return sorted(event.seq for event in found.events)


def right(stores: SqliteStores) -> list[int]:
    """What it must be."""
    events = stores.events.after(0, 10_000)
    return [e.seq for e in events if e.actor_id == "ana" and e.groups()["resources"][0]["id"] == "r1"]


def follow(stores: SqliteStores) -> None:
    """Let a new follower work to the end."""
    follower = stores.follower()
    while follower.step():
        pass
    while follower.tidy():
        pass
    follower.close()


@pytest.mark.slow
def test_a_worker_killed_at_any_statement_leaves_an_index_that_the_next_one_completes(path: Path) -> None:
    """Twice killed, then exact: every key, count and address, and no run that nobody lists."""
    index = path.with_name("a-index.db")
    command = [sys.executable, "-c", FOLLOW, str(path), str(index), "19"]
    points = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        while line := process.stdout.readline():
            check_index(path, index)
            file = sqlite3.connect(index)
            (orphans,) = file.execute(
                "SELECT count(*) FROM affidavit_terms WHERE run NOT IN (SELECT run FROM affidavit_runs)"
            ).fetchone()
            file.close()
            assert orphans == 0, line
            points += int(line.split()[1]) > 0
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    assert points > 8


@pytest.mark.parametrize(
    "damage", ["emptied", "garbage", "other file", "torn", "other layout", "other database"]
)
def test_a_damaged_index_is_read_around_and_made_anew(stores: SqliteStores, damage: str) -> None:
    """Before the worker notices, and after it."""
    follow(stores)
    assert answer(stores) == right(stores)
    path = stores.database.index_path
    held = stores.follower()
    assert held.step() == 0
    stores.database.readers._idle.clear()
    spoil(path, damage)
    assert answer(stores) == right(stores)
    record(stores, 10, seed=5)
    assert answer(stores) == right(stores)
    try:
        held.step()
    except NotADatabase:
        held.step()
    held.close()
    follow(stores)
    assert stores.index.progress().behind == 0
    assert answer(stores) == right(stores)
    stores.close()
    check_index(stores.database.path, path)


def test_an_index_that_is_busy_is_kept(stores: SqliteStores, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that somebody looks at it with locks it: the worker says so, and makes nothing anew."""
    follow(stores)
    path = stores.database.index_path
    inode = path.stat().st_ino
    record(stores, 10, seed=6)
    monkeypatch.setattr("affidavit.storage.sqlite.connect.BUSY_SECONDS", 0.05)
    follower = stores.follower()
    stores.database.readers.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageBusy):
        follower.step()
    other.execute("ROLLBACK")
    other.close()
    assert path.stat().st_ino == inode
    while follower.step():
        pass
    assert follower.progress().behind == 0
    follower.close()
    stores.close()
    check_index(stores.database.path, path)


def test_an_index_that_goes_away_as_it_is_made_is_made_again(
    stores: SqliteStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prune discards it in that moment: the follower does not go on with a file that nobody finds."""
    record(stores, 10, seed=8)
    path = stores.database.index_path
    made = index_file.create

    def taken(at: Path, database_id: str) -> sqlite3.Connection:
        file = made(at, database_id)
        at.unlink()
        return file

    follower = stores.follower()
    with monkeypatch.context() as patched:
        patched.setattr("affidavit.storage.sqlite.index_file.create", taken)
        with pytest.raises(StorageError):
            follower.step()
    assert not path.exists()
    while follower.step():
        pass
    follower.close()
    stores.close()
    check_index(stores.database.path, path)


def spoil(path: Path, damage: str) -> None:
    """Damage a file in one of the ways in which files are damaged."""
    if damage in ("other layout", "other database"):
        file = sqlite3.connect(path)
        if damage == "other layout":
            file.execute("UPDATE affidavit_index SET version = ?", (INDEX_VERSION + 1,))
        else:
            file.execute("UPDATE affidavit_index SET database_id = 'another'")
        file.commit()
        file.close()
        return
    whole = path.read_bytes()
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        name.unlink(missing_ok=True)
    if damage == "other file":
        file = sqlite3.connect(path)
        file.execute("CREATE TABLE other (a)")
        file.commit()
        file.close()
    elif damage == "torn":
        # Half of the pages are noise: the first ones, with the schema, are as they were.
        half = len(whole) // 2 // 4096 * 4096
        path.write_bytes(whole[:half] + os.urandom(len(whole) - half))
    else:
        path.write_bytes(b"" if damage == "emptied" else os.urandom(8192))


def test_an_index_ahead_of_its_database_is_not_believed(stores: SqliteStores, tmp_path: Path) -> None:
    """An older copy of the database was put back: the index knows events that do not exist any more."""
    older = tmp_path / "older.db"
    copy = sqlite3.connect(older)
    source = sqlite3.connect(stores.database.path)
    source.backup(copy)
    copy.close()
    source.close()
    record(stores, 20, seed=1)
    follow(stores)
    stores.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{stores.database.path}{suffix}").unlink(missing_ok=True)
    older.rename(stores.database.path)
    restored = SqliteStores(stores.database.path, Clock())
    assert restored.index.progress().seq == 0
    assert answer(restored) == right(restored)
    # New events take the places of those that are gone: place alone must not be believed.
    record(restored, 20, seed=2)
    assert restored.index.progress().seq == 0
    assert answer(restored) == right(restored)
    follow(restored)
    assert restored.index.progress().behind == 0
    assert answer(restored) == right(restored)
    restored.close()
    check_index(restored.database.path, restored.database.index_path)


def test_a_worker_that_stands_still_only_makes_answers_slower(path: Path, stores: SqliteStores) -> None:
    """Stopped with its write transaction open: readers neither wait nor miss anything."""
    follow(stores)
    script = (
        "import signal, sqlite3, sys\n"
        "file = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "file.execute('BEGIN IMMEDIATE')\n"
        "file.execute('DELETE FROM affidavit_runs')\n"
        "print('open', flush=True)\n"
        "signal.pause()\n"
    )
    index = str(stores.database.index_path)
    with subprocess.Popen(
        [sys.executable, "-c", script, index], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.send_signal(signal.SIGSTOP)
        record(stores, 30, seed=3)
        assert answer(stores) == right(stores)
        process.send_signal(signal.SIGKILL)
    assert answer(stores) == right(stores)
    follow(stores)
    assert answer(stores) == right(stores)


def test_two_followers_at_once_do_not_spoil_the_index(stores: SqliteStores) -> None:
    """The lease allows one; should there be two after all, no event is counted twice."""
    one, other = stores.follower(), stores.follower()
    assert isinstance(one, IndexFollower)
    assert one.step() == EVENTS
    record(stores, 10, seed=4)
    assert other.step() == 10
    record(stores, 10, seed=5)
    assert one.step() == 10
    assert other.step() == 0
    one.close()
    other.close()
    stores.close()
    check_index(stores.database.path, stores.database.index_path)
