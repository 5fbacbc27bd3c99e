"""The event table only grows, whoever holds the connection, and an insert stays cheap."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS
from affidavit.storage.sqlite.database import migrate_file
from affidavit.storage.sqlite.writer import INSERT

_COLUMNS = ", ".join(COLUMNS)
_MARKS = ", ".join("?" * len(COLUMNS))
_WITH_SEQ = f"INTO affidavit_events (seq, {_COLUMNS}) VALUES (?, {_MARKS})"


def _row(number: int, action: str = "user.create") -> tuple[object, ...]:
    clear = ("org", None, action, "success", "info", "api", 0, None, None, "ana")
    return (make_id(number, 0), 1, *clear, "{}", "{}", "{}", "{}", "{}", bytes(32), None, number)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A stranger's connection to a table of three events."""
    path = tmp_path / "app.db"
    migrate_file(path)
    opened = sqlite3.connect(path, isolation_level=None)
    opened.executemany(INSERT, [_row(number) for number in (1, 2, 3)])
    yield opened
    opened.close()


def _events(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT seq, id, action FROM affidavit_events ORDER BY seq").fetchall()


@pytest.mark.parametrize("way", ["INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE", "INSERT OR ROLLBACK"])
def test_an_existing_id_is_never_filled_again(connection: sqlite3.Connection, way: str) -> None:
    """No conflict clause gets past the trigger, not even REPLACE, which deletes without a DELETE trigger."""
    before = _events(connection)
    connection.execute(f"{way} INTO affidavit_events ({_COLUMNS}) VALUES ({_MARKS})", _row(2, "user.delete"))
    assert _events(connection) == before


def test_an_upsert_changes_nothing(connection: sqlite3.Connection) -> None:
    """ON CONFLICT DO UPDATE does not come to its update."""
    before = _events(connection)
    connection.execute(
        f"INSERT INTO affidavit_events ({_COLUMNS}) VALUES ({_MARKS})"
        " ON CONFLICT (organization, id) DO UPDATE SET action = 'user.delete'",
        _row(2, "user.delete"),
    )
    assert _events(connection) == before


@pytest.mark.parametrize("way", ["INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE", "INSERT OR FAIL"])
@pytest.mark.parametrize("seq", [-5, -1, 0, 1, 2, 3, 1_004, 2**40])
def test_a_seq_of_ones_own_is_refused(connection: sqlite3.Connection, way: str, seq: int) -> None:
    """Below what was given out, taken, or so far above it that the sequence would soon end."""
    before = _events(connection)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(f"{way} {_WITH_SEQ}", (seq, *_row(9)))
    assert _events(connection) == before
    connection.execute(INSERT, _row(10))
    assert _events(connection)[-1][0] == 4


def test_a_gap_in_seq_is_allowed(connection: sqlite3.Connection) -> None:
    """Up to a thousand above the last: what OR IGNORE leaves behind is no forgery."""
    connection.execute(f"INSERT {_WITH_SEQ}", (1_003, *_row(9)))
    connection.execute(INSERT, _row(10))
    assert [event[0] for event in _events(connection)] == [1, 2, 3, 1_003, 1_004]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE affidavit_events SET action = 'user.delete' WHERE seq = 2",
        "UPDATE affidavit_events SET details = NULL, secret = NULL, remains = '{}' WHERE seq = 2",
        "DELETE FROM affidavit_events WHERE seq = 2",
        "DELETE FROM affidavit_events",
    ],
)
def test_what_stands_stays(connection: sqlite3.Connection, statement: str) -> None:
    """Without a permit nothing is changed or taken away."""
    before = _events(connection)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    assert _events(connection) == before


def test_an_insert_needs_no_statement_journal(connection: sqlite3.Connection) -> None:
    """Neither ABORT nor a function nor a table made for each row stands in the program of an INSERT."""
    program = connection.execute(f"EXPLAIN {INSERT}", _row(9)).fetchall()
    codes = {row[1] for row in program}
    assert "Program" in codes
    assert not codes & {"Function", "PureFunc", "OpenEphemeral"}
    halts = [(row[2], row[3]) for row in program if row[1] in ("Halt", "HaltIfNull") and row[2]]
    abort = 2
    assert halts
    assert all(action != abort for _, action in halts)
