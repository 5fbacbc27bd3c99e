"""The event table on PostgreSQL is append-only: every way to write, column, partition and role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors as pg

from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import VERSIONS, Server

ACTOR = '{"actor":{"id":"ana","type":"user"}}'
DEFAULT = "affidavit_events_default"
ALL = ", ".join(COLUMNS)
REMAINS = '{"actor":{"digest":"00"}}'


class Table:
    """A database with two events of ``acme`` in their month, and one each of ``acme`` and ``globex`` in none.

    Attributes:
        sql: a connection as a superuser.
        month: the partition of this month.
    """

    def __init__(self, url: str) -> None:
        self.sql = psycopg.connect(url, autocommit=True)
        now = datetime.now(UTC)
        self.month = f"affidavit_events_{now:%Y%m}"
        old = now - timedelta(days=40)
        homes = (("acme", now), ("acme", now), ("acme", old), ("globex", old))
        self.ids = [
            UUID(bytes=make_id(int(at.timestamp() * 1_000_000), number))
            for number, (_, at) in enumerate(homes)
        ]
        for event_id, (organization, _) in zip(self.ids, homes, strict=True):
            self.sql.execute(
                "INSERT INTO affidavit_events (id, version, organization, project, action, outcome, severity,"
                " source, imported, actor_id, actor, resources, context, changes, details, secret)"
                " VALUES (%s, 1, %s, 'p', 'a.b', 'success', 'info', 'api', false, 'ana', %s, '{}', '{}',"
                " '{}', '{}', %s)",
                (event_id, organization, ACTOR, bytes(32)),
            )
        assert self.partitions() == [self.month, self.month, DEFAULT, DEFAULT]

    def rows(self) -> list[tuple[Any, ...]]:
        """The whole table, with the partition of each row."""
        statement = f"SELECT tableoid, {ALL} FROM affidavit_events ORDER BY organization, id"
        return self.sql.execute(statement).fetchall()

    def partitions(self) -> list[str]:
        """Where the four events stand."""
        found = self.sql.execute(
            "SELECT e.tableoid::regclass::text FROM unnest(%s) WITH ORDINALITY u (id, n)"
            " JOIN affidavit_events e USING (id) ORDER BY n",
            (self.ids,),
        )
        return [name for (name,) in found]


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each version in turn."""
    found: Server = request.getfixturevalue(f"postgres{request.param}")
    return found


@pytest.fixture(scope="module")
def table(server: Server) -> Iterator[Table]:
    """Such a database, for tests that change nothing."""
    yield from new_table(server)


@pytest.fixture
def fresh(server: Server) -> Iterator[Table]:
    """Such a database of the test's own."""
    yield from new_table(server)


def new_table(server: Server) -> Iterator[Table]:
    """Such a database, dropped in the end."""
    engine = PostgresEngine(server, clock=None)
    made = Table(engine.create())
    yield made
    made.sql.close()
    engine.close()


OTHER: dict[str, str] = {
    "id": "gen_random_uuid()",
    "version": "2",
    "organization": "'globex'",
    "project": "NULL",
    "action": "'a.c'",
    "outcome": "'failure'",
    "severity": "'critical'",
    "source": "'web'",
    "imported": "true",
    "parent_id": "gen_random_uuid()",
    "facts": "'{}'",
    "actor_id": "'bob'",
    "actor": "'{}'",
    "resources": "'{} '",
    "context": "NULL",
    "changes": "NULL",
    "details": "NULL",
    "secret": "sha256('x')",
    "remains": "'{}'",
    "recorded_at": "0",
}
"""Another value for each column."""


def test_no_column_can_be_updated(table: Table) -> None:
    """Not through the table, not in a partition, not to itself."""
    assert set(OTHER) == set(COLUMNS)
    before = table.rows()
    for name in ("affidavit_events", table.month, DEFAULT):
        for column, value in (*OTHER.items(), ("id", "id"), ("secret", "NULL, remains = '{}'")):
            with pytest.raises((pg.RestrictViolation, pg.CheckViolation)):
                table.sql.execute(f"UPDATE {name} SET {column} = {value}")
    assert table.rows() == before


