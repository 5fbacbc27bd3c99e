"""The table of events is append-only on PostgreSQL: every way to write of SQL, every column, every partition.

The connection is that of a superuser, whom no grant stops: what refuses him here are the triggers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias
from uuid import UUID

import psycopg
import pytest
from psycopg import errors as pg

from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS
from affidavit.storage.postgres.connect import Address, connect
from affidavit.storage.postgres.writer import insert_rows
from affidavit.testing.author import Author, Clock
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import Server

Db: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
GROUPS = ("actor", "resources", "context", "changes", "details")
DAY = 86_400_000_000
LONG_AGO = 1_100_000_000_000_000
"""2004: a month that nobody has made, so that the event stands in the default partition."""
UPDATES = {
    "id": "gen_random_uuid()",
    "version": "version + 1",
    "organization": "'other'",
    "project": "'q'",
    "action": "'x.forged'",
    "outcome": "'failure'",
    "severity": "'critical'",
    "source": "'forged'",
    "imported": "true",
    "parent_id": "gen_random_uuid()",
    "facts": "'{}'",
    "actor_id": "'mallory'",
    "actor": "'{}'",
    "resources": "'{\"resources\":[]}'",
    "context": '\'{"ip":"10.0.0.1"}\'',
    "changes": "'{\"a\":1}'",
    "details": "'{\"a\":1}'",
    "secret": "sha256('other')",
    "remains": "'{}'",
    "recorded_at": "recorded_at - 1",
}
"""Another value for each column."""
NULLS = frozenset({"actor_id", "secret", "parent_id", "facts", "remains", *GROUPS})
"""Columns that are NULL already, or that an erasure makes so; for the others NULL is another value."""
REFUSED = (pg.RestrictViolation, pg.NotNullViolation, pg.CheckViolation)


@pytest.fixture(scope="module")
def database(postgres: Server) -> Iterator[str]:
    """A database with events of ``acme`` and ``globex``, two of them in the default partition."""
    engine = PostgresEngine(postgres, clock=Clock())
    url = engine.create()
    author = Author(Clock())
    session = connect(Address(url))
    rows = [
        author.row("a.one", project="p"),
        author.row("a.two"),
        author.row("a.three", organization="globex"),
        author.row("a.old", occurred_at=LONG_AGO),
    ]
    with session.transaction():
        insert_rows(session, rows, None)
        insert_rows(session, [author.row("a.now", occurred_at=LONG_AGO + 7 * DAY)], None)
    session.close()
    yield url
    engine.close()


@pytest.fixture
def db(database: str) -> Iterator[Db]:
    """A transaction on it that is rolled back."""
    with psycopg.connect(database) as connection:
        yield connection
        connection.rollback()


def rows(db: Db) -> list[tuple[Any, ...]]:
    """The whole table."""
    return db.execute(
        f"SELECT {', '.join(COLUMNS)} FROM affidavit_events ORDER BY organization, id".encode()
    ).fetchall()


def parts(db: Db) -> list[str]:
    """The table and each of its partitions."""
    found = db.execute("SELECT relid::text FROM pg_partition_tree('affidavit_events') ORDER BY 1").fetchall()
    return [name for (name,) in found]


def refused(db: Db, statement: str, *values: Any) -> None:
    """The statement fails and changes nothing."""
    before = rows(db)
    with pytest.raises(REFUSED), db.transaction():
        db.execute(statement.encode(), values or None)
    assert rows(db) == before


def strictly_refused(db: Db, statement: str, *values: Any) -> None:
    """The same, and it is the table's own rule that refuses."""
    before = rows(db)
    with pytest.raises(pg.RestrictViolation, match="append-only"), db.transaction():
        db.execute(statement.encode(), values or None)
    assert rows(db) == before


def allow(db: Db, kind: str, organization: str = "acme", low: Any = None, high: Any = None) -> None:
    """A permit, as erasure, expiry and pruning make it."""
    db.execute("INSERT INTO affidavit_permit VALUES (%s, %s, 'm', %s, %s)", (organization, kind, low, high))


def test_the_columns_are_those_that_are_tested(db: Db) -> None:
    """A new column of the table has to be covered here."""
    found = db.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'affidavit_events'::regclass AND attnum > 0"
        " ORDER BY attnum"
    ).fetchall()
    assert tuple(name for (name,) in found) == COLUMNS
    assert set(UPDATES) == set(COLUMNS)
    assert len(parts(db)) >= 3, "the table, the default partition and a month at least"


