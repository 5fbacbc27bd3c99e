"""A database with its log, guard and key, worked by the product's own parts under a clock of the test's.

:func:`check` is what a stranger makes of the files: it reads them with SQL alone, builds leaves and roots by
a second implementation, and compares.
"""

from __future__ import annotations

import shutil
import sqlite3
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from affidavit.access.events import AccessEvents
from affidavit.access.operator import local_credential
from affidavit.config import Settings
from affidavit.core.event import Draft, RecordedBy
from affidavit.core.note import parse_verifier
from affidavit.core.row import Row, StoredEvent
from affidavit.log.incarnation import Accepted, Record, Reopened
from affidavit.log.rotation import RecordAll
from affidavit.log.sequencer import Sequencer
from affidavit.recorder.intake import Rights
from affidavit.storage.log import Alarm
from affidavit.storage.sqlite.database import SqliteDatabase, migrate_file
from affidavit.testing.author import Author, Clock
from affidavit.wiring.engine import Engine, LogSide
from affidavit.wiring.engines import engine_of
from affidavit.wiring.fsck import check_everything
from affidavit.wiring.log import (
    accept_guard,
    key_file,
    log_standing,
    may_make_log,
    open_signer,
    record_all,
    recorder,
    reopen_log,
)
from affidavit.wiring.sqlite import SqliteEngine
from tests.unit.log.test_sequencer import naive_leaf

__all__ = ["Note", "World", "check", "naive_root", "notes_of", "read_note"]

Wrap = Callable[[Any], Any]


def _same(store: Any) -> Any:
    return store


