"""Backups made under load and put back, and every mismatch of restored files, with the real program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from affidavit.config import Settings
from affidavit.core.event import Actor
from affidavit.core.ids import format_id
from affidavit.errors import Refused, SchemaTooNew
from affidavit.storage.sqlite.backup import Places
from affidavit.storage.sqlite.database import SqliteDatabase, migrate_file
from affidavit.storage.sqlite.restore import restore_files
from affidavit.testing.author import Author, Clock, draft
from affidavit.wiring.work import open_parts
from tests.e2e.program import Ended, Program
from tests.faults.load import Load, eventually
from tests.faults.test_kills import Service

EVENTS, LOG, INDEX = "affidavit.db", "affidavit-log.db", "affidavit-index.db"


class Site:
    """A data directory, the program in it, and a way to record and seal quickly."""

    def __init__(self, folder: Path) -> None:
        self.program = Program(folder)
        self.data = folder / "affidavit-data"

    def make(self, events: int) -> None:
        """Make the database with some sealed events."""
        self.data.mkdir(parents=True, mode=0o700)
        migrate_file(self.data / EVENTS)
        self.record(*["user.create"] * events)
        self.seal()

    def record(self, *actions: str, actor: str = "ana") -> list[str]:
        """Record events now, in another process's stead."""
        clock = Clock(time.time_ns() // 1000)
        database = SqliteDatabase(self.data / EVENTS, clock=clock)
        try:
            made = [draft(action, actor=Actor(type="user", id=actor)) for action in actions]
            rows = Author(clock, int.from_bytes(os.urandom(8), "big")).rows(*made)
            return [format_id(one.id) for one in database.events.insert(rows)]
        finally:
            database.close()

    def seal(self) -> None:
        """Sequence and sign all that waits."""
        parts = open_parts(Settings(data_dir=self.data))
        try:
            while parts.sequencer.step():
                pass
            parts.signer.step()
        finally:
            parts.close()

    def take(self, *names: str) -> dict[str, bytes]:
        """Some files as they are, nobody having them open."""
        for name in names:
            with closing(sqlite3.connect(self.data / name)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return {name: (self.data / name).read_bytes() for name in names}

    def put(self, files: dict[str, bytes]) -> None:
        """Put files in place by hand, as somebody does who does not know the command."""
        for name, content in files.items():
            for companion in ("-wal", "-shm"):
                (self.data / (name + companion)).unlink(missing_ok=True)
            (self.data / name).write_bytes(content)

    @property
    def kept(self) -> Path:
        """The backup of the template."""
        return self.program.folder / "kept"

    def restore(self, folder: Path, *flags: str) -> Ended:
        """Put a backup back."""
        return self.program.run("restore", folder, "--json", *flags)

    def ids(self) -> set[str]:
        """The ids of all events."""
        with closing(sqlite3.connect(self.data / EVENTS)) as connection:
            return {format_id(row[0]) for row in connection.execute("SELECT id FROM affidavit_events")}

    def tree(self) -> list[Any]:
        """Every leaf, in order."""
        with closing(sqlite3.connect(self.data / LOG)) as connection:
            return connection.execute("SELECT tree, idx, hash FROM affidavit_leaves ORDER BY 1, 2").fetchall()

    def fsck(self) -> Ended:
        """Check everything."""
        return self.program.run("fsck", "--json")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sealed database, and its backup."""
    made = Site(tmp_path_factory.mktemp("template"))
    made.make(300)
    made.program.json("backup", "kept")
    return made.program.folder


@pytest.fixture
def site(template: Path, tmp_path: Path) -> Site:
    """A copy of the template, with its backup."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Site(tmp_path)


def test_what_comes_back_is_what_was_there(site: Site) -> None:
    """Events, leaves and signatures; fsck is clean; files are private; keys and guard are not in it."""
    ids, tree = site.ids(), site.tree()
    folder = site.kept
    assert sorted(path.name for path in folder.iterdir()) == ["backup.json", "events.db", "log.db"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in (EVENTS, LOG):
        (site.data / name).unlink()
    ended = site.restore(folder)
    assert ended.code == 0, ended
    (document,) = ended.documents
    assert (document["events"], document["alarms"], document["fsck"]["sound"]) == (len(ids), [], True)
    assert (site.ids(), site.tree()) == (ids, tree)


@pytest.mark.slow
def test_a_backup_under_load_holds_everything_that_was_answered_before_it(tmp_path: Path) -> None:
    """Writers, worker and server go on; the set is of one history, its log never ahead of its events.

    The load ends after the copy, so the guard remembers more: the restore says so, and reopening the log
    leads to a sound one.
    """
    service = Service(tmp_path)
    with ExitStack() as stack:
        stack.callback(service.end)
        service.start()
        service.program.json("org", "create", "acme", "--json")
        with Load(lambda: service.client, threads=3) as load:
            load.more(200)
            before = set(load.answered.values())
            (first,) = service.program.json("backup", "one")
            load.more(200)
            (second,) = service.program.json("backup", "two")
            load.more(100)
        eventually(lambda: _signed(tmp_path) > second["events"], "nothing was signed after the backups")
        assert second["events"] > first["events"] >= len(before)
        service.kill(signal.SIGTERM)
    site = Site(tmp_path)
    for folder in ("one", "two"):
        with closing(sqlite3.connect(tmp_path / folder / "events.db")) as connection:
            kept = {format_id(row[0]) for row in connection.execute("SELECT id FROM affidavit_events")}
        assert before <= kept
        ended = site.restore(tmp_path / folder, "--replace")
        assert ended.code == 1, ended
        (document,) = ended.documents
        named = {each["what"].split()[0] for each in document["fsck"]["failures"]}
        assert named == {"affidavit_guard_heads.size"}, document["fsck"]["failures"]
        assert "restored from before" in " ".join(each["text"] for each in document["alarms"])
        assert kept <= site.ids()
    assert site.program.run("log", "reopen").code == 0
    assert site.fsck().code == 0


def test_restoring_needs_the_database_alone(site: Site) -> None:
    """A running worker, and whoever else has the file open, is named; nothing is touched."""
    folder = site.kept
    files = site.take(EVENTS, LOG)
    worker = site.program.start("worker")
    try:
        while site.restore(folder, "--replace").code == 0:
            pass  # the worker has only begun
        ended = site.restore(folder, "--replace")
        assert (ended.code, "stop it first" in ended.err) == (4, True), ended
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait()
    with closing(sqlite3.connect(site.data / EVENTS)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("SELECT count(*) FROM affidavit_events").fetchone()
        ended = site.restore(folder, "--replace")
        assert ended.code == 4, ended
        assert EVENTS in ended.err
    assert site.take(EVENTS, LOG).keys() == files.keys()
    assert site.restore(folder, "--replace").code == 0


def test_nothing_is_overwritten_unasked(site: Site) -> None:
    """Neither a folder that holds something, nor a database."""
    folder = site.kept
    listed = (folder / "backup.json").read_bytes()
    again = site.program.run("backup", folder)
    assert (again.code, "is there already" in again.err) == (3, True)
    assert (folder / "backup.json").read_bytes() == listed
    late = site.record("user.delete")
    ended = site.restore(folder)
    assert (ended.code, "--replace" in ended.err) == (3, True)
    assert set(late) <= site.ids()
    assert not list(site.data.glob("*.restoring"))


def _flip(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return spoil


def _edit(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / "backup.json").read_text())
        (folder / "backup.json").write_text(json.dumps(content | changes))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_flip("events.db"), "is not the file that was backed up"),
        (_flip("log.db"), "is not the file that was backed up"),
        (lambda folder: (folder / "events.db").unlink(), "is missing"),
        (lambda folder: (folder / "log.db").unlink(), "is missing"),
        (lambda folder: (folder / "backup.json").unlink(), "is no backup"),
        (lambda folder: (folder / "backup.json").write_text('{"format":1,"format":1}'), "twice"),
        (lambda folder: os.truncate(folder / "log.db", 4096), "is not the file that was backed up"),
        (_edit(format="affidavit-backup/v9"), "format"),
        (_edit(files={"../events.db": {}}), "must name events.db"),
        (_edit(schema={"events.db": 99, "log.db": 1}), "upgrade"),
    ],
)
def test_a_damaged_backup_restores_nothing(site: Site, spoil: Callable[[Path], None], told: str) -> None:
    """The whole backup is checked before anything is touched; what is wrong is named."""
    files = site.take(EVENTS, LOG)
    spoil(site.kept)
    places = Places(site.data / EVENTS, site.data / LOG, site.data / INDEX)
    with pytest.raises((Refused, SchemaTooNew), match=told):
        restore_files(site.kept, places, replace=True)
    assert site.take(EVENTS, LOG) == files
    assert not list(site.data.glob("*.restoring"))


@pytest.mark.parametrize(
    ("case", "sound"),
    [
        ("older log", True),
        ("older app", False),
        ("older app, written to", False),
        ("no log", False),
        ("no app", False),
        ("swapped", False),
        ("both older", False),
    ],
)
def test_every_mismatch_is_named_or_mended(site: Site, tmp_path: Path, case: str, sound: bool) -> None:
    """Attack 15: files put back by hand. Only an older log mends itself, into the identical tree.

    Whatever else was put back, nothing is sealed over what was signed: status and fsck say so with an exit
    code, and what stands in the log stays.
    """
    old = site.take(EVENTS, LOG)
    site.record(*["user.delete"] * 20)
    site.seal()
    new, tree = site.take(EVENTS, LOG), site.tree()
    other = Site(tmp_path / "other")
    if case in ("no app", "swapped"):
        other.make(3)
    match case:
        case "older log":
            site.put({LOG: old[LOG]})
        case "older app":
            site.put({EVENTS: old[EVENTS]})
        case "older app, written to":
            site.put({EVENTS: old[EVENTS]})
            site.record(*["user.update"] * 25)
        case "no log":
            (site.data / LOG).unlink()
        case "no app":
            site.put({EVENTS: other.take(EVENTS)[EVENTS]})
        case "swapped":
            site.put({LOG: other.take(LOG)[LOG]})
        case "both older":
            site.put(old)
    worker = site.program.start("worker")
    try:
        if sound:
            eventually(lambda: site.tree() == tree, "the log did not mend")
        else:
            eventually(lambda: site.program.run("log", "status").code == 1, "it was not named")
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait()
    status = site.program.run("log", "status", "--json")
    assert status.code == (0 if sound else 1), status
    checked = site.fsck()
    assert checked.code == (0 if sound else 1), checked.documents[0]["failures"]
    if case.startswith("older"):
        assert site.tree() == tree, "something was sealed over what was signed"
    site.put(new)
    assert site.program.run("log", "status").code == 0, "the right files are back, but it is not well again"


def test_what_was_erased_after_the_backup_is_erased_again(site: Site) -> None:
    """The guard remembers, on another disk: nothing that was erased is ever served from a backup."""
    site.record("user.create", actor="canary-4711")
    site.seal()
    site.program.json("backup", "later")
    folder = site.program.folder / "later"
    flags = ("--organization", "acme", "--subject", "canary-4711", "--basis", "Art. 17", "--json")
    assert site.program.run("erase", *flags).code == 0
    ended = site.restore(folder, "--replace")
    (document,) = ended.documents
    assert document["erased_again"] >= 1
    shown = site.program.run("events", "--organization", "acme", "--limit", "1000", "--json")
    assert shown.code == 0
    assert "canary-4711" not in shown.out
    for path in site.data.iterdir():
        assert b"canary-4711" not in path.read_bytes(), path.name


def test_a_kill_in_the_middle_leaves_no_half_backup(site: Site) -> None:
    """SIGKILL while the files are copied: the folder is not there, and the next try makes it."""
    folder = site.program.folder / "cut"
    for delay in (0.3, 0.6, 0.9):
        process = site.program.start("backup", str(folder), start_new_session=True)
        try:
            process.wait(delay)
        except Exception:  # noqa: BLE001 - it still runs: that is the moment
            os.killpg(process.pid, signal.SIGKILL)  # with the process of its own that copies
            process.wait()
        if folder.exists():
            shutil.rmtree(folder)
    assert site.program.run("backup", folder).code == 0
    assert site.restore(folder, "--replace").code == 0


def _signed(folder: Path) -> int:
    """The size of the newest checkpoint of acme."""
    with closing(sqlite3.connect(folder / "affidavit-data" / LOG, timeout=30)) as connection:
        published = "SELECT max(published) FROM affidavit_trees WHERE organization = 'acme'"
        return int(connection.execute(published).fetchone()[0] or 0)
