"""The table of events is append-only: every way to write of a plain connection, every column."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS
from affidavit.storage.sqlite.writer import Writer
from affidavit.testing.author import NOW, Author, Clock
from affidavit.testing.sqlite import empty_database

ALL = ("seq", *COLUMNS)
FARTHEST = 1_000
"""How far a given place may lie beyond the newest one."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with three events: two of ``acme``, one of ``globex``."""
    path = tmp_path_factory.mktemp("template") / "a.db"
    empty_database(path)
    writer = Writer(path, clock=Clock())
    author = Author(Clock())
    rows = [
        author.row("a.one", project="p"),
        author.row("a.two"),
        author.row("a.three", organization="globex"),
    ]
    writer.insert(rows)
    writer.close()
    return path.read_bytes()


@pytest.fixture
def db(template: bytes, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to it, without any setting of ours."""
    (tmp_path / "a.db").write_bytes(template)
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    yield connection
    connection.close()


def rows(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """The whole table."""
    return db.execute(f"SELECT {', '.join(ALL)} FROM affidavit_events ORDER BY seq").fetchall()


def first(db: sqlite3.Connection) -> dict[str, Any]:
    """The first row by column."""
    return dict(zip(ALL, rows(db)[0], strict=True))


def insert(db: sqlite3.Connection, values: dict[str, Any], *, how: str = "INSERT", then: str = "") -> None:
    """Write a row in one of the ways of SQL."""
    columns = ", ".join(values)
    marks = ", ".join("?" * len(values))
    statement = f"{how} INTO affidavit_events ({columns}) VALUES ({marks}) {then}"
    db.execute(statement, list(values.values()))


def fresh(db: sqlite3.Connection, **changed: Any) -> dict[str, Any]:
    """A row that could be stored: a new id, no place of its own."""
    values = first(db)
    del values["seq"]
    return {**values, "id": make_id(NOW, 4711), **changed}


def allow(db: sqlite3.Connection, kind: str, *, low: bytes | None = None, high: bytes | None = None) -> None:
    """A permit for ``acme``, as erasure, expiry and pruning will make it."""
    db.execute("INSERT OR REPLACE INTO affidavit_permit VALUES ('acme', ?, 'm', ?, ?)", (kind, low, high))


HOWS = (
    *("INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE", "INSERT OR FAIL", "INSERT OR ABORT"),
    *("INSERT OR ROLLBACK", "REPLACE"),
)
"""Every way to insert."""


def test_the_columns_are_those_that_are_tested(db: sqlite3.Connection) -> None:
    """A new column of the table has to be covered here."""
    assert tuple(row[1] for row in db.execute("PRAGMA table_info(affidavit_events)")) == ALL
    assert set(UPDATES) == set(ALL)


@pytest.mark.parametrize("how", HOWS)
def test_a_new_event_goes_in_any_way(db: sqlite3.Connection, how: str) -> None:
    """Nothing of the guard stands in the way of what is allowed."""
    before = rows(db)
    insert(db, fresh(db), how=how)
    assert rows(db)[:-1] == before
    assert rows(db)[-1][0] == before[-1][0] + 1


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("recursive", [0, 1])
def test_an_existing_id_is_never_written_over(db: sqlite3.Connection, how: str, recursive: int) -> None:
    """Not by REPLACE, which deletes without a DELETE trigger; not by any other conflict clause."""
    db.execute(f"PRAGMA recursive_triggers = {recursive}")
    before = rows(db)
    insert(db, fresh(db, id=first(db)["id"], action="x.forged"), how=how)
    assert rows(db) == before


@pytest.mark.parametrize("how", HOWS)
def test_an_existing_place_is_never_written_over(db: sqlite3.Connection, how: str) -> None:
    """A new id under an old ``seq``."""
    before = rows(db)
    for row in before:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            insert(db, {"seq": row[0], **fresh(db)}, how=how)
        assert rows(db) == before


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("seq", [0, -1, -(2**63), 2**63 - 1, FARTHEST + 4, 10**15])
def test_a_place_out_of_line_is_refused(db: sqlite3.Connection, how: str, seq: int) -> None:
    """Below the first, far beyond the last, and the last that there is: no event could be stored after it."""
    before = rows(db)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        insert(db, {"seq": seq, **fresh(db)}, how=how)
    assert rows(db) == before
    insert(db, fresh(db))
    assert rows(db)[-1][0] == before[-1][0] + 1


def test_a_refused_place_leaves_nothing_of_its_transaction(db: sqlite3.Connection) -> None:
    """Whatever stood in it before; and the sequence goes on where it was."""
    before = rows(db)
    db.execute("BEGIN")
    insert(db, fresh(db, id=make_id(NOW, 1)))
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        insert(db, {"seq": 2**63 - 1, **fresh(db)})
    if db.in_transaction:
        db.execute("ROLLBACK")
    assert rows(db) == before
    insert(db, fresh(db))
    assert rows(db)[-1][0] == 4


def test_a_place_before_the_newest_is_refused_even_where_it_is_free(db: sqlite3.Connection) -> None:
    """A gap cannot be filled in later: whoever follows by place has passed it."""
    insert(db, {"seq": 10, **fresh(db)})
    for seq in (4, 9):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            insert(db, {"seq": seq, **fresh(db, id=make_id(NOW, 4712))})
    insert(db, fresh(db, id=make_id(NOW, 4713)))
    assert [row[0] for row in rows(db)] == [1, 2, 3, 10, 11]


def test_places_of_an_empty_table_are_in_line_too(tmp_path: Path) -> None:
    """Nothing at or below zero, nothing beyond a thousand."""
    empty_database(tmp_path / "b.db")
    db = sqlite3.connect(tmp_path / "b.db", isolation_level=None)
    row = Author(Clock()).row()
    values = {**dict(zip(COLUMNS, row.values, strict=False)), "recorded_at": NOW}
    for seq in (-1, 0, FARTHEST + 1, 2**63 - 1):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            insert(db, {"seq": seq, **values})
    insert(db, values)
    assert db.execute("SELECT seq FROM affidavit_events").fetchall() == [(1,)]
    db.close()


def test_many_rows_in_one_statement_are_in_line(db: sqlite3.Connection) -> None:
    """The sequence is noted at the end of a statement; 2,500 rows of one are not mistaken for a leap."""
    db.execute(
        f"INSERT INTO affidavit_events ({', '.join(COLUMNS)})"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
        f" SELECT randomblob(16), {', '.join(COLUMNS[1:])} FROM n JOIN affidavit_events ON seq = 1"
    )
    assert db.execute("SELECT count(*), max(seq) FROM affidavit_events").fetchone() == (2503, 2503)


UPDATES = {
    "seq": "seq + 5",
    "id": "randomblob(16)",
    "version": "version + 1",
    "organization": "'other'",
    "project": "'q'",
    "action": "'x.forged'",
    "outcome": "'failure'",
    "severity": "'critical'",
    "source": "'forged'",
    "imported": "1",
    "parent_id": "randomblob(16)",
    "facts": "'{}'",
    "actor_id": "'mallory'",
    "actor": "'{}'",
    "resources": "'{\"resources\":[]}'",
    "context": '\'{"ip":"10.0.0.1"}\'',
    "changes": "'{\"a\":1}'",
    "details": "'{\"a\":1}'",
    "secret": "randomblob(32)",
    "remains": "'{}'",
    "recorded_at": "recorded_at - 1",
}
"""Another value for each column."""
GROUPS = ("actor", "resources", "context", "changes", "details")
NULLS = frozenset({"actor_id", "secret", "parent_id", "facts", "remains", *GROUPS})
"""Columns that are NULL already, or that an erasure makes so; for the others NULL is another value."""


@pytest.mark.parametrize("target", ["", "(organization, id)", "(seq)"], ids=["any", "id", "seq"])
@pytest.mark.parametrize("column", ALL)
def test_an_upsert_changes_no_column(db: sqlite3.Connection, target: str, column: str) -> None:
    """``DO UPDATE`` on either key, of each column."""
    before = rows(db)
    values = fresh(db, id=first(db)["id"])
    if target == "(seq)":
        values["seq"] = before[0][0]
    with suppress(sqlite3.IntegrityError):
        insert(db, values, then=f"ON CONFLICT {target} DO UPDATE SET {column} = {UPDATES[column]}")
    assert rows(db) == before


@pytest.mark.parametrize("permit", [False, True], ids=["no permit", "permit"])
@pytest.mark.parametrize("verb", ["UPDATE", "UPDATE OR IGNORE", "UPDATE OR REPLACE", "UPDATE OR FAIL"])
@pytest.mark.parametrize("column", ALL)
def test_no_column_can_be_given_another_value(
    db: sqlite3.Connection, column: str, verb: str, permit: bool
) -> None:
    """A permit to erase allows no new value either, alone or beside an erasure."""
    if permit:
        allow(db, "erasure")
    before = rows(db)
    for change in (UPDATES[column], "NULL"):
        if change == "NULL" and column in NULLS:
            continue
        for beside in ("", ", details = NULL, secret = NULL, remains = '{}'"):
            if beside and column in ("details", "secret", "remains"):
                continue
            # IGNORE passes over a row whose NOT NULL column would become NULL, and says nothing.
            quiet = suppress(sqlite3.Error) if "IGNORE" in verb else pytest.raises(sqlite3.Error)
            with quiet:
                db.execute(f"{verb} affidavit_events SET {column} = {change}{beside} WHERE seq = 1")
            assert rows(db) == before


ERASURE = "UPDATE affidavit_events SET {columns} secret = NULL, remains = '{{}}'"


@pytest.mark.parametrize("kind", ["erasure", "expiry"])
def test_a_permit_admits_the_erasure_of_its_organization(db: sqlite3.Connection, kind: str) -> None:
    """Groups, query columns and the secret go, clear columns stay; other organizations are not touched."""
    erase = ERASURE.format(columns="actor = NULL, actor_id = NULL, details = NULL,")
    before = rows(db)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(erase)
    allow(db, kind)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(erase)
    db.execute(f"{erase} WHERE organization = 'acme'")
    for old, new in zip(before, rows(db), strict=True):
        was, now = dict(zip(ALL, old, strict=True)), dict(zip(ALL, new, strict=True))
        gone = {"actor", "actor_id", "details", "secret"} if was["organization"] == "acme" else set()
        assert {name for name in ALL if was[name] != now[name]} - {"remains"} == gone
        assert (now["remains"] == "{}") is bool(gone)
    db.execute("DELETE FROM affidavit_permit")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(f"{ERASURE.format(columns='context = NULL,')} WHERE seq = 1")


@pytest.mark.parametrize("group", GROUPS)
def test_what_was_erased_is_never_filled_again(db: sqlite3.Connection, group: str) -> None:
    """Not under the permit, not with the secret, not by sending the event again."""
    allow(db, "erasure")
    before = first(db)
    db.execute(ERASURE.format(columns=f"{group} = NULL,") + " WHERE seq = 1")
    for change, value in ((group, before[group]), ("secret", before["secret"])):
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(f"UPDATE affidavit_events SET {change} = ? WHERE seq = 1", (value,))
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(
            "UPDATE affidavit_events SET secret = ?, remains = NULL WHERE seq = 1", (before["secret"],)
        )
    insert(db, {name: before[name] for name in COLUMNS}, how="REPLACE")
    assert first(db)[group] is None


@pytest.mark.requirement("R68", "R69", "R120")
@pytest.mark.parametrize("kind", [None, "erasure", "expiry"])
def test_no_row_can_be_deleted(db: sqlite3.Connection, kind: str | None) -> None:
    """Without a permit, and with one for something else."""
    if kind is not None:
        allow(db, kind, low=b"", high=b"\xff" * 16)
    before = rows(db)
    for statement in ("DELETE FROM affidavit_events", "DELETE FROM affidavit_events WHERE seq = 1"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
    assert rows(db) == before


def test_a_permit_to_prune_deletes_its_closed_range_and_no_more(db: sqlite3.Connection) -> None:
    """Both ends are in it; other ids and organizations are not; without ends nothing is."""
    one, two, other = (row[1] for row in rows(db))
    low, high = sorted((one, two))
    allow(db, "prune")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute("DELETE FROM affidavit_events WHERE id = ?", (low,))
    allow(db, "prune", low=low, high=low)
    for id_ in (high, other):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute("DELETE FROM affidavit_events WHERE id = ?", (id_,))
    db.execute("DELETE FROM affidavit_events WHERE id = ?", (low,))
    assert sorted(row[1] for row in rows(db)) == sorted((high, other))
    newest = rows(db)[-1][0]
    insert(db, {**fresh(db), "organization": "globex"})
    assert rows(db)[-1][0] == max(newest, 3) + 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("outcome", "maybe"),
        ("severity", "fatal"),
        ("imported", 2),
        ("id", "a text"),
        ("id", b""),
        ("secret", "a text"),
        ("secret", b""),
        ("secret", None),
        ("remains", "{}"),
        ("action", None),
        ("organization", None),
        ("recorded_at", None),
        ("version", None),
        ("source", None),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(db: sqlite3.Connection, column: str, value: object) -> None:
    """Whoever writes it, and in whatever way."""
    before = rows(db)
    for how in HOWS:
        with suppress(sqlite3.IntegrityError) if "IGNORE" in how else pytest.raises(sqlite3.IntegrityError):
            insert(db, fresh(db, **{column: value}), how=how)
        assert rows(db) == before
