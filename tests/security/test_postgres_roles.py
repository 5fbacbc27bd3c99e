"""What each role may do in a PostgreSQL database: what grants.sql says, tried statement by statement."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql

from affidavit import errors
from affidavit.storage.postgres.connect import Address, connect
from affidavit.storage.postgres.migrate import available, check, migrate, planned
from affidavit.storage.postgres.roles import ROLES
from tests.postgres import FAST, VERSIONS, Server, server_on
from tests.unit.storage.postgres.places import RECORD, address

Connection = psycopg.Connection[tuple[object, ...]]

LOGINS = {
    "app_writer": "affidavit_writer",
    "app_reader": "affidavit_reader",
    "app_server": "affidavit_server",
}
TABLES = """
    SELECT relname::text FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1
"""
SEEN = ("SELECT 1 FROM {}", "SELECT count(*) FROM {}", "COPY {} TO STDOUT", "SELECT 1 FROM {} FOR UPDATE")
CHANGED = ("INSERT INTO {} DEFAULT VALUES", "COPY {} FROM STDIN", "DELETE FROM {}")
OWNED = (
    "TRUNCATE {}",
    "ALTER TABLE {} DISABLE TRIGGER ALL",
    "DROP TABLE {}",
    "CREATE RULE r AS ON DELETE TO {} DO NOTHING",
)


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each version in turn, with a login for each role."""
    found: Server = request.getfixturevalue(f"postgres{request.param}")
    return found