@pytest.mark.parametrize("permit", [None, "erasure", "expiry", "prune"])
@pytest.mark.parametrize("column", COLUMNS)
def test_no_column_can_be_given_another_value(db: Db, column: str, permit: str | None) -> None:
    """A permit allows no new value either, alone or beside an erasure; nor does a partition by itself."""
    if permit is not None:
        allow(db, permit, low=UUID(int=0), high=UUID(int=(1 << 128) - 1))
    for change in (UPDATES[column], "NULL"):
        if change == "NULL" and column in NULLS:
            continue
        for beside in ("", ", details = NULL, secret = NULL, remains = '{}'"):
            if beside and column in ("details", "secret", "remains"):
                continue
            refused(
                db, f"UPDATE affidavit_events SET {column} = {change}{beside} WHERE organization = 'acme'"
            )
    where = "WHERE organization = 'acme'"
    refused(db, f"UPDATE affidavit_events_default SET {column} = {UPDATES[column]} {where}")


@pytest.mark.parametrize("column", COLUMNS)
def test_an_upsert_and_a_merge_change_no_column(db: Db, column: str) -> None:
    """``ON CONFLICT DO UPDATE`` and ``MERGE``, of each column."""
    names = ", ".join(COLUMNS)
    strictly_refused(
        db,
        f"INSERT INTO affidavit_events SELECT {names} FROM affidavit_events LIMIT 1"
        f" ON CONFLICT (organization, id) DO UPDATE SET {column} = "
        + UPDATES[column]
        .replace("version +", "affidavit_events.version +")
        .replace("recorded_at -", "affidavit_events.recorded_at -"),
    )
    strictly_refused(
        db,
        "MERGE INTO affidavit_events e USING (SELECT organization AS o, id AS i FROM affidavit_events) s"
        f" ON e.organization = s.o AND e.id = s.i WHEN MATCHED THEN UPDATE SET {column} = {UPDATES[column]}",
    )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM affidavit_events",
        "DELETE FROM ONLY affidavit_events_default",
        "DELETE FROM affidavit_events e USING affidavit_meta m WHERE e.organization = 'acme'",
        "WITH gone AS (DELETE FROM affidavit_events RETURNING id) SELECT FROM gone",
        "MERGE INTO affidavit_events e USING affidavit_meta m ON true WHEN MATCHED THEN DELETE",
        "WITH moved AS (DELETE FROM affidavit_events_default RETURNING *) INSERT INTO affidavit_events"
        " SELECT * FROM moved",
    ],
)
@pytest.mark.parametrize("permit", [None, "erasure", "expiry", "move"])
@pytest.mark.requirement("R68", "R69", "R120")
def test_no_row_can_be_deleted(db: Db, statement: str, permit: str | None) -> None:
    """Without a permit, and with one for something else: to move lets go what stands in its month, too."""
    if permit is not None:
        allow(db, permit, "*" if permit == "move" else "acme")
    strictly_refused(db, statement)


def test_no_partition_can_be_truncated(db: Db) -> None:
    """Not the table, not one of its partitions, not together with others; under a permit neither."""
    for permit in (None, "prune"):
        if permit is not None:
            allow(db, permit, low=UUID(int=0), high=UUID(int=(1 << 128) - 1))
        for part in parts(db):
            for how in ("", " CASCADE", ", affidavit_meta", " RESTART IDENTITY"):
                strictly_refused(db, f"TRUNCATE {part}{how}")


def test_a_cursor_changes_nothing(db: Db) -> None:
    """``WHERE CURRENT OF``."""
    for statement in (
        "UPDATE affidavit_events_default SET action = 'x.forged'",
        "DELETE FROM affidavit_events_default",
    ):
        with db.transaction():
            db.execute("DECLARE one CURSOR FOR SELECT * FROM affidavit_events_default FOR UPDATE")
            db.execute("FETCH one")
            strictly_refused(db, f"{statement} WHERE CURRENT OF one")
            db.execute("CLOSE one")


ERASURE = "UPDATE affidavit_events SET {columns} secret = NULL, remains = '{{}}'"


@pytest.mark.parametrize("kind", ["erasure", "expiry"])
def test_a_permit_admits_the_erasure_of_its_organization(db: Db, kind: str) -> None:
    """Groups, query columns and the secret go, clear columns stay; other organizations are not touched."""
    erase = ERASURE.format(columns="actor = NULL, actor_id = NULL, details = NULL,")
    before = rows(db)
    strictly_refused(db, erase)
    allow(db, kind)
    strictly_refused(db, erase)
    db.execute(f"{erase} WHERE organization = 'acme'".encode())
    for old, new in zip(before, rows(db), strict=True):
        was, now = dict(zip(COLUMNS, old, strict=True)), dict(zip(COLUMNS, new, strict=True))
        gone = {"actor", "actor_id", "details", "secret"} if was["organization"] == "acme" else set()
        assert {name for name in COLUMNS if was[name] != now[name]} - {"remains"} == gone
    db.execute("DELETE FROM affidavit_permit")
    strictly_refused(db, f"{ERASURE.format(columns='context = NULL,')} WHERE organization = 'acme'")