ATTACKS = {
    "delete": "DELETE FROM affidavit_events",
    "delete of one": "DELETE FROM affidavit_events WHERE organization = 'globex'",
    "delete in the month": "DELETE FROM {month}",
    "delete in the default partition": "DELETE FROM affidavit_events_default",
    "truncate": "TRUNCATE affidavit_events",
    "truncate of the month": "TRUNCATE {month}",
    "truncate of the default partition": "TRUNCATE affidavit_events_default",
    "truncate, cascading": "TRUNCATE affidavit_events CASCADE",
    "truncate of several": "TRUNCATE affidavit_meta, affidavit_pending, affidavit_events",
    "upsert": (
        "INSERT INTO affidavit_events SELECT * FROM affidavit_events LIMIT 1"
        " ON CONFLICT (organization, id) DO UPDATE SET action = 'a.c'"
    ),
    "merge": (
        "MERGE INTO affidavit_events e USING affidavit_events s ON e.id = s.id"
        " WHEN MATCHED THEN UPDATE SET action = 'a.c'"
    ),
    "merge that deletes": (
        "MERGE INTO affidavit_events e USING affidavit_events s ON e.id = s.id WHEN MATCHED THEN DELETE"
    ),
    "insert of an existing id": "INSERT INTO affidavit_events SELECT * FROM affidavit_events LIMIT 1",
    "insert of one into its partition": "INSERT INTO {month} SELECT * FROM {month} LIMIT 1",
    "update with a join": (
        "UPDATE affidavit_events e SET action = 'a.c' FROM affidavit_meta m WHERE m.key IS NOT NULL"
    ),
    "delete in a WITH": "WITH gone AS (DELETE FROM affidavit_events RETURNING *) SELECT count(*) FROM gone",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_superuser_is_refused_by_the_table_itself(table: Table, attack: str) -> None:
    """Whoever it is: rights do not matter here."""
    before = table.rows()
    with pytest.raises((pg.RestrictViolation, pg.UniqueViolation)):
        table.sql.execute(ATTACKS[attack].format(month=table.month))
    assert table.rows() == before


def test_copy_of_an_existing_id_is_refused(table: Table) -> None:
    """With other content under it; the row that stands there stays."""
    before = table.rows()
    columns = "id, version, organization, action, outcome, severity, source, imported, secret"
    line = f"{table.ids[0]}\t1\tacme\ta.b\tsuccess\tinfo\tweb\tf\t\\\\x{'00' * 32}\n"
    with (
        pytest.raises(pg.UniqueViolation),
        table.sql.cursor().copy(f"COPY affidavit_events ({columns}) FROM STDIN") as copy,
    ):
        copy.write(line)
    assert table.rows() == before


@pytest.mark.parametrize("name", ["affidavit_events", DEFAULT, "the month"])
@pytest.mark.parametrize("role", ["affidavit_server", "affidavit_writer", "affidavit_reader"])
def test_no_role_of_ours_can_take_the_guard_away(table: Table, role: str, name: str) -> None:
    """Triggers, partitions, rules, rights, TRUNCATE: all of that is the owner's."""
    name = table.month if name == "the month" else name
    rights = "SELECT array_agg(relacl::text ORDER BY oid) FROM pg_class WHERE relname LIKE 'affidavit%'"
    before = table.rows(), table.sql.execute(rights).fetchall()
    table.sql.execute(f"SET ROLE {role}")
    for statement in (
        f"ALTER TABLE {name} DISABLE TRIGGER ALL",
        f"ALTER TABLE {name} DISABLE TRIGGER affidavit_events_keep",
        f"DROP TRIGGER affidavit_events_keep ON {name}",
        f"DROP TABLE {name} CASCADE",
        f"TRUNCATE {name}",
        f"ALTER TABLE {name} RENAME TO gone",
        f"ALTER TABLE {name} OWNER TO {role}",
        f"CREATE RULE r AS ON INSERT TO {name} DO INSTEAD NOTHING",
        f"CREATE TRIGGER t BEFORE INSERT ON {name} EXECUTE FUNCTION affidavit_events_keep()",
        f"ALTER TABLE affidavit_events DETACH PARTITION {table.month}",
        "DROP FUNCTION affidavit_events_keep() CASCADE",
        "ALTER FUNCTION affidavit_events_keep() RENAME TO gone",
        "SET session_replication_role = replica",
        "DROP INDEX affidavit_events_id",
    ):
        with pytest.raises(pg.InsufficientPrivilege):
            table.sql.execute(statement)
    with suppress(pg.InsufficientPrivilege):  # for some roles only a warning
        table.sql.execute(f"GRANT ALL ON {name} TO PUBLIC")
    table.sql.execute("RESET ROLE")
    assert (table.rows(), table.sql.execute(rights).fetchall()) == before


def test_the_server_inserts_and_cannot_change(table: Table) -> None:
    """It has DELETE and UPDATE for erasure and pruning: without a permit the table refuses them."""
    before = table.rows()
    table.sql.execute("SET ROLE affidavit_server")
    for statement in (
        "DELETE FROM affidavit_events",
        "UPDATE affidavit_events SET secret = NULL, remains = '{}'",
        "UPDATE affidavit_events SET details = NULL",
    ):
        with pytest.raises(pg.RestrictViolation):
            table.sql.execute(statement)
    for statement in (
        "UPDATE affidavit_events SET action = 'a.c'",
        "UPDATE affidavit_events SET recorded_at = 0",
        f"DELETE FROM {table.month}",
        f"INSERT INTO {table.month} SELECT * FROM affidavit_events LIMIT 1",
    ):
        with pytest.raises(pg.InsufficientPrivilege):
            table.sql.execute(statement)
    table.sql.execute("RESET ROLE")
    assert table.rows() == before


def permit(
    table: Table, kind: str, organization: str = "acme", *, low: UUID | None = None, high: UUID | None = None
) -> None:
    """Allow something, as erasure, expiry and pruning do for the length of a transaction."""
    table.sql.execute(
        "INSERT INTO affidavit_permit VALUES (%s, %s, 'm', %s, %s)", (organization, kind, low, high)
    )


@pytest.mark.parametrize("kind", ["erasure", "expiry"])
def test_a_permit_takes_values_away_and_no_more(fresh: Table, kind: str) -> None:
    """Groups, query column and secret to NULL; nothing else, nobody else, and nothing comes back."""
    permit(fresh, kind)
    gone = "details = NULL, secret = NULL, remains = '{}'"
    before = fresh.rows()
    for column, value in OTHER.items():
        if column in ("context", "changes", "details", "remains", "secret"):
            continue
        if column in ("organization", "id"):
            continue  # below, in a partition of its own
        with pytest.raises(pg.RestrictViolation):
            fresh.sql.execute(
                f"UPDATE affidavit_events SET {gone}, {column} = {value} WHERE organization = 'acme'"
            )
    for statement in (
        f"UPDATE affidavit_events SET {gone}, organization = 'globex' WHERE organization = 'acme'",
        f"UPDATE affidavit_events SET {gone}, id = gen_random_uuid() WHERE organization = 'acme'",
        f"UPDATE affidavit_events SET {gone} WHERE organization = 'globex'",
        f"UPDATE affidavit_events SET {gone}",
        "UPDATE affidavit_events SET details = NULL WHERE organization = 'acme'",
        "DELETE FROM affidavit_events WHERE organization = 'acme'",
    ):
        with pytest.raises(pg.RestrictViolation):
            fresh.sql.execute(statement)
    assert fresh.rows() == before
    done = fresh.sql.execute(f"UPDATE affidavit_events SET {gone} WHERE organization = 'acme'")
    assert done.rowcount == 3
    for back in ("details = '{}'", "secret = sha256('x'), remains = NULL"):
        with pytest.raises(pg.RestrictViolation):
            fresh.sql.execute(f"UPDATE affidavit_events SET {back} WHERE organization = 'acme'")


def test_a_permit_to_prune_deletes_its_closed_range_and_no_more(fresh: Table) -> None:
    """Both ends are in it; other ids and organizations are not; without ends nothing is."""
    first, second = sorted(fresh.ids[:2])
    permit(fresh, "prune")
    with pytest.raises(pg.RestrictViolation):
        fresh.sql.execute("DELETE FROM affidavit_events WHERE id = %s", (first,))
    fresh.sql.execute("DELETE FROM affidavit_permit")
    permit(fresh, "prune", low=first, high=first)
    for event_id in (second, *fresh.ids[2:]):
        with pytest.raises(pg.RestrictViolation):
            fresh.sql.execute("DELETE FROM affidavit_events WHERE id = %s", (event_id,))
    with pytest.raises(pg.RestrictViolation):
        fresh.sql.execute("UPDATE affidavit_events SET details = NULL, secret = NULL, remains = '{}'")
    assert fresh.sql.execute("DELETE FROM affidavit_events WHERE id = %s", (first,)).rowcount == 1


def test_a_permit_to_move_reaches_the_default_partition_only(fresh: Table) -> None:
    """A row of a month cannot be deleted under it, and nothing can be changed."""
    permit(fresh, "move", "*", low=UUID(int=0), high=UUID(int=(1 << 128) - 1))
    for statement in (
        "DELETE FROM affidavit_events",
        f"DELETE FROM {fresh.month}",
        "UPDATE affidavit_events SET action = 'a.c'",
        "UPDATE affidavit_events_default SET details = NULL, secret = NULL, remains = '{}'",
    ):
        with pytest.raises(pg.RestrictViolation):
            fresh.sql.execute(statement)
    assert len(fresh.rows()) == 4


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("outcome", "maybe"),
        ("severity", "fatal"),
        ("secret", b""),
        ("secret", b"x" * 31),
        ("secret", None),
        ("remains", "{}"),
        ("action", None),
        ("organization", None),
        ("recorded_at", None),
        ("version", None),
        ("source", None),
        ("imported", None),
        ("id", None),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(table: Table, column: str, value: object) -> None:
    """Whoever writes it."""
    at = COLUMNS.index(column)
    ((*values,),) = table.sql.execute(f"SELECT {ALL} FROM affidavit_events LIMIT 1").fetchall()
    values[0] = UUID(int=values[0].int ^ 1)
    values[at] = value
    before = table.rows()
    with pytest.raises(pg.IntegrityError):
        table.sql.execute(
            f"INSERT INTO affidavit_events ({ALL}) VALUES ({', '.join(['%s'] * len(COLUMNS))})",
            values,
        )
    assert table.rows() == before


def test_what_only_fsck_sees(fresh: Table) -> None:
    """A superuser turns triggers off and edits; that this is possible is what the tree of hashes is for."""
    before = fresh.rows()
    with fresh.sql.transaction():
        fresh.sql.execute("SET LOCAL session_replication_role = replica")
        fresh.sql.execute("UPDATE affidavit_events SET action = 'a.edited' WHERE organization = 'globex'")
    assert fresh.rows() != before
