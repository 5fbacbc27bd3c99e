"""A full disk, a database that cannot be written, is none or is of another version: named, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from affidavit import errors
from affidavit.storage.sqlite.database import SqliteDatabase, migrate_file
from affidavit.storage.sqlite.follower import IndexFollower
from affidavit.testing.author import NOW, Author, Clock
from affidavit.testing.sqlite import SqliteStores, empty_database
from tests.e2e.program import Program, children
from tests.faults.load import ORGANIZATION, Client
from tests.faults.recount import check_index
from tests.properties.naive import read_all

ROOT = os.geteuid() == 0
STORAGE = 4
"""Exit code of commands whose database cannot be used."""


class Disk(NamedTuple):
    """A place with little space.

    Attributes:
        folder: where the data goes.
        limits: set in the server before it starts.
        give: makes more space for a process.
    """

    folder: Path
    limits: Callable[[], None]
    give: Callable[[int], None]


def limited_files() -> None:
    """Files of this process may grow to 3 MB; a write beyond fails as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))


def unlimited_files(process: int) -> None:
    """Take the limit away from outside."""
    resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture(params=["file system", "size of files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A file system of 6 MB of its own (as root), and files that may not grow."""
    if request.param == "size of files" or not ROOT:
        yield Disk(tmp_path, limited_files, unlimited_files)
        return
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], check=True)

    def give(_process: int) -> None:
        subprocess.run(["mount", "-o", "remount,size=60m", folder], check=True)

    try:
        yield Disk(folder, lambda: None, give)
    finally:
        subprocess.run(["umount", folder], check=True)


