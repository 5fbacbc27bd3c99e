"""Rows written by SQL, past every check: nothing stops, the rest stays readable, they are named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from affidavit.core.query import parse_params
from affidavit.core.row import StoredEvent, encode_event
from affidavit.log.reader import Reader
from affidavit.log.sequencer import Sequencer
from affidavit.testing.author import Author, Clock
from affidavit.testing.conformance.suite import catch_up
from affidavit.testing.postgres import PostgresEngine
from affidavit.testing.sqlite import SqliteEngine
from tests.evidence import NoCipher

HOSTILE = {
    "not JSON": ("details", b"{"),
    "not an object": ("details", b"[]"),
    "not UTF-8": ("details", b'{"metadata":{"x":"\xff"}}'),
    "a key twice": ("details", b'{"reason":"a","reason":"b"}'),
    "a key twice, once escaped": ("details", b'{"reason":"a","r\\u0065ason":"b"}'),
    "a field of another group": ("details", b'{"ip":"1.2.3.4"}'),
    "a clear field": ("details", b'{"action":"user.delete"}'),
    "a wrong type": ("context", b'{"location":"Berlin"}'),
    "a wrong type within": ("actor", b'{"actor":{"id":7,"type":"user"}}'),
    "a resource that is a number": ("resources", b'{"resources":[1]}'),
    "no address": ("context", b'{"ip":"nowhere"}'),
    "too deep": ("details", b'{"metadata":' + b'{"a":' * 100 + b"1" + b"}" * 101),
    "white space before": ("details", b' {"reason":"a"}'),
    "a lone surrogate": ("details", b'{"reason":"\\ud800"}'),
    "a huge number": ("details", b'{"metadata":{"n":' + b"1" * 5000 + b"}}"),
    "an action with quotes": ("action", b'a.b","severity":"critical'),
    "an action with a line": ("action", b"a.b\n{"),
    "facts that are none": ("facts", b'{"policy":"x"}\n'),
    "facts with a list": ("facts", b'{"policy":[]}'),
}
POISONED = 2
"""Which of the five events."""


class Store:
    """Five events that wait for their leaf, of which SQL has made one into something else."""

    def __init__(self, engine: SqliteEngine | PostgresEngine) -> None:
        self.clock = Clock()
        self.engine = engine
        self.database = engine.create()
        self.stores: Any = engine.open(self.database)
        author = Author(self.clock)
        rows = [author.row(organization="acme") for _ in range(5)]
        self.ids = [row.id for row in rows]
        self.stores.events.insert(rows)
        self.writer = self.stores.log_side()
        numbers = iter(range(1, 1_000))
        self.sequencer = Sequencer(
            self.writer,
            self.writer,
            self.writer,
            host="log.example",
            clock=self.clock,
            entropy=lambda size: next(numbers).to_bytes(size, "big"),
        )

    def poison(self, column: str, value: bytes) -> None:
        """Change the third event, as somebody with every right does it."""
        if isinstance(self.engine, SqliteEngine):
            with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
                connection.execute("PRAGMA ignore_check_constraints = ON")
                triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
                for (name,) in connection.execute(triggers).fetchall():
                    connection.execute(f"DROP TRIGGER {name}")
                statement = f"UPDATE affidavit_events SET {column} = CAST(? AS TEXT) WHERE id = ?"
                assert connection.execute(statement, (value, self.ids[POISONED])).rowcount == 1
            return
        with psycopg.connect(self.database) as connected:
            connected.execute("SET LOCAL session_replication_role = replica")
            statement = f"UPDATE affidavit_events SET {column} = convert_from(%s, 'UTF8') WHERE id = %s"
            changed = connected.execute(statement.encode(), (value, UUID(bytes=self.ids[POISONED])))
            assert changed.rowcount == 1

    def sequence(self) -> int:
        """Give everything its leaf."""
        total = 0
        while taken := self.sequencer.step():
            total += taken
        return total

    def close(self) -> None:
        self.writer.close()
        self.engine.close()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store on either engine."""
    if request.param == "sqlite":
        made = Store(SqliteEngine(tmp_path, clock=Clock()))
    else:
        made = Store(PostgresEngine(request.getfixturevalue("postgres"), clock=Clock()))
    yield made
    made.close()


def poisoned(store: Store, name: str) -> bool:
    """Whether the engine takes such a text at all."""
    column, value = HOSTILE[name]
    if name == "not UTF-8" and isinstance(store.engine, PostgresEngine):
        with pytest.raises(psycopg.errors.CharacterNotInRepertoire):
            store.poison(column, value)
        return False
    store.poison(column, value)
    return True


@pytest.mark.parametrize("name", HOSTILE)
def test_everything_else_stays_readable(store: Store, name: str) -> None:
    """Pages, filters, facets, index and sequencer work on; what a reader gets is JSON with each key once.

    What no verifier would take gets an invalid leaf.
    """
    taken = poisoned(store, name)
    stores = store.stores
    reader = Reader(stores.events, stores.index, stores.log, NoCipher())
    for indexed in (False, True):
        if indexed:
            assert store.sequence() == 5
            if taken:
                _alarmed(store, name)
            follower = stores.follower()
            assert catch_up(follower) == 5
            follower.close()
        events = _all(reader)
        assert {event.id for event in events} == set(store.ids)
        for event in events:
            shown = json.loads(encode_event(event), object_pairs_hook=_once)
            named = "inconsistent" in shown
            assert not named or event.id == store.ids[POISONED]
        reader.facets(("acme",), parse_params([]))
        assert len(_all(reader, ("not_ip", "10.0.0.0/8"))) >= 4
        assert len(_all(reader, ("actor", "ana"))) >= 4


def _all(reader: Reader, *filters: tuple[str, str]) -> list[StoredEvent]:
    """The events of all pages: one may come short of time."""
    found: list[StoredEvent] = []
    token = None
    while True:
        page = reader.page(("acme",), parse_params(filters), token=token)
        found += page.events
        token = page.continuation_token
        if token is None:
            return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def _alarmed(store: Store, name: str) -> None:
    """The sequencer and the verifier agree on what an event is, and the alarm holds nothing of its text."""
    alarms = store.stores.log.alarms()
    if name == "no address":
        assert alarms == [], "the verifier does not look into addresses"
        return
    (alarm,) = alarms
    assert alarm.kind == "invalid_leaf"
    assert "\xff" not in alarm.text
    assert "critical" not in alarm.text
    assert "surrogate" not in alarm.text