@pytest.fixture(scope="module")
def place(server: Server) -> Address:
    """A migrated database with an event, and logins that are members of one role each."""
    made = address(server)
    migrate(made)
    with server.connect(name_of(made)) as connection:
        for login, role in LOGINS.items():
            connection.execute(
                f"DO $$ BEGIN CREATE ROLE {login} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            )
            connection.execute(f"GRANT {role} TO {login}")
        connection.execute(RECORD)
    return made


def name_of(place: Address) -> str:
    """The database's name."""
    return place.url.rpartition("/")[2]


@pytest.fixture
def writer(server: Server, place: Address) -> Iterator[Connection]:
    """Whoever records in SQL."""
    with server.connect(name_of(place), user="app_writer") as connection:
        yield connection


@pytest.fixture
def reader(server: Server, place: Address) -> Iterator[Connection]:
    """Whoever reads in SQL."""
    with server.connect(name_of(place), user="app_reader") as connection:
        yield connection


@pytest.fixture
def serving(server: Server, place: Address) -> Iterator[Connection]:
    """The server and its worker."""
    with server.connect(name_of(place), user="app_server") as connection:
        yield connection


def tables(connection: Connection) -> list[str]:
    """Every table, partitions included."""
    return [str(row[0]) for row in connection.execute(TABLES).fetchall()]


def copied(connection: Connection, statement: sql.Composed) -> None:
    """Run a COPY in either direction."""
    with connection.cursor().copy(statement) as copy:
        copy.write("x")


def refused(connection: Connection, statement: str, table: str) -> None:
    """Try a statement that the role has no right to."""
    written = sql.SQL(statement).format(sql.Identifier(table))
    with pytest.raises(pg.InsufficientPrivilege):
        (copied(connection, written) if statement.startswith("COPY") else connection.execute(written))


def allowed_functions(connection: Connection) -> set[str]:
    """Which of our functions the role may call."""
    rows = connection.execute(
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND has_function_privilege(oid, 'EXECUTE')"
    )
    return {str(row[0]) for row in rows.fetchall()}


def test_a_writer_records_through_the_one_function(writer: Connection, serving: Connection) -> None:
    """The event is there, though the writer cannot see it."""
    (event_id,) = writer.execute(RECORD).fetchone() or (None,)
    found = serving.execute("SELECT organization FROM affidavit_events WHERE id = %s", (event_id,)).fetchall()
    assert found == [("acme",)]
    assert serving.execute("SELECT 1 FROM affidavit_pending WHERE id = %s", (event_id,)).fetchall() == [(1,)]


def test_a_writer_can_do_nothing_else(writer: Connection) -> None:
    """No table to be read, filled, changed or emptied, no other function, no object made."""
    assert len(tables(writer)) > 20
    for table in tables(writer):
        for statement in (*SEEN, *CHANGED, *OWNED[:2]):
            refused(writer, statement, table)
    refused(writer, "SELECT 1 FROM {}", "audit_logs")
    refused(writer, "UPDATE {} SET organization = 'x'", "affidavit_events")
    refused(writer, "SELECT secret FROM {}", "affidavit_organizations")
    assert allowed_functions(writer) == {"affidavit_record_v1", "affidavit_record_many_v1"}
    refused(writer, "CREATE TABLE {} (a integer)", "affidavit_x")
    refused(writer, "CREATE FUNCTION public.{}() RETURNS integer LANGUAGE sql AS 'SELECT 1'", "now")


def test_a_reader_reads_the_view_and_nothing_else(reader: Connection) -> None:
    """The rows of audit_logs; no table, no secret, no recording."""
    assert ("acme", "team.update") in reader.execute("SELECT organization, action FROM audit_logs").fetchall()
    for table in tables(reader):
        for statement in (*SEEN, *CHANGED, *OWNED[:2]):
            refused(reader, statement, table)
    others = reader.execute(
        "SELECT has_table_privilege('audit_logs', 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
    )
    assert others.fetchall() == [(False,)]
    refused(reader, "DROP VIEW {}", "audit_logs")
    assert not {name for name in allowed_functions(reader) if "record" in name or "month" in name}
    refused(reader, RECORD.strip().replace("{", "{{").replace("}", "}}"), "x")


def test_the_server_changes_no_event_without_a_permit(serving: Connection) -> None:
    """The triggers refuse what the grants must leave open for erasure and pruning."""
    for statement in ("UPDATE affidavit_events SET details = NULL", "DELETE FROM affidavit_events"):
        with pytest.raises(pg.RestrictViolation):
            serving.execute(statement)
    clear = (
        "id",
        "version",
        "organization",
        "action",
        "outcome",
        "severity",
        "source",
        "facts",
        "recorded_at",
    )
    for column in clear:
        refused(serving, f"UPDATE {{}} SET {column} = {column}", "affidavit_events")


def test_the_server_empties_no_table_and_owns_none(serving: Connection) -> None:
    """TRUNCATE, triggers, rules and DROP are the owner's."""
    for table in tables(serving):
        for statement in OWNED:
            refused(serving, statement, table)


def test_the_server_writes_no_partition_by_its_own_name(serving: Connection) -> None:
    """Rows go through the table, whose triggers and bounds hold for them."""
    rows = serving.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'affidavit_events'::regclass"
    )
    parts = [str(row[0]) for row in rows.fetchall()]
    assert "affidavit_events_default" in parts
    for part in parts:
        for statement in CHANGED:
            refused(serving, statement, part)


def test_the_server_may_read_every_table(serving: Connection) -> None:
    """A table that grants.sql forgot would stop the server."""
    rows = serving.execute(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p') AND NOT relispartition AND NOT has_table_privilege(oid, 'SELECT')"
    )
    assert rows.fetchall() == []


