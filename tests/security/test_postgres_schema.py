"""The schema that fsck expects is the one that the migrations make, on the oldest and the newest server."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from affidavit.storage.postgres.connect import Address, connect
from affidavit.storage.postgres.evidence import PostgresEvidence
from affidavit.storage.postgres.migrate import migrate
from affidavit.storage.postgres.schema import describe, schema_faults
from affidavit.testing.author import Clock
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import Server
from tools.describe_schema import FILE, written

VERSIONS = ("postgres15", "postgres18")


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the servers."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """A freshly migrated database."""
    engine = PostgresEngine(server, clock=Clock())
    yield engine.create()
    engine.close()


def test_the_description_is_that_of_the_migrations(url: str) -> None:
    """Word for word on every version; ``tools/describe_schema.py`` writes it after a change."""
    assert written(url) == FILE.read_text(encoding="utf-8")


def test_it_names_no_schema(server: Server) -> None:
    """Tables in a schema of somebody's choice are described in the same words, and nothing is named."""
    engine = PostgresEngine(server, clock=Clock())
    url = engine.create()
    migrate(Address(url, 'Our "audit"'))
    assert written(url, 'Our "audit"') == FILE.read_text(encoding="utf-8")
    evidence = PostgresEvidence(Address(url, 'Our "audit"'))
    assert list(evidence.faults()) == []
    assert list(evidence.warnings()) == []
    evidence.close()
    engine.close()


CHANGES = {
    "a trigger disabled": (
        "ALTER TABLE affidavit_events DISABLE TRIGGER affidavit_events_keep",
        "affidavit_events",
        "another definition",
    ),
    "a trigger of one partition disabled": (
        "ALTER TABLE affidavit_events_default DISABLE TRIGGER affidavit_events_keep",
        "affidavit_events_default",
        "another definition",
    ),
    "a trigger that fires for nobody": (
        "ALTER TABLE affidavit_events ENABLE REPLICA TRIGGER affidavit_events_keep",
        "affidavit_events",
        "another definition",
    ),
    "a truncate trigger dropped": (
        "DROP TRIGGER affidavit_events_truncate ON affidavit_events_default",
        "affidavit_events_default",
        "is missing",
    ),
    "a function's body": (
        "CREATE OR REPLACE FUNCTION affidavit_events_truncate() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RETURN NULL; END'",
        "affidavit_events_truncate()",
        "another definition",
    ),
    "a function's rights": (
        "ALTER FUNCTION affidavit_month_drop(text) SECURITY INVOKER",
        "affidavit_month_drop(name text)",
        "another definition",
    ),
    "a function's path": (
        "ALTER FUNCTION affidavit_month_drop(text) SET search_path = pg_temp",
        "affidavit_month_drop(name text)",
        "another definition",
    ),
    "a second function of the name": (
        "CREATE FUNCTION affidavit_month_drop(name text, more text) RETURNS void LANGUAGE sql AS 'SELECT'",
        "affidavit_month_drop(name text, more text)",
        "no migration makes it",
    ),
    "a rule": (
        "CREATE RULE quiet AS ON INSERT TO affidavit_pending DO INSTEAD NOTHING",
        "affidavit_pending",
        "no migration makes it",
    ),
    "a policy": (
        "CREATE POLICY quiet ON affidavit_events FOR SELECT USING (action <> 'user.delete')",
        "affidavit_events",
        "no migration makes it",
    ),
    "rows hidden": (
        "ALTER TABLE affidavit_events ENABLE ROW LEVEL SECURITY",
        "affidavit_events",
        "another definition",
    ),
    "a view in place of a table": (
        "ALTER TABLE affidavit_tokens RENAME TO tokens; CREATE VIEW affidavit_tokens AS SELECT * FROM tokens",
        "affidavit_tokens",
        "is missing",
    ),
    "a table that forgets": (
        "ALTER TABLE affidavit_holds SET UNLOGGED",
        "affidavit_holds",
        "another definition",
    ),
    "a constraint dropped": (
        "ALTER TABLE affidavit_events DROP CONSTRAINT affidavit_events_outcome_check",
        "affidavit_events",
        "is missing",
    ),
    "a column more": (
        "ALTER TABLE affidavit_holds ADD COLUMN note text",
        "affidavit_holds",
        "no migration",
    ),
    "a column of another type": (
        "ALTER TABLE affidavit_leaves ALTER COLUMN idx TYPE numeric",
        "affidavit_leaves",
        "another definition",
    ),
    "a default of its own": (
        "ALTER TABLE affidavit_events ALTER COLUMN recorded_at SET DEFAULT 0",
        "affidavit_events",
        "another definition",
    ),
    "another collation": (
        'ALTER TABLE affidavit_holds ALTER COLUMN class TYPE text COLLATE "POSIX"',
        "affidavit_holds",
        "another definition",
    ),
    "an index dropped": ("DROP INDEX affidavit_leaves_id", "affidavit_leaves", "is missing"),
    "an index that is not unique": (
        "DROP INDEX affidavit_leaves_id; CREATE INDEX affidavit_leaves_id ON affidavit_leaves (tree, id)",
        "affidavit_leaves",
        "another definition",
    ),
    "a month detached": (
        "DO $$ BEGIN EXECUTE (SELECT 'ALTER TABLE affidavit_events DETACH PARTITION ' || max(part)"
        " FROM affidavit_months); END $$",
        "affidavit_events_2",
        "no migration makes it",
    ),
    "a partition from elsewhere": (
        "CREATE SCHEMA evil; CREATE TABLE evil.month (LIKE affidavit_events INCLUDING ALL);"
        " ALTER TABLE affidavit_events ATTACH PARTITION evil.month FOR VALUES FROM"
        " ('00000000-0000-0000-0000-000000000000') TO ('00000000-0000-0000-0000-000000000001')",
        "evil.month",
        "is missing",
    ),
    "a sequence that goes round": (
        "ALTER SEQUENCE affidavit_pending_seq_seq MAXVALUE 1000 CYCLE",
        "affidavit_pending_seq_seq",
        "another definition",
    ),
    "the view of readers": (
        "DROP VIEW audit_logs; CREATE VIEW audit_logs AS SELECT * FROM affidavit_events",
        "audit_logs",
        "another definition",
    ),
}
"""What is done by somebody with every right, the object that is named, and what is said of it."""