def event(number: int, size: int = 50_000) -> dict[str, object]:
    """A large event."""
    return {
        "action": "user.create",
        "organization": ORGANIZATION,
        "actor": {"type": "user", "id": "ana"},
        "request": {"id": f"n{number}"},
        "metadata": {"text": f"{number:08}" * (size // 8)},
    }


@pytest.mark.slow
def test_a_full_disk_refuses_what_it_cannot_hold_and_works_again_with_space(disk: Disk) -> None:
    """A clear 503, not one event of the refused batch, reading goes on; the same process records again."""
    program = Program(disk.folder)
    process = program.start("serve", "--listen=127.0.0.1:0", stdout=subprocess.PIPE, preexec_fn=disk.limits)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1].removesuffix("/audit")
        data = disk.folder / "affidavit-data"
        client = Client(address, (data / "operator.token").read_text().strip())
        stored: list[int] = []
        problems = []
        for batch in range(60):
            numbers = [batch * 3, batch * 3 + 1, batch * 3 + 2]
            status, answer = client.ask("POST", "/api/v1/events", {"events": [event(n) for n in numbers]})
            if status == 201:
                stored += numbers
            else:
                problems.append((status, answer["type"], answer["detail"]))
        assert len(problems) > 5, "the disk was never full"
        for status, kind, detail in problems:
            assert status == 503
            assert kind.startswith("urn:affidavit:error:storage")
            assert "nothing of this request was stored" in detail
        assert client.ask("GET", "/healthz")[0] == 200
        found = client.events("action=user.create")
        assert sorted(int(one["request"]["id"][1:]) for one in found) == stored
        disk.give(process.pid)
        for worker in children(process.pid):
            disk.give(worker)
        assert client.ask("POST", "/api/v1/events", {"events": [event(1000), event(1001)]})[0] == 201
        stored += [1000, 1001]
        assert len(client.events("action=user.create")) == len(stored)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 0
    events = [one for one in read_all(data / "affidavit.db") if one.clear["action"] == "user.create"]
    markers = [one.said["request"]["id"] for one in events]
    assert sorted(markers) == sorted(f"n{number}" for number in stored)
    follower = IndexFollower(data / "affidavit.db", data / "affidavit-index.db")
    while follower.step():
        pass
    follower.close()
    check_index(data / "affidavit.db", data / "affidavit-index.db")


def test_a_database_that_may_not_grow_stores_batches_whole_or_not_at_all(tmp_path: Path) -> None:
    """At every size at which the pages can run out: in the table, in an index, at the commit."""
    empty_database(tmp_path / "a.db")
    stores = SqliteStores(tmp_path / "a.db", Clock())
    connection = stores.database.writer._connection
    author = Author(Clock())
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    expected: list[bytes] = []
    failures = 0
    for more in range(1, 40):
        connection.execute(f"PRAGMA max_page_count = {pages + more}")
        rows = [author.row(metadata={"n": number, "text": "x" * 3_000}) for number in range(6)]
        try:
            stores.events.insert(rows)
        except errors.StorageFull:
            failures += 1
        else:
            expected += [row.id for row in rows]
        assert [one.id for one in stores.events.after(0, 1_000)] == expected
    assert failures > 10
    assert len(expected) > 12
    connection.execute("PRAGMA max_page_count = 100000")
    row = author.row()
    stores.events.insert([row])
    assert stores.events.after(0, 1_000)[-1].id == row.id
    stores.close()


def test_an_index_that_may_not_grow_keeps_its_place(tmp_path: Path) -> None:
    """The follower says that there is no space, answers stay right, and with space it goes on."""
    empty_database(tmp_path / "a.db")
    stores = SqliteStores(tmp_path / "a.db", Clock())
    author = Author(Clock())
    stores.events.insert([author.row(request=None, trace_id=f"t{number}") for number in range(900)])
    follower = stores.follower()
    assert isinstance(follower, IndexFollower)
    assert follower.progress().behind == 900
    file = follower._file
    assert file is not None
    (pages,) = file.execute("PRAGMA page_count").fetchone()
    file.execute(f"PRAGMA max_page_count = {pages + 3}")
    for _ in range(3):
        with pytest.raises(errors.StorageFull):
            follower.step()
        assert follower.progress().behind == 900
    file.execute("PRAGMA max_page_count = 100000")
    assert follower.step() == 900
    follower.close()
    stores.close()
    check_index(stores.database.path, stores.database.index_path)


@pytest.fixture
def recorded(tmp_path: Path) -> Program:
    """A program with one event in its database."""
    program = Program(tmp_path)
    program.json("record", "a.b", "--actor=user:x", "--organization=acme")
    return program


COMMANDS = (
    ["record", "a.c", "--actor=user:x", "--organization=acme"],
    ["serve", "--listen=127.0.0.1:0"],
    ["events", "--organization=acme"],
    ["export", "--organization=acme", "--format=csv", "--output=out.csv"],
)


def refusals(program: Program, *, but: tuple[str, ...] = ()) -> None:
    """Every command ends with the exit code for storage, and one line that names the file."""
    for command in COMMANDS:
        if command[0] not in but:
            done = program.run(*command)
            assert done.code == STORAGE, (command, done)
            assert "affidavit.db" in done.err
            assert len(done.err.splitlines()) == 1, done.err


@pytest.mark.parametrize("content", [b"no database at all, " * 200, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_file_that_is_no_database_is_named_and_left_alone(recorded: Program, content: bytes) -> None:
    """Not a byte of it changes."""
    file = recorded.folder / "affidavit-data" / "affidavit.db"
    for name in file.parent.glob("affidavit*.db*"):
        name.unlink()
    file.write_bytes(content)
    refusals(recorded)
    assert file.read_bytes() == content


def test_a_torn_database_is_named(recorded: Program) -> None:
    """Cut in the middle, as by a copy that did not end."""
    file = recorded.folder / "affidavit-data" / "affidavit.db"
    recorded.json("events", "--organization=acme")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    done = recorded.run("record", "a.c", "--actor=user:x", "--organization=acme")
    assert done.code == STORAGE, done
    assert "damaged" in done.err


@pytest.mark.skipif(not ROOT, reason="needs a file system of its own")
def test_a_database_on_a_read_only_file_system_is_named(recorded: Program, tmp_path: Path) -> None:
    """Recording is refused with the path and what to check; reading says what it can; nothing was written."""
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", other], check=True)
    try:
        file = other / "affidavit.db"
        shutil.copy(tmp_path / "affidavit-data" / "affidavit.db", file)
        subprocess.run(["mount", "-o", "remount,ro", other], check=True)
        before = file.read_bytes()
        database = f"--database=sqlite:///{file}"
        for command in COMMANDS[:2]:
            done = recorded.run(*command, database)
            assert done.code == STORAGE, done
            assert str(file) in done.err
            assert len(done.err.splitlines()) == 1, done.err
        assert file.read_bytes() == before
        assert sorted(path.name for path in other.iterdir()) == ["affidavit.db"]
    finally:
        subprocess.run(["umount", other], check=True)


def test_a_database_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    """Neither opened nor migrated."""
    path = tmp_path / "a.db"
    empty_database(path)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO affidavit_migrations VALUES (9999, 'future', 'x', 0)")
    connection.commit()
    connection.close()
    for attempt in (lambda: migrate_file(path), lambda: SqliteDatabase(path, clock=Clock())):
        with pytest.raises(errors.SchemaTooNew, match="upgrade"):
            attempt()


def test_a_migration_with_another_text_is_named(tmp_path: Path) -> None:
    """Somebody changed a step that was applied: the schema may be anything."""
    path = tmp_path / "a.db"
    empty_database(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE affidavit_migrations SET checksum = 'other' WHERE number = 1")
    connection.commit()
    connection.close()
    with pytest.raises(errors.SchemaChanged, match="migration 1"):
        SqliteDatabase(path, clock=Clock())


@pytest.mark.parametrize("kind", ["empty file", "other tables", "no file"])
def test_a_database_without_our_tables_says_what_to_run(tmp_path: Path, kind: str) -> None:
    """An app's own database before the first migration, which then leaves the app's tables alone."""
    path = tmp_path / "a.db"
    if kind != "no file":
        connection = sqlite3.connect(path)
        if kind == "other tables":
            connection.execute("CREATE TABLE own (a)")
            connection.commit()
        connection.close()
        path.touch()
    with pytest.raises(errors.SchemaMissing, match="affidavit migrate"):
        SqliteDatabase(path, clock=Clock())
    assert path.exists() is (kind != "no file")
    migrate_file(path)
    stores = SqliteStores(path, Clock())
    stores.events.insert([Author(Clock()).row()])
    assert stores.events.last_seq() == 1
    stores.close()


def test_a_lost_write_ahead_log_is_an_older_database(tmp_path: Path) -> None:
    """What stood in it alone is gone and cannot be known; the rest is whole, and the index follows it."""
    path = tmp_path / "a.db"
    empty_database(path)
    stores = SqliteStores(path, Clock())
    author = Author(Clock())
    stores.events.insert([author.row(trace_id=f"t{number}") for number in range(10)])
    stores.database.writer._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stores.events.insert([author.row(trace_id=f"t{number}") for number in range(10, 15)])
    follower = stores.follower()
    assert follower.step() == 15
    follower.close()
    # As after a power cut of a disk that lied, or a copy of the main file alone.
    alone = tmp_path / "copy"
    alone.mkdir()
    shutil.copy(path, alone / "a.db")
    shutil.copy(stores.database.index_path, alone / "a-index.db")
    stores.close()
    copied = SqliteStores(alone / "a.db", Clock())
    assert copied.events.last_seq() == 10
    assert copied.index.progress().seq == 0
    copied.events.insert([author.row(trace_id="new")])
    again = copied.follower()
    while again.step():
        pass
    again.close()
    copied.close()
    check_index(alone / "a.db", alone / "a-index.db")


HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_lock_of_another_process_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording says busy and stores nothing, reading goes on; when the lock is gone, so is the trouble."""
    path = tmp_path / "a.db"
    empty_database(path)
    monkeypatch.setattr("affidavit.storage.sqlite.connect.BUSY_SECONDS", 0.1)
    stores = SqliteStores(path, Clock())
    author = Author(Clock())
    stores.events.insert([author.row("a.before")])
    python = ["python3", "-c", HOLD, str(path)]
    with subprocess.Popen(python, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        row = author.row("a.during", idempotency_key="k", occurred_at=NOW)
        with pytest.raises(errors.StorageBusy, match="try again"):
            stores.events.insert([row])
        assert [one.action for one in stores.events.after(0, 10)] == ["a.before"]
        holder.communicate("\n")
    assert not stores.events.insert([row])[0].duplicate
    assert [one.action for one in stores.events.after(0, 10)] == ["a.before", "a.during"]
    stores.close()


@pytest.mark.slow
def test_a_busy_database_is_a_503_and_the_server_goes_on(tmp_path: Path) -> None:
    """After ten seconds of waiting the request is refused by name; the next one is answered."""
    program = Program(tmp_path)
    with program.serving() as serving:
        data = tmp_path / "affidavit-data"
        client = Client(serving.address, (data / "operator.token").read_text().strip())
        assert client.ask("POST", "/api/v1/events", event(0, 8))[0] == 201
        python = ["python3", "-c", HOLD, str(data / "affidavit.db")]
        with subprocess.Popen(python, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            status, problem = client.ask("POST", "/api/v1/events", event(1, 8))
            assert status == 503
            assert problem["type"] == "urn:affidavit:error:storage_busy"
            holder.communicate("\n")
        assert client.ask("POST", "/api/v1/events", event(2, 8))[0] == 201
        found = client.events("action=user.create")
        assert sorted(one["request"]["id"] for one in found) == ["n0", "n2"]
    assert (
        json.dumps([one.clear["action"] for one in read_all(data / "affidavit.db")]).count("user.create") == 2
    )


@pytest.mark.parametrize("by", ["rename", "removal"])
def test_a_database_that_is_replaced_under_a_running_writer_gets_what_is_answered(
    tmp_path: Path, by: str
) -> None:
    """A backup was put back without a stop: no event is answered that only the file that is gone has."""
    path = tmp_path / "a.db"
    template = empty_database(path)
    stores = SqliteStores(path, Clock())
    author = Author(Clock())
    stores.events.insert([author.row("a.gone")])
    (tmp_path / "b.db").write_bytes(template)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    if by == "rename":
        (tmp_path / "b.db").rename(path)
    else:
        path.unlink()
        with pytest.raises(errors.SchemaMissing, match="no database"):
            stores.events.insert([author.row("a.refused")])
        (tmp_path / "b.db").rename(path)
    stores.events.insert([author.row("a.there")])
    assert [one.action for one in stores.events.after(0, 10)] == ["a.there"]
    other = SqliteStores(path, Clock())
    assert [one.action for one in other.events.after(0, 10)] == ["a.there"]
    other.close()
    stores.close()