def test_the_owner_owns_everything(server: Server, place: Address) -> None:
    """Functions that run with the rights of their owner do not run as a superuser."""
    with server.connect(name_of(place)) as connection:
        owners = connection.execute(
            "SELECT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " UNION SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall()
        logins = connection.execute(
            "SELECT rolname::text, rolcanlogin, rolsuper FROM pg_roles WHERE rolname = ANY(%s)",
            (list(ROLES),),
        ).fetchall()
    assert owners == [("affidavit_owner",)]
    assert sorted(logins) == sorted((role, False, False) for role in ROLES)


def test_everybody_else_has_nothing(server: Server, place: Address) -> None:
    """A role of the application that is a member of none can do nothing at all with our objects."""
    with server.connect(name_of(place)) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE app_other LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    with server.connect(name_of(place), user="app_other") as other:
        assert allowed_functions(other) == set()
        for table in tables(other):
            for statement in (*SEEN, *CHANGED):
                refused(other, statement, table)
        refused(other, SEEN[0], "audit_logs")


HOSTILE = """
CREATE TEMPORARY TABLE affidavit_events (LIKE pg_catalog.pg_class);
CREATE TEMPORARY TABLE affidavit_pending (seq bigint, organization text, id uuid);
CREATE TEMPORARY TABLE affidavit_organizations (name text, secret bytea, created_at bigint, declared integer);
CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
    $$ SELECT 'epoch'::timestamptz $$;
CREATE FUNCTION pg_temp.affidavit_check_words(text, text, text, text, text, text, text)
    RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
SET search_path = pg_temp, public, pg_catalog;
"""


def test_objects_of_the_caller_are_not_taken_for_ours(writer: Connection, serving: Connection) -> None:
    """Temporary tables and functions, first in the caller's search_path: the event goes where it belongs."""
    writer.execute(HOSTILE)
    (event_id,) = writer.execute(RECORD).fetchone() or (None,)
    found = serving.execute(
        "SELECT recorded_at > 1600000000000000 FROM affidavit_events WHERE id = %s", (event_id,)
    )
    assert found.fetchall() == [(True,)]
    assert writer.execute("SELECT count(*) FROM pg_temp.affidavit_events").fetchall() == [(0,)]
    with pytest.raises(psycopg.Error, match="organization"):
        writer.execute(RECORD.replace("acme", "-"))


def test_every_function_that_lends_rights_has_a_fixed_path(server: Server, place: Address) -> None:
    """Ours and pg_temp last, for each function that runs with the rights of its owner."""
    with server.connect(name_of(place)) as connection:
        found = connection.execute(
            "SELECT proname::text, proconfig FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace AND prosecdef"
        ).fetchall()
    assert {str(name) for name, _ in found} >= {"affidavit_record_v1", "affidavit_record_many_v1"}
    for name, settings in found:
        assert "search_path=public, pg_temp" in settings, name


def test_default_privileges_of_the_database_give_nobody_a_right(server: Server) -> None:
    """An application that has all rights on new tables has none on ours; what is granted later stays."""
    place = address(server)
    with server.connect(name_of(place)) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE app_other LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        for who in ("postgres", "affidavit_owner"):
            connection.execute(
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {who} GRANT ALL ON TABLES TO app_other, PUBLIC;"
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {who} GRANT ALL ON FUNCTIONS TO app_other;"
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {who} GRANT ALL ON SEQUENCES TO app_other"
            )
        migrate(place)
        got = connection.execute(
            "SELECT relname::text FROM pg_class, aclexplode(relacl) a"
            " WHERE relnamespace = 'public'::regnamespace AND a.grantee IN (0, 'app_other'::regrole) UNION"
            " SELECT proname::text FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) a"
            " WHERE pronamespace = 'public'::regnamespace AND a.grantee IN (0, 'app_other'::regrole)"
        ).fetchall()
        assert got == []
        connection.execute("GRANT SELECT ON affidavit_events TO app_other")
        migrate(place)
        assert connection.execute(
            "SELECT has_table_privilege('app_other', 'affidavit_events', 'SELECT')"
        ).fetchone() == (True,)


def test_a_schema_that_everybody_may_create_in_is_told(
    postgres: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """As public was before PostgreSQL 15: a function of a stranger could be taken for one of ours."""
    place = address(postgres)
    with postgres.connect(name_of(place)) as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        with caplog.at_level(logging.WARNING, "affidavit.migrate"):
            migrate(place)
        assert caplog.messages[-1].endswith('REVOKE CREATE ON SCHEMA "public" FROM PUBLIC')
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        caplog.clear()
        migrate(place)
    assert caplog.messages == []


@pytest.fixture(scope="module", params=VERSIONS)
def bare(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of our own, whose roles nobody has made yet."""
    with server_on(request.param, **FAST) as server:
        with server.connect() as connection:
            connection.execute(
                "CREATE ROLE plain LOGIN; CREATE ROLE maker LOGIN CREATEROLE; CREATE ROLE poor LOGIN"
            )
        yield server


def test_without_the_right_to_make_roles_everything_works_and_is_told(
    bare: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The tables belong to whoever migrated; the warning has the SQL that makes the roles, and that works."""
    place = address(bare, user="plain")
    with caplog.at_level(logging.WARNING, "affidavit.migrate"):
        migrate(place)
    (told,) = caplog.messages
    session = connect(place)
    check(session)
    session.connection.execute(RECORD)
    session.close()
    statements = told.partition("superuser: ")[2].partition(" and then")[0]
    assert statements.count("CREATE ROLE") == len(ROLES)
    with bare.connect() as connection:
        connection.execute(statements.encode())
    migrate(place)
    with bare.connect(name_of(place)) as connection:
        connection.execute("GRANT affidavit_writer TO poor")
    with bare.connect(name_of(place), user="poor") as connection:
        connection.execute(RECORD)


def test_who_may_make_roles_gives_the_tables_to_the_owner(bare: Server) -> None:
    """Not a superuser, and still everything belongs to affidavit_owner, at the second migration too."""
    with bare.connect() as connection:
        for role in ROLES:
            connection.execute(
                f"DO $$ BEGIN DROP OWNED BY {role}; EXCEPTION WHEN undefined_object THEN NULL; END $$"
            )
        for name in connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'place%'"
        ).fetchall():
            connection.execute(f"DROP DATABASE {name[0]} WITH (FORCE)")
        for role in ROLES:
            connection.execute(f"DROP ROLE IF EXISTS {role}")
    place = address(bare, user="maker", schema="log")
    migrate(place)
    migrate(place)
    session = connect(place)
    check(session)
    owners = session.connection.execute(
        "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'log'::regnamespace"
    ).fetchall()
    session.close()
    assert owners == [("affidavit_owner",)]


def test_a_role_that_lacks_grants_is_told_which(server: Server, place: Address) -> None:
    """Recording, reading and foreign roles are not enough for the server; the error has the SQL to run."""
    for login, lacks in (
        ("app_writer", "SELECT on affidavit_migrations"),
        ("app_reader", "INSERT on affidavit_events"),
    ):
        session = connect(Address(server.url(name_of(place), user=login)))
        with pytest.raises(
            errors.StorageReadOnly, match=f'{login} lacks .*{lacks}.*affidavit_server TO "{login}"'
        ):
            check(session)
        session.close()
    session = connect(Address(server.url(name_of(place), user="app_server")))
    check(session)
    session.close()


def test_a_role_that_may_not_create_is_told_what_to_grant(bare: Server) -> None:
    """In public, in a schema that is missing, and where the tables are another role's; nothing is written."""
    place = address(bare)
    name = name_of(place)
    poor = Address(bare.url(name, user="poor"))
    with pytest.raises(errors.StorageReadOnly, match='GRANT USAGE, CREATE ON SCHEMA "public" TO "poor"'):
        migrate(poor)
    with pytest.raises(errors.StorageReadOnly, match='CREATE SCHEMA "log" AUTHORIZATION "poor"'):
        migrate(poor._replace(schema="log"))
    assert planned(poor) == available()
    with bare.connect(name) as connection:
        connection.execute('CREATE SCHEMA "log" AUTHORIZATION "poor"')
    migrate(poor._replace(schema="log"), steps=available()[:-1])
    with bare.connect(name) as connection:
        connection.execute(
            "GRANT USAGE ON SCHEMA log TO plain; GRANT SELECT ON log.affidavit_migrations TO plain"
        )
    with pytest.raises(errors.StorageReadOnly, match=r'belong to poor, .* GRANT "poor" TO "plain"'):
        migrate(Address(bare.url(name, user="plain"), "log"))
    assert planned(poor._replace(schema="log")) == available()[-1:]