@pytest.fixture(scope="module")
def open_database(postgres: Server) -> Iterator[str]:
    """One database for all changes, each of which is rolled back."""
    engine = PostgresEngine(postgres, clock=Clock())
    yield engine.create()
    engine.close()


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_the_schema_is_named(open_database: str, change: str) -> None:
    """Triggers, functions, rules, policies, indexes, types, partitions: the object and its fault."""
    statement, named, rule = CHANGES[change]
    session = connect(Address(open_database))
    try:
        assert list(schema_faults(describe(session))) == []
        session.connection.execute("BEGIN")
        session.connection.execute(statement.encode())
        faults = list(schema_faults(describe(session)))
        session.connection.execute("ROLLBACK")
    finally:
        session.close()
    assert [each for each in faults if each.table.startswith(named) and rule in each.rule] != [], faults


def test_what_belongs_to_the_application_is_not_looked_at(open_database: str) -> None:
    """Tables, triggers and functions of others in the same schema; a table of our name in another schema."""
    with psycopg.connect(open_database) as connection:
        connection.execute("CREATE TABLE invoices (id bigint PRIMARY KEY)")
        connection.execute("CREATE VIEW paid AS SELECT * FROM invoices")
        connection.execute("CREATE SCHEMA other")
        connection.execute("CREATE TABLE other.affidavit_events (id bigint)")
        connection.execute(
            "CREATE FUNCTION other.affidavit_record_v1() RETURNS void LANGUAGE sql AS 'SELECT'"
        )
    evidence = PostgresEvidence(Address(open_database))
    assert list(evidence.faults()) == []
    evidence.close()


def test_a_name_that_is_taken_is_a_warning(postgres: Server) -> None:
    """Where an application has a table audit_logs of its own, the view was left out: said, and no fault."""
    engine = PostgresEngine(postgres, clock=Clock())
    url = engine.create()
    with psycopg.connect(url) as connection:
        connection.execute("DROP VIEW audit_logs")
        connection.execute("CREATE TABLE audit_logs (line text)")
    evidence = PostgresEvidence(Address(url))
    assert list(evidence.faults()) == []
    assert [text.split(" ")[0] for text in evidence.warnings()] == ["audit_logs"]
    evidence.close()
    engine.close()