class World:
    """One instance on real files.

    Args:
        folder: of all files; made where it is missing.
        log_host: of new logs.
    """

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.settings = self.set()
        self.guard_path = self.settings.guard_path
        self.clock = Clock()
        self.now = 0.0
        self.author = Author(self.clock, seed)
        self.random = Random(seed)
        self.prepare()
        self.open()

    def set(self, **options: str) -> Settings:
        """The settings of the program."""
        return Settings(data_dir=self.folder, log_host="log.example", **options)  # type: ignore[arg-type]

    def prepare(self) -> None:
        """Make the database where there is none."""
        assert self.settings.database_path is not None
        self.path = self.settings.database_path
        self.log_path = SqliteEngine(self.settings).log_path
        if not self.path.exists():
            migrate_file(self.path)

    def open(self, *, writer: Wrap = _same, guard: Wrap = _same) -> None:
        """Open everything, as a worker that starts does; the stores may be wrapped."""
        self.open_database()
        self.start(writer=writer, guard=guard)

    def open_database(self) -> None:
        """Open what records and reads; no worker runs."""
        self.engine: Engine = SqliteEngine(self.settings)
        self.database: Any = SqliteDatabase(self.path, clock=self.clock)
        self.writer: LogSide | None = None

    def start(self, *, writer: Wrap = _same, guard: Wrap = _same) -> None:
        """Begin to work with the log."""
        self.writer = self.engine.writer(make=may_make_log(self.engine))
        store = writer(self.writer)
        self.signer, self.store = open_signer(self.engine, store, now=self.clock, monotonic=lambda: self.now)
        open_it = self.signer._open_guard
        self.signer._open_guard = lambda: guard(open_it())
        self.sequencer = Sequencer(
            store,
            store,
            store,
            host=self.settings.log_host,
            clock=self.clock,
            entropy=self.random.randbytes,
            known=self.signer.known,
        )

    def stop(self) -> None:
        """Let go of log and guard."""
        if self.writer is not None:
            self.signer.close()
            self.store.close()
            self.writer.close()
            self.writer = None

    def close(self) -> None:
        """Let go of everything."""
        self.stop()
        self.database.close()

    def guard_with(self, guard: str) -> None:
        """Change the setting; it holds from the next start."""
        self.settings = self.set(guard=guard)
        self.engine = engine_of(self.settings)

    def restart(self) -> None:
        """The worker's process begins anew."""
        self.stop()
        self.start()

    def record(self, *organizations: str, **fields: Any) -> None:
        """One event in each of these."""
        self.clock.forward(1_000)
        rows = [self.author.row(organization=name, **fields) for name in organizations]
        self.database.events.insert(rows)

    def sequence(self) -> None:
        """Until nothing waits."""
        while self.sequencer.step():
            pass

    def sign(self) -> int:
        """One round over all trees; how many checkpoints it made."""
        self.now += 1_000.0
        return self.signer.step()

    def work(self) -> int:
        """What a second of the worker does."""
        self.sequence()
        return self.sign()

    def save(self, name: str, *, only: Sequence[str] = ("affidavit.db", "affidavit-log.db")) -> None:
        """Back up files under a name; SQLite's backup, so that what waits in a journal is there."""
        kept = self.folder / name
        kept.mkdir(exist_ok=True)
        for each in only:
            source, target = sqlite3.connect(self.folder / each), sqlite3.connect(kept / each)
            source.backup(target)
            source.close()
            target.close()

    def restore(self, name: str, *, only: Sequence[str] = ("affidavit.db", "affidavit-log.db")) -> None:
        """Put files of a backup back while nothing is open."""
        for each in only:
            self.lose(each)
            shutil.copy(self.folder / name / each, self.folder / each)

    def lose(self, *files: str) -> None:
        """Files are gone, with their journals."""
        for each in files:
            for suffix in ("", "-wal", "-shm"):
                (self.folder / f"{each}{suffix}").unlink(missing_ok=True)

    def alarms(self) -> list[Alarm]:
        """What ``affidavit log status`` and ``doctor`` show."""
        return log_standing(self.engine, self.database)

    def kinds(self) -> list[tuple[str, str]]:
        """Kind and subject of what stands against the log."""
        return [(each.kind, each.subject) for each in self.alarms()]

    def _record(self) -> Record:
        return recorder(self.database, AccessEvents(self._ours, "cli"), local_credential("kim"))

    def record_all(self) -> RecordAll:
        """What commands record many of our own events with."""
        return record_all(self.database, AccessEvents(self._ours, "cli"), local_credential("kim"))

    def _ours(self, drafts: Sequence[Draft], organization: str, by: RecordedBy | None) -> list[Row]:
        self.clock.forward(1_000)
        return self.author.intake.prepare(
            drafts, organization=organization, by=by, rights=Rights(reserved=True)
        )

    def reopen(self) -> list[Reopened]:
        """What ``affidavit log reopen`` does where no worker runs."""
        return reopen_log(self.engine, self.database, self._record())

    def accept(self) -> list[Accepted]:
        """What ``affidavit log guard accept`` does where no worker runs."""
        return accept_guard(self.engine, self.database, self._record())

    def faults(self) -> list[str]:
        """What ``affidavit fsck`` names: table and column of each fault."""
        return [each.what.split(" ")[0] for each in check_everything(self.settings).total().failures]

    def events(self) -> list[StoredEvent]:
        """All that have a place in recording order, in that order."""
        found: list[StoredEvent] = self.database.events.after(0, 100_000)
        return found

    def notes(self) -> list[Note]:
        """Every checkpoint that the log keeps."""
        return notes_of(self.log_path)

    def stored(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the log in SQL, past the product."""
        log = sqlite3.connect(self.log_path)
        rows = log.execute(statement).fetchall()
        log.close()
        return rows

    def verifiers(self, origin: str) -> list[str]:
        """The verifier keys that the key file has for a log."""
        return [key.vkey for key in key_file(self.settings).load().verifiers(origin)]


class Note(NamedTuple):
    """A signed checkpoint, taken apart by hand."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[bytes, ...]


def naive_root(hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1 over leaf hashes, by its recursion."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    return sha256(b"\x01" + naive_root(hashes[:half]) + naive_root(hashes[half:])).digest()


def read_note(note: bytes) -> Note:
    """A note by hand: three lines, an empty one, signature lines."""
    text, _, signed = note.decode().partition("\n\n")
    origin, size, root = text.split("\n")
    lines = signed.splitlines()
    assert lines
    assert all(line.startswith(f"— {origin} ") for line in lines)
    signatures = tuple(b64decode(line.split(" ")[2], validate=True) for line in lines)
    return Note(origin, int(size), b64decode(root), text + "\n", signatures)


def notes_of(log: Path) -> list[Note]:
    """Every checkpoint that a log file keeps."""
    connection = sqlite3.connect(log)
    rows = connection.execute("SELECT note FROM affidavit_checkpoints ORDER BY tree, size").fetchall()
    connection.close()
    return [read_note(note) for (note,) in rows]


def check(world: World, *, signed: Sequence[Note] = (), complete: bool = True) -> None:
    """Each event has exactly one leaf, each root is right, and all checkpoints tell one history.

    Args:
        world: nothing is being written.
        signed: checkpoints that were seen earlier; they must fit, too.
        complete: whether every event must be covered by the newest checkpoint of its log.
    """
    trees = world.stored(
        "SELECT tree, organization, host || '/' || hex || '/' || incarnation, hex, size, published"
        " FROM affidavit_trees ORDER BY tree"
    )
    leaves: dict[int, list[tuple[int, int, bytes]]] = {tree: [] for tree, *_ in trees}
    for tree, *leaf in world.stored("SELECT tree, idx, seq, hash FROM affidavit_leaves ORDER BY tree, idx"):
        leaves.setdefault(tree, []).append((leaf[0], leaf[1], leaf[2]))
    strays = len(leaves) - len(trees)
    assert strays == 0
    found: dict[int, int] = {}
    covered: set[int] = set()
    hashes: dict[str, list[bytes]] = {}
    events = {event.seq: event for event in world.events()}
    for tree, organization, origin, hex_digits, size, published in trees:
        rows = leaves[tree]
        assert [index for index, _, _ in rows] == list(range(size))
        hashes[origin] = [digest for _, _, digest in rows]
        for index, seq, digest in rows:
            event = events.get(seq)
            if event is None or event.organization != organization:
                continue
            if sha256(b"\x00" + naive_leaf(event, hex_digits)).digest() == digest:
                found[seq] = found.get(seq, 0) + 1
                covered |= {seq} if index < published else set()
    assert {seq for seq, count in found.items() if count > 1} == set(), "events with several leaves"
    assert set(events) - set(found) == set(), "events without a leaf"
    if complete:
        assert set(events) - covered == set(), "events that no checkpoint covers"
    for note in [*world.notes(), *signed]:
        _check_note(world, note, hashes)
    _check_guard(world, hashes)


def _check_note(world: World, note: Note, hashes: Mapping[str, list[bytes]]) -> None:
    assert note.size <= len(hashes[note.origin]), "a checkpoint covers leaves that are not there"
    assert note.root == naive_root(hashes[note.origin][: note.size]), "a checkpoint of another history"
    keys = {key.key_id: key.key for key in map(parse_verifier, world.verifiers(note.origin))}
    for each in note.signatures:
        Ed25519PublicKey.from_public_bytes(keys[each[:4]]).verify(each[4:], note.text.encode())


def _check_guard(world: World, hashes: Mapping[str, list[bytes]]) -> None:
    guard = sqlite3.connect(world.guard_path)
    heads = guard.execute("SELECT origin, size, root FROM affidavit_guard_heads").fetchall()
    guard.close()
    for origin, size, root in heads:
        if origin in hashes and size <= len(hashes[origin]):
            assert root == naive_root(hashes[origin][:size])
