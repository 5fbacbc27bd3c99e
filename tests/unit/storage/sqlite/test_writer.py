"""Group commit: many callers, one commit, and each gets its own answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from affidavit.errors import IdConflict, StorageBusy, StorageError
from affidavit.storage.sqlite.writer import GroupCommit, Writer
from affidavit.testing.author import NOW, Author, Clock
from affidavit.testing.sqlite import empty_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty database."""
    empty_database(tmp_path / "a.db")
    return tmp_path / "a.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    """Its writer."""
    made = Writer(path, clock=Clock())
    yield made
    made.close()


@pytest.fixture
def author() -> Author:
    """Makes rows."""
    return Author(Clock())


def actions(path: Path) -> list[str]:
    """What is stored, read by another connection."""
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT action FROM affidavit_events ORDER BY seq")]
    finally:
        connection.close()


def test_a_batch_that_conflicts_fails_alone(writer: Writer, author: Author, path: Path) -> None:
    """Those before and after it in the same commit are stored, of it nothing."""
    writer.insert([author.row("a.first", idempotency_key="k", occurred_at=NOW)])
    conflict = [author.row("a.lost"), author.row("a.other", idempotency_key="k", occurred_at=NOW)]
    before, refused, after = writer.insert_group(
        [[author.row("a.before")], conflict, [author.row("a.after")]]
    )
    assert isinstance(refused, IdConflict)
    assert isinstance(before, list)
    assert isinstance(after, list)
    assert actions(path) == ["a.first", "a.before", "a.after"]


def test_a_repeat_within_one_commit_is_a_duplicate(writer: Writer, author: Author, path: Path) -> None:
    """A retry that overtakes its first try into the same group."""
    rows = [author.row("a.same", idempotency_key="k", occurred_at=NOW) for _ in range(2)]
    answers = writer.insert_group([[row] for row in rows])
    assert [answer[0].duplicate for answer in answers if isinstance(answer, list)] == [False, True]
    assert actions(path) == ["a.same"]


def test_random_ids_that_meet_store_nothing_of_their_batch(
    writer: Writer, author: Author, path: Path
) -> None:
    """One chance in 2**62: whoever is told to send again finds nothing of the batch stored."""
    row = author.row("a.first")
    writer.insert([row])
    twin = msgspec.structs.replace(author.row("a.twin"), id=row.id, values=(row.id, *row.values[1:]))
    with pytest.raises(StorageError, match="again"):
        writer.insert([author.row("a.half"), twin])
    with pytest.raises(StorageError, match="again"):
        writer.insert_group([[author.row("a.other")], [author.row("a.half"), twin]])
    assert actions(path) == ["a.first"]
    writer.insert([author.row("a.next")])
    assert actions(path) == ["a.first", "a.next"]


def interrupted(connection: sqlite3.Connection) -> None:
    """Write something, then fail in the middle of a transaction."""
    connection.execute("INSERT INTO affidavit_meta VALUES ('a', 'b')")
    raise ZeroDivisionError


def test_a_transaction_that_fails_is_rolled_back(writer: Writer, author: Author, path: Path) -> None:
    """Whatever the error; the writer goes on."""
    with pytest.raises(ZeroDivisionError), writer.transaction() as connection:
        interrupted(connection)
    broken = msgspec.structs.replace(author.row(), values=author.row().values[:-1])
    with pytest.raises(StorageError):
        writer.insert([author.row("a.half"), broken])
    assert actions(path) == []
    writer.insert([author.row("a.next")])
    assert actions(path) == ["a.next"]


def test_a_lock_held_by_another_process_is_named(
    writer: Writer, author: Author, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Busy, and stored nothing; when the lock is gone the same batch goes in."""
    writer._connection.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageBusy, match="try again"):
        writer.insert([author.row("a.first")])
    other.execute("ROLLBACK")
    other.close()
    writer.insert([author.row("a.first")])
    assert actions(path) == ["a.first"]


def test_callers_that_go_away_harm_nobody(writer: Writer, author: Author, path: Path) -> None:
    """A cancelled caller's batch is stored, those beside it are answered, and the writer goes on."""

    async def ask() -> list[bool]:
        group = GroupCommit(writer)
        try:
            futures = [group.submit([author.row(f"a.n{number}")]) for number in range(20)]
            for future in futures[::2]:
                future.cancel()
            answered = await asyncio.gather(*futures[1::2])
            answered.append(await group.submit([author.row("a.last")]))
            return [answer[0].duplicate for answer in answered]
        finally:
            await asyncio.to_thread(group.close)

    assert asyncio.run(ask()) == [False] * 11
    assert sorted(actions(path)) == sorted(["a.last", *(f"a.n{number}" for number in range(20))])


def test_an_error_reaches_every_caller_of_its_commit(writer: Writer, author: Author, path: Path) -> None:
    """What cannot be stored fails the group it came in; the next group is stored."""

    async def ask() -> list[object]:
        group = GroupCommit(writer)
        try:
            broken = msgspec.structs.replace(author.row(), values=author.row().values[:-1])
            futures = [group.submit([author.row("a.beside")]), group.submit([broken])]
            failed = await asyncio.gather(*futures, return_exceptions=True)
            return [*failed, await group.submit([author.row("a.next")])]
        finally:
            await asyncio.to_thread(group.close)

    *failed, stored = asyncio.run(ask())
    assert [type(answer) for answer in failed] == [StorageError, StorageError]
    assert isinstance(stored, list)
    assert actions(path) == ["a.next"]


def test_what_waits_at_the_end_is_committed(writer: Writer, author: Author, path: Path) -> None:
    """Closing is not losing; after it nothing is taken."""

    async def ask() -> None:
        group = GroupCommit(writer)
        futures = [group.submit([author.row(f"a.n{number}")]) for number in range(5)]
        await asyncio.to_thread(group.close)
        assert len(await asyncio.gather(*futures)) == 5
        with pytest.raises(StorageError, match="shutting down"):
            group.submit([author.row()])

    asyncio.run(ask())
    assert len(actions(path)) == 5


def test_an_erased_event_is_a_duplicate_and_is_never_filled_again(
    writer: Writer, author: Author, path: Path
) -> None:
    """What was erased cannot be compared; what still stands is."""
    said: dict[str, Any] = {"idempotency_key": "k", "occurred_at": NOW}
    writer.insert([author.row("a.first", metadata={"a": 1}, ip="10.0.0.1", **said)])
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO affidavit_permit VALUES ('acme', 'erasure', 'm', NULL, NULL)")
    connection.execute("UPDATE affidavit_events SET details = NULL, secret = NULL, remains = '{}'")
    connection.execute("DELETE FROM affidavit_permit")
    connection.commit()
    for metadata in ({"a": 1}, {"a": 2}):
        (recorded,) = writer.insert([author.row("a.first", metadata=metadata, ip="10.0.0.1", **said)])
        assert recorded.duplicate
    with pytest.raises(IdConflict):
        writer.insert([author.row("a.first", metadata={"a": 1}, ip="10.0.0.2", **said)])
    assert connection.execute("SELECT details, secret FROM affidavit_events").fetchall() == [(None, None)]
    connection.close()
