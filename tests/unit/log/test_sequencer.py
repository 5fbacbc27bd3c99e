"""The sequencer on a real store: trees by the definition of RFC 6962, leaves by a second implementation."""

from __future__ import annotations

import json
import sqlite3
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Any

import pytest

from affidavit.core.credentials import INSTANCE
from affidavit.core.event import Actor
from affidavit.core.row import StoredEvent
from affidavit.errors import LogMismatch
from affidavit.log.prover import Prover
from affidavit.log.sequencer import Sequencer
from affidavit.storage.log import Tree
from affidavit.testing.author import Author, Clock
from affidavit.testing.engine import Engine
from affidavit.testing.postgres import PostgresEngine
from affidavit.testing.sqlite import SqliteEngine
from tests.postgres import Server

GROUPS = ("actor", "resources", "context", "changes", "details")


def naive_leaf(event: StoredEvent, hex_digits: str) -> bytes:
    """Leaf version 1 from its specification alone: build the object, let the JSON library write it."""
    assert event.secret is not None
    salts = shake_256(event.secret).digest(80)
    digests = {}
    for number, (group, text) in enumerate(zip(GROUPS, event.texts, strict=True)):
        salt = urlsafe_b64encode(salts[16 * number : 16 * number + 16]).decode().rstrip("=")
        digests[group] = sha256(f'["{salt}","{group}",{text}]'.encode()).hexdigest()
    public = json.loads(_public(event))
    fields: dict[str, Any] = {
        name: public[name]
        for name in (
            *("id", "project", "action", "occurred_at", "recorded_at", "outcome", "severity", "source"),
            *("parent_id", "imported", "facts"),
        )
        if name in public
    }
    fields |= {"v": 1, "organization": hex_digits, "groups": digests}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _public(event: StoredEvent) -> bytes:
    from affidavit.core.row import encode_event

    return encode_event(event)