@pytest.mark.parametrize("group", GROUPS)
def test_what_was_erased_is_never_filled_again(db: Db, group: str) -> None:
    """Not under the permit, not with the secret, not by sending the event again."""
    allow(db, "erasure")
    ((event_id, text, secret),) = db.execute(
        f"SELECT id, {group}, secret FROM affidavit_events WHERE action = 'a.one'".encode()
    ).fetchall()
    db.execute((ERASURE.format(columns=f"{group} = NULL,") + " WHERE action = 'a.one'").encode())
    refused(db, f"UPDATE affidavit_events SET {group} = %s WHERE id = %s", text, event_id)
    refused(db, "UPDATE affidavit_events SET secret = %s, remains = NULL WHERE id = %s", secret, event_id)


def test_a_permit_to_prune_deletes_its_closed_range_and_no_more(db: Db) -> None:
    """Both ends are in it; other ids and organizations are not; without ends nothing is."""
    ids = {action: (organization, event_id) for event_id, _, organization, _, action, *_ in rows(db)}
    one, two = sorted((ids["a.one"][1], ids["a.two"][1]))
    allow(db, "prune")
    strictly_refused(db, "DELETE FROM affidavit_events WHERE id = %s", one)
    db.execute("UPDATE affidavit_permit SET from_id = %s, to_id = %s", (one, one))
    for other in (two, ids["a.three"][1], ids["a.old"][1]):
        strictly_refused(db, "DELETE FROM affidavit_events WHERE id = %s", other)
    assert db.execute("DELETE FROM affidavit_events WHERE id = %s", (one,)).rowcount == 1
    assert db.execute("UPDATE affidavit_permit SET from_id = %s, to_id = %s", (one, two)).rowcount == 1
    strictly_refused(db, "DELETE FROM affidavit_events WHERE organization = 'globex'")
    assert db.execute("DELETE FROM affidavit_events WHERE id = %s", (two,)).rowcount == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("outcome", "maybe"),
        ("severity", "fatal"),
        ("secret", b""),
        ("secret", None),
        ("remains", "{}"),
        *(
            (column, None)
            for column in ("action", "organization", "recorded_at", "version", "source", "imported")
        ),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(db: Db, column: str, value: object) -> None:
    """Whoever writes it, by INSERT and by COPY."""
    before = rows(db)
    ((*first,),) = db.execute(
        f"SELECT {', '.join(COLUMNS)} FROM affidavit_events WHERE action = 'a.one'".encode()
    ).fetchall()
    first[COLUMNS.index("id")] = UUID(bytes=make_id(Clock()(), 4711))
    first[COLUMNS.index(column)] = value
    marks = ", ".join(["%s"] * len(first))
    with pytest.raises((pg.NotNullViolation, pg.CheckViolation)), db.transaction():
        db.execute(f"INSERT INTO affidavit_events VALUES ({marks})".encode(), first)
    copying = db.cursor().copy("COPY affidavit_events FROM STDIN")
    with pytest.raises((pg.NotNullViolation, pg.CheckViolation)), db.transaction(), copying as copy:
        copy.write_row(first)
    assert rows(db) == before


def test_a_server_cannot_switch_the_triggers_off(database: str, postgres: Server) -> None:
    """The role that records may not disable a trigger, replace its function, or say that it replicates."""
    with psycopg.connect(database) as db:
        db.execute("SET ROLE affidavit_server")
        for statement in (
            "ALTER TABLE affidavit_events DISABLE TRIGGER ALL",
            "DROP TRIGGER affidavit_events_keep ON affidavit_events",
            "SET session_replication_role = replica",
            "CREATE OR REPLACE FUNCTION affidavit_events_keep() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RETURN NEW; END'",
            "ALTER TABLE affidavit_events DETACH PARTITION affidavit_events_default",
            "DROP TABLE affidavit_events",
            "TRUNCATE affidavit_events_default",
            "CREATE RULE quiet AS ON INSERT TO affidavit_events DO INSTEAD NOTHING",
        ):
            with pytest.raises(pg.InsufficientPrivilege), db.transaction():
                db.execute(statement.encode())
        db.rollback()
