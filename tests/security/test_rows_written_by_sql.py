"""Rows written by SQL, past every check: nothing stops, the rest stays readable, they are named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.core.query import parse_params
from affidavit.core.row import encode_event
from affidavit.log.reader import Reader
from affidavit.testing.conformance.suite import catch_up
from affidavit.testing.sqlite import SqliteStores
from tests.unit.log.test_sequencer import Log


class _Plain:
    """A cipher for tests that page through nothing."""

    def seal(self, content: bytes, bound: bytes) -> bytes:
        return content

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        return sealed


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


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """A store with its sequencer."""
    made = Log(tmp_path)
    yield made
    made.close()


def poison(log: Log, column: str, value: bytes) -> None:
    """Change the third of five events before it has its leaf."""
    log.record(*("acme",) * 5)
    connection = sqlite3.connect(log.path)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(f"UPDATE affidavit_events SET {column} = CAST(? AS TEXT) WHERE seq = 3", (value,))
    connection.commit()
    connection.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_everything_else_stays_readable(log: Log, name: str) -> None:
    """Pages, filters, facets, index and sequencer work on; what a reader gets is JSON with each key once."""
    column, value = HOSTILE[name]
    poison(log, column, value)
    stores: SqliteStores = log.stores
    reader = Reader(stores.events, stores.index, stores.log, _Plain())  # type: ignore[arg-type]
    for indexed in (False, True):
        page = reader.page(("acme",), parse_params([]))
        assert {event.seq for event in page.events} == {1, 2, 3, 4, 5}
        for event in page.events:
            shown = json.loads(encode_event(event), object_pairs_hook=_once)
            named = "inconsistent" in shown
            assert not named or event.seq == 3
        reader.facets(("acme",), parse_params([]))
        assert len(reader.page(("acme",), parse_params([("not_ip", "10.0.0.0/8")])).events) >= 4
        assert len(reader.page(("acme",), parse_params([("actor", "ana")])).events) >= 4
        if not indexed:
            follower = stores.follower()
            assert catch_up(follower) == 5
            follower.close()
    assert log.catch_up() == 5


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_verifier_would_take_gets_an_invalid_leaf(log: Log, name: str) -> None:
    """The sequencer and the verifier agree on what an event is, and the alarm holds nothing of its text."""
    column, value = HOSTILE[name]
    poison(log, column, value)
    log.catch_up()
    alarms = log.stores.log.alarms()
    if name == "no address":
        assert alarms == [], "the verifier does not look into addresses"
        return
    (alarm,) = alarms
    assert alarm.kind == "invalid_leaf"
    assert "\xff" not in alarm.text
    assert "critical" not in alarm.text
    assert "surrogate" not in alarm.text