def naive_root(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, by its recursion."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    half = 1
    while half * 2 < len(entries):
        half *= 2
    return sha256(b"\x01" + naive_root(entries[:half]) + naive_root(entries[half:])).digest()


class Log:
    """One store, its sequencer, and what a stranger makes of both."""

    def __init__(self, clock: Clock, engine: Engine) -> None:
        self.clock = clock
        self.count = iter(range(1, 1000))
        self.engine = engine
        self.database = engine.create()
        self.stores: Any = engine.open(self.database)
        self.author = Author(clock)
        self.writer: Any = self.stores.log_side()
        self.sequencer = self.new_sequencer()

    def new_sequencer(self) -> Sequencer:
        """One that knows nothing yet."""
        return Sequencer(
            self.writer,
            self.writer,
            self.writer,
            host="log.example",
            clock=self.clock,
            entropy=lambda size: next(self.count).to_bytes(size, "big"),
        )

    def record(self, *organizations: str, **fields: Any) -> None:
        """One event in each of these, in one batch."""
        self.stores.events.insert([self.author.row(organization=name, **fields) for name in organizations])

    def catch_up(self) -> int:
        """Sequence everything."""
        total = 0
        while taken := self.sequencer.step():
            total += taken
        return total

    def tree(self, organization: str = "acme") -> Tree:
        """The newest one of an organization."""
        found: Tree = self.stores.log.trees(organization)[-1]
        return found

    def check(self, organization: str = "acme") -> None:
        """The tree is the one that the definition gives for these events."""
        tree = self.tree(organization)
        events = [e for e in self.stores.events.after(0, 100_000) if e.organization == organization]
        entries = [naive_leaf(event, tree.hex_digits) for event in events]
        assert tree.size == len(entries)
        assert Prover(self.stores.log).root(tree.number, tree.size) == naive_root(entries)
        (stored, frontier) = self.writer.heads([organization])[organization]
        assert (stored.size, frontier.root()) == (len(entries), naive_root(entries))

    def sql(self, statement: str, *values: object) -> None:
        """Behind the program's back, on SQLite."""
        connection = sqlite3.connect(self.database)
        with connection:
            connection.execute(statement, values)
        connection.close()

    def close(self) -> None:
        self.writer.close()
        self.engine.close()


def sqlite_log_in(folder: Path) -> Log:
    """An empty one in files of this folder."""
    clock = Clock()
    return Log(clock, SqliteEngine(folder, clock=clock))


@pytest.fixture
def sqlite_log(tmp_path: Path) -> Iterator[Log]:
    """An empty one in a file."""
    made = sqlite_log_in(tmp_path)
    yield made
    made.close()


@pytest.fixture
def postgres_log(postgres: Server) -> Iterator[Log]:
    """An empty one on a server."""
    clock = Clock()
    made = Log(clock, PostgresEngine(postgres, clock=clock))
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def log(request: pytest.FixtureRequest) -> Log:
    """An empty one on each engine."""
    found: Log = request.getfixturevalue(f"{request.param}_log")
    return found


def test_every_event_becomes_the_next_leaf_of_its_organization(log: Log) -> None:
    """Several organizations, mixed in one batch: each has its tree, by the definition."""
    log.record("acme", "beta", "acme", "gamma", "acme", project="p1")
    log.record("beta", "acme", actor=Actor(type="user", id='ü\u2028 \\ "', name="A\tB"))
    assert log.catch_up() == 7
    assert log.catch_up() == 0
    for organization in ("acme", "beta", "gamma"):
        log.check(organization)
    assert [log.tree(name).size for name in ("acme", "beta", "gamma")] == [4, 2, 1]
    assert log.tree().origin == f"log.example/{log.tree().hex_digits}/1"


@pytest.mark.parametrize("sizes", [(1,) * 9, (255, 1, 1), (256, 256), (700, 3, 70)])
def test_the_tree_does_not_depend_on_the_batches(log: Log, sizes: tuple[int, ...]) -> None:
    """Full tiles are completed within a batch or across several."""
    for size in sizes:
        log.record(*("acme",) * size)
        log.catch_up()
    log.check()
    tiles = log.stores.log.hashes(log.tree().number, 1, 0, 256)
    assert len(tiles) == sum(sizes) // 256


def test_a_restarted_sequencer_goes_on(log: Log) -> None:
    """What the store says is the truth; nothing is kept elsewhere."""
    log.record("acme", "acme")
    log.catch_up()
    log.sequencer = log.new_sequencer()
    log.record("acme", "beta")
    assert log.catch_up() == 2
    log.check()
    log.check("beta")


def test_what_cannot_be_encoded_gets_an_invalid_leaf_and_an_alarm(sqlite_log: Log) -> None:
    """A row that somebody wrote by SQL never stops the queue, and is named."""
    log = sqlite_log
    log.record("acme")
    columns = (
        "(id, version, organization, action, outcome, severity, source, imported, actor, resources, context,"
        " changes, details, secret, recorded_at)"
    )
    good = ["acme", "a.b", "success", "info", "web", 0, "{}", "{}", "{}", "{}", "{}", b"s" * 32, 1]
    bad: list[list[object]] = []
    for at, value in (
        (1, "No Action"),
        (6, "{"),
        (6, "[]"),
        (11, b"short"),
        (12, -5),
        (0, "not/a name"),
        (4, "W"),
    ):
        row: list[object] = list(good)
        row[at] = value
        bad.append(row)
    insert = f"INSERT INTO affidavit_events {columns} VALUES (?, 1, {', '.join('?' * len(good))})"
    for number, row in enumerate(bad):
        event_id = bytes([1, 2, 3, 4, 5, 6, 0x70, 0, 0x80, number]) + bytes(6)
        log.sql(insert, event_id, *row)
    log.sql(
        f"INSERT INTO affidavit_events {columns} VALUES (?, 1, {', '.join('?' * len(good))})", b"no id", *good
    )
    log.record("acme")
    assert log.catch_up() == 10
    assert log.tree().size == 9
    assert log.tree(INSTANCE).size == 1, "a row of no organization stands in the instance's tree"
    alarms = log.writer.alarms()
    assert [alarm.kind for alarm in alarms] == ["invalid_leaf"] * 8
    assert {alarm.text.split(": ")[1].split(".")[0] for alarm in alarms} >= {
        "action must be a dotted name",
        "organization must be a name",
        "id must be the 16 bytes of a UUIDv7",
    }


def test_text_that_is_not_utf8_does_not_stop_the_queue(sqlite_log: Log) -> None:
    """SQLite stores any bytes as text."""
    log = sqlite_log
    log.record("acme")
    log.sql("DROP TRIGGER affidavit_events_update")
    log.sql(
        "UPDATE affidavit_events SET details = CAST(x'7b226d65746164617461223a7b2278223a22ff227d7d' AS TEXT)"
    )
    assert log.catch_up() == 1
    (alarm,) = log.writer.alarms()
    assert "details is not of its shape" in alarm.text


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 700])
def test_proofs_are_those_of_the_definition(log: Log, size: int) -> None:
    """Inclusion, consistency and range proofs from stored hashes lead to the naive root."""
    from affidavit.core.merkle import Frontier, decompose, verify_consistency, verify_inclusion

    log.record(*("acme",) * size)
    log.catch_up()
    tree = log.tree()
    entries = [naive_leaf(event, tree.hex_digits) for event in log.stores.events.after(0, 1000)]
    prover, root = Prover(log.stores.log), naive_root(entries)
    for index in {0, size // 2, size - 1}:
        leaf = sha256(b"\x00" + entries[index]).digest()
        verify_inclusion(index, size, leaf, prover.inclusion(tree.number, index, size), root)
    for old in {1, (size + 1) // 2, size}:
        proof = prover.consistency(tree.number, old, size)
        verify_consistency(old, size, naive_root(entries[:old]), root, proof)
    start, end = size // 3, size - size // 4
    left, right = prover.range_proof(tree.number, start, end, size)
    whole = Frontier(start, left)
    for entry in entries[start:end]:
        whole.append(sha256(b"\x00" + entry).digest())
    for subtree, digest in zip(decompose(end, size), right, strict=True):
        whole.push(subtree.level, digest)
    assert whole.root() == root


@pytest.mark.parametrize(
    "edit", ["UPDATE affidavit_position SET seq = 0", "DELETE FROM affidavit_position"], ids=["zero", "gone"]
)
def test_a_place_that_somebody_moved_back_gives_no_event_a_second_leaf(log: Log, edit: str) -> None:
    """The trees themselves say where they end."""
    log.record("acme", "beta", "acme")
    log.catch_up()
    with log.writer.transaction() as connection:
        connection.execute(edit)
    log.record("acme")
    with pytest.raises(LogMismatch):
        log.sequencer.step()
    assert (log.tree().size, log.tree("beta").size) == (2, 1)
