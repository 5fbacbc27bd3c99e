"""The queue of PostgreSQL: late commits, rows that cannot be sequenced, and a second writer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from hashlib import sha256
from random import Random
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from affidavit.core.credentials import INSTANCE
from affidavit.errors import LogMismatch, LogMoved, StorageError
from affidavit.log.sequencer import Sequencer
from affidavit.storage.log import QueueProgress
from affidavit.storage.postgres.connect import Address, Session, connect, uid
from affidavit.storage.postgres.log_queue import MISSING, SWEEP_EVERY, TOO_NEW, TWICE, PostgresQueue
from affidavit.storage.postgres.log_writer import PostgresLogWriter
from affidavit.storage.postgres.writer import insert_rows
from affidavit.testing.author import Author, Clock
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import Server
from tests.rfc6962 import NaiveTree


class Line:
    """A queue with a sequencer, under a clock of the test's."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.clock = Clock()
        self.author = Author(self.clock)
        self.now = 0.0
        self.random = Random(7)
        self.session = connect(address)
        self.writer = self.new_writer()
        self.sequencer = self.new_sequencer(self.writer)

    def new_writer(self, **options: Any) -> PostgresLogWriter:
        """One whose looks at the whole queue the test decides."""
        made = PostgresLogWriter(self.address, **options)
        made._queue = PostgresQueue(made._pool, made, monotonic=lambda: self.now)
        return made

    def new_sequencer(self, writer: PostgresLogWriter) -> Sequencer:
        """One that knows nothing yet."""
        return Sequencer(
            writer, writer, writer, host="log.example", clock=self.clock, entropy=self.random.randbytes
        )

    def record(self, count: int = 1, **fields: Any) -> list[bytes]:
        """Events, committed; their ids."""
        rows = [self.author.row(**fields) for _ in range(count)]
        with self.session.transaction():
            insert_rows(self.session, rows, self.clock())
        return [row.id for row in rows]

    def sequence(self) -> int:
        """Until nothing waits."""
        total = 0
        while taken := self.sequencer.step():
            total += taken
        return total

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Behind the program's back."""
        with psycopg.connect(self.address.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def leaves(self) -> list[bytes]:
        """The ids of the events that have one, in the order of their places."""
        rows = self.sql("SELECT id, seq FROM affidavit_leaves ORDER BY seq")
        assert [seq for _, seq in rows] == list(range(1, len(rows) + 1))
        return [event_id.bytes for event_id, _ in rows]

    def alarms(self) -> list[str]:
        """The kinds of alarms that stand."""
        return sorted(alarm.kind for alarm in self.writer.alarms())

    def close(self) -> None:
        self.writer.close()
        self.session.close()


@pytest.fixture
def line(postgres: Server) -> Iterator[Line]:
    """An empty one."""
    engine = PostgresEngine(postgres, clock=None)
    made = Line(Address(engine.create()))
    yield made
    made.close()
    engine.close()


def slow(line: Line) -> Session:
    """Another application's connection."""
    return connect(line.address)


def test_a_transaction_that_commits_late_is_found_behind_the_others(line: Line) -> None:
    """It took its number early; the next look at the whole queue, a second later at most, has it."""
    other = slow(line)
    with other.transaction():
        row = line.author.row()
        insert_rows(other, [row], line.clock())
        later = line.record(3)
        assert line.sequence() == 3
        line.record(0)
    assert line.writer.progress() == QueueProgress(3, 0, None), "below where reading goes on"
    assert line.sequencer.step() == 0, "it is no second yet"
    line.now += SWEEP_EVERY
    assert line.sequencer.step() == 1
    assert line.leaves() == [*later, row.id]
    other.close()


def test_a_batch_that_takes_long_does_not_put_off_the_next_look(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a look costs is what it reads, not what is made of that: a late commit waits no longer."""
    other = slow(line)
    with other.transaction():
        insert_rows(other, [line.author.row()], line.clock())
        line.record(3)
        monkeypatch.setattr(line.writer, "settle", lambda _: setattr(line, "now", line.now + 30))
        assert line.sequencer.step() == 3
        monkeypatch.undo()
    assert line.sequencer.step() == 1
    other.close()


def test_what_is_rolled_back_leaves_nothing(line: Line) -> None:
    """Neither in the queue nor in a tree, and no place is left out for it."""
    first = line.record()
    with contextlib.suppress(ZeroDivisionError), line.session.transaction():
        insert_rows(line.session, [line.author.row()], line.clock())
        assert 1 / 0
    second = line.record()
    assert line.sequence() == 2
    assert line.leaves() == [*first, *second]


def test_a_row_of_a_newer_version_waits_and_others_pass(line: Line) -> None:
    """An alarm stands for as long as one waits; the worker that knows the version takes it in."""
    line.record()
    (newer,) = line.record()
    line.sql("ALTER TABLE affidavit_events DISABLE TRIGGER USER")
    line.sql("UPDATE affidavit_events SET version = 2 WHERE id = %s", uid(newer))
    line.record(3)
    assert line.sequence() == 4
    assert line.alarms() == [TOO_NEW]
    assert "version 2, this worker knows 1" in line.writer.alarms()[0].text
    line.record()
    line.now += SWEEP_EVERY
    assert line.sequence() == 1
    assert newer not in line.leaves()
    line.sql("UPDATE affidavit_events SET version = 1 WHERE id = %s", uid(newer))
    line.now += SWEEP_EVERY
    assert line.sequence() == 1
    assert line.leaves()[-1] == newer
    line.now += SWEEP_EVERY
    line.sequence()
    assert line.alarms() == []


def test_a_row_without_its_event_blocks_nobody(line: Line) -> None:
    """Somebody deleted the event by SQL: named, and those behind it are sequenced."""
    ids = line.record(3)
    line.sql("ALTER TABLE affidavit_events DISABLE TRIGGER USER")
    line.sql("DELETE FROM affidavit_events WHERE id = %s", uid(ids[0]))
    assert line.sequence() == 2
    assert line.leaves() == ids[1:]
    assert line.alarms() == [MISSING]
    line.now += SWEEP_EVERY
    assert line.sequence() == 0
    assert line.alarms() == [MISSING]
    line.sql("DELETE FROM affidavit_pending")
    line.now += SWEEP_EVERY
    assert line.sequence() == 0
    assert line.alarms() == []


def test_many_rows_that_cannot_be_sequenced_do_not_hide_the_others(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are at the beginning: each claim goes on a bounded way, and comes through."""
    from affidavit.log import sequencer

    monkeypatch.setattr(sequencer, "BATCH", 10)
    ids = line.record(95)
    line.sql("ALTER TABLE affidavit_events DISABLE TRIGGER USER")
    line.sql("UPDATE affidavit_events SET version = 2 WHERE id = ANY(%s)", [uid(each) for each in ids])
    good = line.record(5)
    rounds = [line.sequencer.step() for _ in range(4)]
    assert rounds == [0, 0, 5, 0]
    assert line.leaves() == good


def test_an_event_in_the_queue_a_second_time_gets_no_second_leaf(line: Line) -> None:
    """Whether its first row is still there or was sequenced long ago; others pass, and it is named."""
    first = line.record(2)
    line.sequence()
    line.sql("INSERT INTO affidavit_pending (organization, id) VALUES ('acme', %s)", uid(first[0]))
    later = line.record(2)
    line.sql("INSERT INTO affidavit_pending (organization, id) VALUES ('acme', %s)", uid(later[0]))
    with pytest.raises(LogMoved, match="has its leaf already"):
        line.sequencer.step()
    assert line.sequence() == 2
    assert line.leaves() == [*first, *later]
    assert line.alarms() == [TWICE]


def test_what_cannot_be_encoded_gets_an_invalid_leaf_and_an_alarm(line: Line) -> None:
    """A row that somebody wrote by SQL never stops the queue, and is named."""
    good: dict[str, object] = {
        "version": 1,
        "organization": "acme",
        "action": "a.b",
        "outcome": "success",
        "severity": "info",
        "source": "web",
        "imported": False,
        "actor": "{}",
        "resources": "{}",
        "context": "{}",
        "changes": "{}",
        "details": "{}",
        "secret": b"s" * 32,
        "recorded_at": 1,
    }
    bad = {"action": "No Action", "actor": "{", "changes": "[]", "recorded_at": -5, "organization": "no/name"}
    for number, (column, value) in enumerate(bad.items()):
        event_id = uid(bytes([1, 2, 3, 4, 5, 6, 0x70, 0, 0x80, number]) + bytes(6))
        row = {"id": event_id, **good, column: value}
        line.sql(
            f"INSERT INTO affidavit_events ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
            *row.values(),
        )
        line.sql(
            "INSERT INTO affidavit_pending (organization, id) VALUES (%s, %s)", row["organization"], event_id
        )
    assert line.sequence() == 5
    assert sorted(line.sql("SELECT organization, size FROM affidavit_trees")) == sorted(
        [("acme", 4), (INSTANCE, 1)]
    )
    assert line.alarms() == ["invalid_leaf"] * 5
    line.record()
    assert line.sequence() == 1, "the row of no organization is found again as the last one"


def test_a_second_writer_that_comes_later_stores_nothing(line: Line) -> None:
    """The head row decides, and after it the rows of the queue themselves."""
    other = line.new_writer()
    second = line.new_sequencer(other)
    line.record(3)
    claimed = other.claim(10)
    line.sequence()
    grown, _ = second._grow(claimed)
    from affidavit.log.sequencer import _finished

    with pytest.raises(LogMoved, match="no longer stands at 0"):
        other.append(claimed, [_finished(each) for each in grown])
    line.sql("UPDATE affidavit_position SET seq = 0")
    with pytest.raises(LogMoved, match="left the queue"):
        other.append(claimed, [_finished(each) for each in grown])
    line.sql("UPDATE affidavit_position SET seq = 3")
    line.record()
    second.forget()
    assert second.step() == 1
    assert len(line.leaves()) == 4
    other.close()


def test_a_tree_that_somebody_else_made_longer_or_shorter_is_not_grown(line: Line) -> None:
    """Each tree must have the size that the batch began with, whatever is kept in memory."""
    line.record(3)
    line.sequence()
    line.sql("UPDATE affidavit_trees SET size = 2")
    line.record()
    with pytest.raises(LogMoved, match="no longer have their size"):
        line.sequencer.step()
    line.sql("UPDATE affidavit_trees SET size = 3")
    assert line.sequence() == 1


@pytest.mark.parametrize("number", range(1, 9))
def test_a_statement_that_fails_takes_the_whole_batch_back(
    line: Line, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Settings, place, queue, trees, leaves, head: whichever fails, nothing of the batch is stored."""
    first = line.record(2)
    line.sequence()
    later = [*line.record(256), *line.record(organization="beta")]
    before = line.sql("SELECT * FROM affidavit_trees")
    statements: list[str] = []
    for name in ("execute", "copy"):
        monkeypatch.setattr(Session, name, _failing(getattr(Session, name), statements, number))
    with pytest.raises(StorageError, match="as it was told to"):
        line.sequencer.step()
    monkeypatch.undo()
    assert line.leaves() == first
    assert line.sql("SELECT * FROM affidavit_trees") == before
    assert line.sql("SELECT count(*) FROM affidavit_tiles") == [(0,)]
    assert line.sequence() == 257
    assert line.leaves() == [*first, *later]


def _failing(call: Any, statements: list[str], number: int) -> Any:
    """The nth statement of the transaction that follows a claim fails."""

    def run(session: Session, statement: str, *arguments: Any) -> Any:
        if session.connection.info.transaction_status == TransactionStatus.INTRANS:
            statements.append(statement)
            if len(statements) == number:
                raise StorageError(f"{statement} failed, as it was told to.")
        return call(session, statement, *arguments)

    return run


@pytest.mark.parametrize("applied", [False, True])
def test_a_connection_that_is_lost_with_unknown_outcome(
    line: Line, monkeypatch: pytest.MonkeyPatch, applied: bool
) -> None:
    """The server hung up before or after the commit: the next step asks what is true, and goes on."""
    first = line.record(3)
    transaction = PostgresLogWriter.transaction

    def lost(writer: PostgresLogWriter) -> Any:
        return _Lost(transaction(writer), line, applied)

    monkeypatch.setattr(PostgresLogWriter, "transaction", lost)
    with pytest.raises(StorageError):
        line.sequencer.step()
    monkeypatch.undo()
    assert len(line.leaves()) == (3 if applied else 0)
    later = line.record(2)
    line.now += SWEEP_EVERY
    assert line.sequence() == (2 if applied else 5)
    assert line.leaves() == [*first, *later]


class _Lost:
    """A transaction whose connection is cut at its end, on one side of the commit or the other."""

    def __init__(self, transaction: Any, line: Line, applied: bool) -> None:
        self._transaction = transaction
        self._line = line
        self._applied = applied

    def __enter__(self) -> Session:
        self._session: Session = self._transaction.__enter__()
        opened: Session = self._session
        return opened

    def __exit__(self, *error: object) -> Any:
        pid = self._session.connection.info.backend_pid
        if self._applied:
            self._transaction.__exit__(*error)
        self._line.sql("SELECT pg_terminate_backend(%s, 5000)", pid)
        if self._applied:
            raise StorageError("The answer was lost.")
        return self._transaction.__exit__(*error)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("DELETE FROM affidavit_position", "is missing"),
        ("UPDATE affidavit_position SET seq = 0", "stands where the next one belongs"),
        ("UPDATE affidavit_position SET seq = 1", "is another one now|not in the database"),
        ("UPDATE affidavit_position SET leaf = decode(repeat('00', 32), 'hex')", "is another one now"),
        (
            "UPDATE affidavit_leaves SET hash = decode(repeat('00', 32), 'hex') WHERE seq = 3",
            "is another one",
        ),
        ("UPDATE affidavit_trees SET size = 2", "was edited"),
        (
            "DELETE FROM affidavit_events WHERE id = (SELECT id FROM affidavit_position)",
            "not in the database",
        ),
    ],
)
def test_what_somebody_edited_is_never_sequenced_over(line: Line, edit: str, said: str) -> None:
    """The place, its event, its leaf and the size of each tree are compared before anything is stored."""
    line.record(3)
    line.sequence()
    line.sql("ALTER TABLE affidavit_events DISABLE TRIGGER USER")
    line.sql(edit)
    line.record()
    with pytest.raises((LogMismatch, LogMoved), match=said):
        line.new_sequencer(line.writer).step()
    assert line.sql("SELECT count(*) FROM affidavit_leaves") == [(3,)]


def test_leaves_are_durable_whatever_recording_is(line: Line) -> None:
    """A role or server without synchronous_commit still gets each batch of leaves synced, with its events."""
    line.sql(
        "ALTER ROLE postgres IN DATABASE "
        + line.address.url.rpartition("/")[2]
        + " SET synchronous_commit = off"
    )
    asked: list[str] = []
    writer = line.new_writer(fence=lambda session: asked.append(_setting(session)))
    line.record(2)
    assert line.new_sequencer(writer).step() == 2
    assert asked == ["on"]
    writer.close()


def _setting(session: Session) -> str:
    found: str = session.execute("SELECT current_setting('synchronous_commit')").fetchall()[0][0]
    return found


def test_roots_are_those_of_the_definition_however_it_was_cut_into_batches(line: Line) -> None:
    """700 leaves of two organizations in seven batches: RFC 6962 over them, tiles where they are full."""
    for count in (1, 99, 200, 56, 1, 300, 43):
        line.record(count)
        line.record(count, organization="beta")
        line.sequence()
    for number, name in line.sql("SELECT tree, organization FROM affidavit_trees ORDER BY tree"):
        hashes = [
            digest
            for (digest,) in line.sql(f"SELECT hash FROM affidavit_leaves WHERE tree = {number} ORDER BY idx")
        ]
        tree, frontier = line.writer.heads([name])[name]
        assert tree.size == len(hashes) == 700
        assert frontier.root() == _Hashes(hashes).root()
        tiles = line.sql(
            f"SELECT idx, hash FROM affidavit_tiles WHERE tree = {number} AND level = 1 ORDER BY idx"
        )
        assert tiles == [(at, _Hashes(hashes[256 * at : 256 * at + 256]).root()) for at in range(2)]


class _Hashes(NaiveTree):
    """The tree over leaves of which only the hashes are known."""

    def _mth(self, start: int, end: int) -> bytes:
        if end - start == 1:
            return self.entries[start]
        return super()._mth(start, end)


def test_the_naive_tree_over_hashes_is_that_over_entries() -> None:
    """The reading that the other tests lean on."""
    entries = [bytes([at]) for at in range(7)]
    hashes = [sha256(b"\0" + entry).digest() for entry in entries]
    assert _Hashes(hashes).root() == NaiveTree(entries).root()
