"""Group commit on the event loop: one commit for many callers, each told what became of its own batch."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg
import pytest

from affidavit import errors
from affidavit.core.ids import make_id
from affidavit.core.row import Recorded, Row
from affidavit.storage.postgres.connect import Address, connect
from affidavit.storage.postgres.group import GroupCommit
from affidavit.storage.postgres.writer import insert_rows
from affidavit.testing.author import Author
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import Server

NAME = "affidavit group commit"


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


@pytest.fixture
def address(postgres: Server) -> Iterator[Address]:
    """An empty database."""
    engine = PostgresEngine(postgres, clock=None)
    yield Address(engine.create())
    engine.close()


@pytest.fixture
def sql(address: Address) -> Iterator[psycopg.Connection[Any]]:
    """A connection beside it, of a superuser."""
    with psycopg.connect(address.url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def author() -> Author:
    """Makes rows."""
    return Author(now)


def run(address: Address, work: Callable[[GroupCommit], Awaitable[Any]]) -> Any:
    """Run a coroutine that uses a group commit, which is closed in the end."""

    async def whole() -> Any:
        group = GroupCommit(address)
        try:
            return await asyncio.wait_for(work(group), 30)
        finally:
            group.close()

    return asyncio.run(whole())


async def all_of(group: GroupCommit, batches: Sequence[Sequence[Row]]) -> list[Any]:
    """Hand in all batches in one turn of the loop; their outcomes."""
    return await asyncio.gather(*(group.submit(rows) for rows in batches), return_exceptions=True)


def stored(sql: psycopg.Connection[Any]) -> set[bytes]:
    """The ids in the table; each of them waits in the queue once."""
    ids = [row[0].bytes for row in sql.execute("SELECT id FROM affidavit_events")]
    queued = [row[0].bytes for row in sql.execute("SELECT id FROM affidavit_pending")]
    assert sorted(ids) == sorted(queued)
    assert len(set(ids)) == len(ids)
    return set(ids)


@pytest.mark.parametrize("count", [40, 400])
def test_what_arrives_together_is_one_commit(
    address: Address, sql: psycopg.Connection[Any], author: Author, count: int
) -> None:
    """Few or many single events: one transaction, and every caller gets its own answer."""
    rows = [author.row(f"a.n{number}") for number in range(count)]
    outcomes = run(address, lambda group: all_of(group, [[row] for row in rows]))
    assert outcomes == [[Recorded(row.id, False)] for row in rows]
    assert stored(sql) == {row.id for row in rows}
    assert sql.execute("SELECT count(DISTINCT xmin::text) FROM affidavit_events").fetchone() == (1,)


def test_a_group_takes_what_arrived_while_the_last_one_was_committed(
    address: Address, sql: psycopg.Connection[Any], author: Author
) -> None:
    """A hundred callers that each send one event after the other need far fewer commits than events."""

    async def caller(group: GroupCommit, number: int) -> None:
        for turn in range(5):
            row = author.row(f"a.n{number}-{turn}")
            assert await group.submit([row]) == [Recorded(row.id, False)]

    async def callers(group: GroupCommit) -> None:
        await asyncio.gather(*(caller(group, number) for number in range(100)))

    run(address, callers)
    assert len(stored(sql)) == 500
    ((commits,),) = sql.execute("SELECT count(DISTINCT xmin::text) FROM affidavit_events").fetchall()
    assert commits <= 50


@pytest.mark.parametrize("others", [3, 120])
def test_a_refused_batch_fails_alone(
    address: Address, sql: psycopg.Connection[Any], author: Author, others: int
) -> None:
    """Other content under an id, in a batch of its own or within one: nothing of that batch is stored."""
    moment = now()
    standing = author.row("a.stands", idempotency_key="k", occurred_at=moment)
    other = author.row("a.other", idempotency_key="k", occurred_at=moment)
    again = author.row("a.stands", idempotency_key="k", occurred_at=moment)
    fresh = [author.row(f"a.n{number}") for number in range(others)]
    mixed = [author.row("a.before"), other, author.row("a.after")]
    whole = [author.row("a.before"), again]

    async def work(group: GroupCommit) -> list[Any]:
        await group.submit([standing])
        return await all_of(group, [*([row] for row in fresh), [other], mixed, [again], whole])

    *accepted, single, batch, repeat, mixture = run(address, work)
    assert accepted == [[Recorded(row.id, False)] for row in fresh]
    assert isinstance(single, errors.IdConflict)
    assert isinstance(batch, errors.IdConflict)
    assert repeat == [Recorded(standing.id, True)]
    assert mixture == [Recorded(whole[0].id, False), Recorded(standing.id, True)]
    assert stored(sql) == {standing.id, whole[0].id, *(row.id for row in fresh)}


def test_one_event_sent_twice_in_one_turn_is_stored_once(
    address: Address, sql: psycopg.Connection[Any], author: Author
) -> None:
    """The first is new, its repeat a duplicate, other content a conflict."""
    moment = now()
    rows = [
        author.row(action, idempotency_key="k", occurred_at=moment) for action in ("a.b", "a.b", "a.other")
    ]
    first, second, third = run(address, lambda group: all_of(group, [[row] for row in rows]))
    assert [first, second] == [[Recorded(rows[0].id, False)], [Recorded(rows[0].id, True)]]
    assert isinstance(third, errors.IdConflict)
    assert stored(sql) == {rows[0].id}


def test_large_batches_that_were_sent_before_are_duplicates(
    address: Address, sql: psycopg.Connection[Any], author: Author
) -> None:
    """A thousand events of which half stand there already: the other half is new."""
    moment = now()
    rows = [author.row("a.b", idempotency_key=f"k{n}", occurred_at=moment + n) for n in range(1_000)]

    async def work(group: GroupCommit) -> list[Any]:
        await group.submit(rows[::2])
        return await all_of(group, [rows])

    (outcome,) = run(address, work)
    assert outcome == [Recorded(row.id, number % 2 == 0) for number, row in enumerate(rows)]
    assert stored(sql) == {row.id for row in rows}


@pytest.mark.parametrize("others", [2, 100])
def test_an_event_in_a_closed_range_is_refused_by_name_and_alone(
    address: Address, sql: psycopg.Connection[Any], author: Author, others: int
) -> None:
    """What was pruned stays closed; whoever records beside it notices nothing."""
    moment = now()
    low, high = make_id(moment - 10, 0), make_id(moment + 10, 0)
    sql.execute(
        "SELECT affidavit_range_close('acme', %s::uuid, %s::uuid, %s)", (low.hex(), high.hex(), b"m" * 32)
    )
    late = author.row("a.late", occurred_at=moment)
    fresh = [author.row(f"a.n{n}", occurred_at=moment + 1_000 + n) for n in range(others)]
    refused, *accepted = run(address, lambda group: all_of(group, [[late], *([row] for row in fresh)]))
    assert isinstance(refused, errors.InvalidEvent)
    assert refused.errors[0].rule == "pruned_range"
    assert accepted == [[Recorded(row.id, False)] for row in fresh]
    assert stored(sql) == {row.id for row in fresh}


def test_a_caller_that_goes_away_changes_nothing(
    address: Address, sql: psycopg.Connection[Any], author: Author
) -> None:
    """Cancelled before the commit: its event is stored, and the others are answered."""
    rows = [author.row(f"a.n{number}") for number in range(3)]

    async def work(group: GroupCommit) -> list[Any]:
        futures = [group.submit([row]) for row in rows]
        futures[1].cancel()
        return await asyncio.gather(*futures, return_exceptions=True)

    first, second, third = run(address, work)
    assert [first, third] == [[Recorded(rows[0].id, False)], [Recorded(rows[2].id, False)]]
    assert isinstance(second, asyncio.CancelledError)
    assert stored(sql) == {row.id for row in rows}


def test_a_connection_that_died_while_idle_is_replaced(
    address: Address, sql: psycopg.Connection[Any], author: Author
) -> None:
    """After a restart of the server the next caller notices nothing."""

    async def work(group: GroupCommit) -> list[Any]:
        first = await group.submit([author.row()])
        await asyncio.to_thread(terminate, sql)
        return first + await group.submit([author.row()])

    assert [recorded.duplicate for recorded in run(address, work)] == [False, False]
    assert len(stored(sql)) == 2


def terminate(sql: psycopg.Connection[Any]) -> None:
    """End the server's side of the group's connection, and wait until it has ended."""
    ((pid,),) = sql.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()",
        (NAME,),
    ).fetchall()
    assert sql.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,)).fetchone() == (True,)


@pytest.mark.parametrize("count", [1, 80])
def test_an_outcome_that_nobody_knows_is_called_unknown(
    address: Address, sql: psycopg.Connection[Any], author: Author, count: int
) -> None:
    """The connection breaks during the statement that commits: the error says so; a repeat stores once."""
    moment = now()
    rows = [author.row("a.b", idempotency_key=f"k{n}", occurred_at=moment + n) for n in range(count)]

    async def work(group: GroupCommit) -> tuple[list[Any], list[Any]]:
        await group.submit([author.row("a.first")])
        held = threading.Event()
        breaking = threading.Thread(target=break_while_it_waits, args=(address, sql, held))
        breaking.start()
        try:
            await asyncio.to_thread(held.wait)
            broken = await all_of(group, [[row] for row in rows])
        finally:
            await asyncio.to_thread(breaking.join)
        return broken, await all_of(group, [[row] for row in rows])

    broken, again = run(address, work)
    assert all(isinstance(outcome, errors.StorageError) for outcome in broken)
    if count == 1:
        assert "unknown" in str(broken[0])
        assert "postgresql://" not in str(broken[0])
    assert again == [[Recorded(row.id, False)] for row in rows]
    assert len(stored(sql)) == count + 1


def break_while_it_waits(address: Address, sql: psycopg.Connection[Any], held: threading.Event) -> None:
    """Hold the queue until the group's statement waits for it, then end that statement's connection."""
    with psycopg.connect(address.url) as holder:
        holder.execute("LOCK TABLE affidavit_pending IN SHARE ROW EXCLUSIVE MODE")
        held.set()
        deadline = time.monotonic() + 20
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'affidavit_pending'::regclass"
        while holder.execute(waiting).fetchone() is None:
            assert time.monotonic() < deadline, "the group never came to the queue"
        terminate(sql)


def test_a_commit_that_is_not_answered_is_unknown(
    address: Address, sql: psycopg.Connection[Any], author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events by COPY, and the connection is lost after COMMIT was sent: they are stored, nobody knows."""
    rows = [author.row("a.b", idempotency_key=f"k{n}", occurred_at=now() + n) for n in range(80)]
    execute = psycopg.AsyncCursor.execute

    async def lose_the_answer(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        answer = await execute(self, query, *arguments, **options)
        if query == b"COMMIT":
            self.connection.pgconn.finish()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return answer

    async def work(group: GroupCommit) -> tuple[Any, Any]:
        monkeypatch.setattr(psycopg.AsyncCursor, "execute", lose_the_answer)
        (broken,) = await all_of(group, [rows])
        monkeypatch.undo()
        (again,) = await all_of(group, [rows])
        return broken, again

    broken, again = run(address, work)
    assert isinstance(broken, errors.StorageError)
    assert "unknown" in str(broken)
    assert again == [Recorded(row.id, True) for row in rows]
    assert stored(sql) == {row.id for row in rows}


def test_a_database_that_is_away_is_said_to_each_caller(postgres: Server, author: Author) -> None:
    """Nothing hangs, and no password is shown."""
    address = Address(f"postgresql://somebody:hunter2@127.0.0.1:{postgres.port}/nowhere")
    (outcome,) = run(address, lambda group: all_of(group, [[author.row()]]))
    assert isinstance(outcome, errors.StorageError)
    assert "hunter2" not in str(outcome)


def test_closing_commits_what_waits(address: Address, sql: psycopg.Connection[Any], author: Author) -> None:
    """From another thread: what was handed in is stored and answered; later callers are told to come back."""
    rows = [author.row(f"a.n{number}") for number in range(30)]

    async def work() -> list[Any]:
        group = GroupCommit(address)
        futures = [group.submit([row]) for row in rows]
        await asyncio.to_thread(group.close)
        with pytest.raises(errors.StorageError, match="shutting down"):
            group.submit([author.row()])
        return await asyncio.gather(*futures)

    assert asyncio.run(work()) == [[Recorded(row.id, False)] for row in rows]
    assert stored(sql) == {row.id for row in rows}


def test_the_default_isolation_of_a_database_does_not_matter(
    address: Address, sql: psycopg.Connection[Any], author: Author
) -> None:
    """Where everything is serializable, a repeat that waits for the first try is a duplicate all the same."""
    name = address.url.rpartition("/")[2]
    sql.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    first, again = (author.row(idempotency_key="k", occurred_at=now() // 10**9 * 10**9) for _ in range(2))

    async def work(group: GroupCommit) -> list[Recorded]:
        await group.submit([author.row()])
        with closing(connect(address)) as holder:
            with holder.transaction():
                insert_rows(holder, [first], None)
                waiting = group.submit([again])
                await asyncio.to_thread(until_it_waits, sql)
            return await waiting

    assert run(address, work) == [Recorded(first.id, True)]
    assert len(stored(sql)) == 2


def until_it_waits(sql: psycopg.Connection[Any]) -> None:
    """Until the group's statement waits for another transaction."""
    deadline = time.monotonic() + 20
    waits = "SELECT FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
    while sql.execute(waits, (NAME,)).fetchone() is None:
        assert time.monotonic() < deadline, "the group never waited"
