"""How batches go in: by COPY or as one statement, the same bytes either way, and repeats in any order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest

from affidavit.core.event import Actor, Change
from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS, Recorded, Row
from affidavit.errors import IdConflict, StorageError
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.postgres.events import PostgresEvents
from affidavit.storage.postgres.writer import FEW
from affidavit.testing.author import Author, draft
from affidavit.testing.conformance.suite import at_once
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import VERSIONS, Server

MANY = FEW + 30
HOSTILE = (
    "\\", "\\N", "\\.", "\\x41", "\\t", "\t", "\n", "\r", "\r\n", "\x01\x02\x1f\x7f", "\\\\\t\\", "'", '"',
    "%s", "?", "{}", "a,b", "\u2028\u00a0\ufeff", "😀", "\\\n.", "NULL", "", " ",
)  # fmt: skip
"""What COPY, SQL or psycopg could take for something else."""


@pytest.fixture(scope="module", params=VERSIONS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of each version."""
    server: Server = request.getfixturevalue(f"postgres{request.param}")
    engine = PostgresEngine(server, clock=None)
    yield engine.create()
    engine.close()


@pytest.fixture
def events(url: str) -> Iterator[PostgresEvents]:
    """The store."""
    database = PostgresDatabase(Address(url))
    yield PostgresEvents(database)
    database.close()


@pytest.fixture
def author() -> Author:
    """Makes rows, other ones in each test."""
    return Author(now, seed=time.time_ns())


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def hostile_rows(author: Author, count: int) -> list[Row]:
    """Rows with hostile text in every place that takes text."""
    random = Random(count)

    def text() -> str:
        return random.choice(HOSTILE) + random.choice(HOSTILE)

    return [
        author.row(
            "a.b",
            actor=Actor(type="user", id=text() or "x", name=text(), email=text()),
            user_agent=text(),
            changes={text(): Change(old=text(), new=[text(), {text(): None}])},
            metadata={text(): text(), "n": 10**30},
            reason=text(),
            project=random.choice((None, "p")),
            parent_id=random.choice((None, UUID(bytes=make_id(now(), 3)))),
            imported=random.random() < 0.5,
        )
        for _ in range(count)
    ]


def read(events: PostgresEvents, rows: list[Row]) -> dict[bytes, tuple[Any, ...]]:
    """What stands there of these rows, by id."""
    found = events.fetch("acme", [row.id for row in rows])
    return {event.id: event.values for event in found}


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 400])
def test_what_goes_in_comes_out_to_the_byte(events: PostgresEvents, author: Author, count: int) -> None:
    """Whatever the texts hold, on both ways; recorded_at is the database's clock or the row's own."""
    rows = hostile_rows(author, count)
    rows[0] = msgspec.structs.replace(rows[0], recorded_at=77)
    before = now()
    assert events.insert(rows) == [Recorded(row.id, False) for row in rows]
    stored = read(events, rows)
    for number, row in enumerate(rows):
        *values, recorded_at = stored[row.id]
        assert tuple(values) == row.values
        assert recorded_at == 77 if number == 0 else before - 1_000_000 < recorded_at < now() + 1_000_000
    assert set(dict(zip(COLUMNS, row.values, strict=False))) == set(COLUMNS[:-1])


def test_facts_go_in_by_both_ways(events: PostgresEvents, author: Author) -> None:
    """The one text that only the product writes."""
    for count in (1, MANY):
        rows = [author.row(f"a.n{number}") for number in range(count)]
        at = COLUMNS.index("facts")
        facts = '{"note":"a\\\\b\\n"}'
        rows = [
            msgspec.structs.replace(row, values=(*row.values[:at], facts, *row.values[at + 1 :]))
            for row in rows
        ]
        events.insert(rows)
        assert {values[at] for values in read(events, rows).values()} == {facts}


def keyed(author: Author, count: int, name: str, **fields: Any) -> list[Row]:
    """Rows that are named by key and time."""
    moment = 1_000 * (now() // 1_000_000_000) * 1_000_000
    said = [
        draft("a.b", idempotency_key=f"{name}-{number}", occurred_at=moment + number, **fields)
        for number in range(count)
    ]
    return author.rows(*said)


@pytest.mark.parametrize("count", [FEW, MANY, 1_000])
def test_a_batch_sent_again_is_all_duplicates(events: PostgresEvents, author: Author, count: int) -> None:
    """In any order, and half of it new: what is new is said event by event."""
    name = f"again-{count}-{now()}"
    rows, others = keyed(author, count, name), keyed(author, count, f"{name}-other")
    assert events.insert(rows[::2]) == [Recorded(row.id, False) for row in rows[::2]]
    mixed = [*reversed(rows), *others[: 1_000 - count]]
    expected = [Recorded(row.id, row in rows[::2]) for row in mixed]
    assert events.insert(mixed) == expected
    assert events.insert(mixed) == [Recorded(row.id, True) for row in mixed]


@pytest.mark.parametrize("count", [FEW, MANY])
def test_one_conflict_refuses_a_large_batch(events: PostgresEvents, author: Author, count: int) -> None:
    """Nothing of it is stored, on both ways."""
    name = f"conflict-{count}-{now()}"
    rows = keyed(author, count, name)
    events.insert(rows[5:6])
    other = keyed(author, count, name, reason="other")
    with pytest.raises(IdConflict):
        events.insert([*rows[:5], other[5], *rows[6:]])
    assert set(read(events, rows)) == {rows[5].id}


def test_batches_with_the_same_events_in_opposite_orders(url: str, author: Author) -> None:
    """Sent at once, again and again: none waits for the other for ever, each event is new for one of them."""
    databases = [PostgresDatabase(Address(url)) for _ in range(2)]
    stores = [PostgresEvents(database) for database in databases]
    try:
        for turn in range(4):
            rows = keyed(author, 300, f"opposite-{turn}-{now()}")
            answers = at_once(
                partial(stores[0].insert, rows), partial(stores[1].insert, list(reversed(rows)))
            )
            assert all(isinstance(answer, list) for answer in answers), answers
            duplicates = [
                {recorded.id for recorded in answer if recorded.duplicate}
                for answer in answers
                if isinstance(answer, list)
            ]
            assert duplicates[0] | duplicates[1] == {row.id for row in rows}
            assert duplicates[0] & duplicates[1] == set()
    finally:
        for database in databases:
            database.close()


@pytest.mark.parametrize("count", [1, MANY])
def test_a_random_id_that_exists_is_no_duplicate(events: PostgresEvents, author: Author, count: int) -> None:
    """Nobody named the event, so it was not sent before: the batch is refused and may be sent again."""
    rows = [author.row("a.b") for _ in range(count)]
    events.insert(rows[:1])
    with pytest.raises(StorageError):
        events.insert(rows)
    assert set(read(events, rows)) == {rows[0].id}


def test_a_mark_has_its_place_when_everything_before_it_has(events: PostgresEvents, url: str) -> None:
    """Not while an event that was committed before the mark waits; later ones do not matter."""
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute("DELETE FROM affidavit_pending")
        assert events.place_of(events.mark()) == events.last_seq()
        author = Author(now, seed=time.time_ns())
        events.insert([author.row("a.b")])
        mark = events.mark()
        events.insert([author.row("a.c")])
        assert events.place_of(mark) is None
        sql.execute("DELETE FROM affidavit_pending WHERE seq <= %s", (mark,))
        assert events.place_of(mark) == events.last_seq()
        assert events.place_of(events.mark()) is None


def test_a_commit_that_is_not_answered_is_unknown(
    events: PostgresEvents, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost after the commit was sent: the error says so, and a repeat is a duplicate."""
    rows = keyed(author, 3, f"unknown-{now()}")
    leave = psycopg.Transaction.__exit__

    def lose_the_answer(self: Any, *failure: Any) -> bool:
        leave(self, *failure)
        self.connection.pgconn.finish()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Transaction, "__exit__", lose_the_answer)
        with pytest.raises(StorageError, match="unknown"):
            events.insert(rows)
    assert events.insert(rows) == [Recorded(row.id, True) for row in rows]
