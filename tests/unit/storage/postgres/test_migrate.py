"""Migrations of a PostgreSQL database: each once, whole or not at all, by whoever comes first."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from typing import Any

import pytest

from affidavit import errors
from affidavit.storage.postgres.connect import Address, connect
from affidavit.storage.postgres.migrate import available, check, migrate, pending, planned
from affidavit.storage.postgres.preflight import unclaimed
from tests.postgres import VERSIONS, Server
from tests.unit.storage.postgres.places import address, dump, step

NEWEST = available()[-1].number


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each version in turn."""
    found: Server = request.getfixturevalue(f"postgres{request.param}")
    return found


def clock() -> float:
    """The same time for every migration, so that dumps are equal."""
    return 1_700_000_000.0


def migrated(server: Server, place: Address, *stages: int) -> str:
    """The dump of a database that was brought to each of these numbers in turn."""
    for stage in stages:
        migrate(place, steps=available()[:stage], clock=clock)
    return re.sub(r"'database_id', '\w+'", "", dump(server, place))


def test_the_files_are_numbered_without_a_gap() -> None:
    """One, two, three: a number that is missing would be taken for one that was not applied."""
    assert [found.number for found in available()] == list(range(1, NEWEST + 1))


def test_every_earlier_schema_comes_to_the_same_as_an_empty_database(server: Server) -> None:
    """From each version of the schema on, the same tables, functions, triggers and grants."""
    whole = migrated(server, address(server), NEWEST)
    assert whole.count("CREATE TABLE") > 10
    for stage in range(1, NEWEST):
        assert migrated(server, address(server), stage, NEWEST) == whole, stage


def test_what_is_applied_is_told_and_not_applied_again(postgres: Server) -> None:
    """The answer names each step once; the second run changes nothing."""
    place = address(postgres)
    assert [found.number for found in migrate(place)] == [found.number for found in available()]
    before = dump(postgres, place)
    assert migrate(place) == []
    assert planned(place) == []
    assert dump(postgres, place) == before


def test_a_plan_changes_nothing(server: Server) -> None:
    """Not in an empty database, and not in one of an earlier version."""
    place = address(server, schema="log")
    before = dump(server, place)
    assert planned(place) == available()
    assert dump(server, place) == before
    migrate(place, steps=available()[:2])
    before = dump(server, place)
    assert planned(place) == available()[2:]
    assert dump(server, place) == before


@pytest.mark.parametrize("schema", ["log", "Audit Log", 'a"b', "ä.b", "select"])
def test_any_schema_will_do(postgres: Server, schema: str) -> None:
    """The schema is made where it is missing, whatever its name, and public stays empty."""
    place = address(postgres, schema=schema)
    migrate(place)
    session = connect(place)
    check(session)
    found = session.connection.execute(
        "SELECT relnamespace::regnamespace = quote_ident(%s)::regnamespace FROM pg_class"
        " WHERE relname LIKE 'affidavit%%' OR relname = 'audit_logs'",
        (schema,),
    ).fetchall()
    session.close()
    assert {row[0] for row in found} == {1}


def test_two_schemas_of_one_database_are_two_logs(postgres: Server) -> None:
    """Each is migrated for itself."""
    first = address(postgres, schema="one")
    second = first._replace(schema="two")
    migrate(first, steps=available()[:3])
    assert planned(second) == available()
    migrate(second)
    assert planned(first) == available()[3:]


def test_processes_that_migrate_at_once_share_the_work(server: Server) -> None:
    """Three processes: every step is applied exactly once, and all come back without an error."""
    place = address(server)
    program = (
        "import sys; from affidavit.storage.postgres.connect import Address;"
        " from affidavit.storage.postgres.migrate import migrate;"
        " print(*[step.number for step in migrate(Address(sys.argv[1]))])"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, place.url], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sorted(int(word) for words in told for word in words.split()) == list(range(1, NEWEST + 1))


def test_tables_that_another_process_just_made_are_ours(postgres: Server) -> None:
    """Who asks while another process migrates does not take its tables for a stranger's."""
    place = address(postgres)
    session = connect(place)
    asked: list[str] = []

    class Late:
        """Asks as the session does, and lets the other process in after the first question."""

        address = place

        def execute(self, statement: str, parameters: Any = ()) -> Any:
            if len(asked) == 1:
                migrate(place)
            asked.append(statement)
            return session.execute(statement, parameters)

    assert not unclaimed(Late())  # type: ignore[arg-type]
    assert len(asked) > 1
    session.close()


def test_a_newer_schema_is_refused(postgres: Server) -> None:
    """By the check, the plan and the migration, with both numbers."""
    place = address(postgres)
    migrate(place, steps=[*available(), step(NEWEST + 1, "CREATE TABLE affidavit_later (a integer)")])
    before = dump(postgres, place)
    session = connect(place)
    for refused in (lambda: check(session), lambda: planned(place), lambda: migrate(place)):
        with pytest.raises(
            errors.SchemaTooNew, match=f"at schema {NEWEST + 1}, this version knows {NEWEST};"
        ):
            refused()
    session.close()
    assert dump(postgres, place) == before


def test_a_migration_with_another_text_is_refused(postgres: Server) -> None:
    """What was applied is what is in the files, to the byte."""
    place = address(postgres)
    migrate(place)
    first, *others = available()
    edited = step(first.number, first.sql + "\n", first.name)
    before = dump(postgres, place)
    with pytest.raises(errors.SchemaChanged, match=first.checksum[:12]) as caught:
        migrate(place, steps=[edited, *others])
    assert edited.checksum[:12] in caught.value.message
    assert dump(postgres, place) == before


def test_an_empty_and_an_older_database_lack_migrations(postgres: Server) -> None:
    """The check says how many, and what to run."""
    place = address(postgres)
    session = connect(place)
    with pytest.raises(errors.SchemaMissing, match=f"lacks {NEWEST} of .* run: affidavit migrate"):
        check(session)
    migrate(place, steps=available()[:-1])
    with pytest.raises(errors.SchemaMissing, match=r"lacks 1 of .* run: affidavit migrate"):
        check(session)
    migrate(place)
    check(session)
    session.close()


def test_a_step_that_fails_leaves_nothing(server: Server) -> None:
    """Its first statements are undone with it, the steps before it stay, and it is tried again later."""
    place = address(server)
    first = available()[0]
    bad = step(2, "CREATE TABLE affidavit_half (a integer); SELECT 1 / 0")
    with pytest.raises(errors.StorageError, match="division by zero"):
        migrate(place, steps=[first, bad])
    assert "affidavit_half" not in dump(server, place)
    session = connect(place)
    assert pending(session, [first, bad]) == [bad]
    session.close()


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE TABLE affidavit_events (id integer)", "affidavit_events"),
        ("CREATE VIEW affidavit_report AS SELECT 1", "affidavit_report"),
        ("CREATE SEQUENCE affidavit_pending", "affidavit_pending"),
        (
            "CREATE FUNCTION affidavit_record_v1() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            "affidavit_record",
        ),
        ("CREATE TABLE affidavit_migrations (id integer, app text)", "affidavit_migrations"),
    ],
)
def test_the_tables_of_another_product_are_left_alone(postgres: Server, made: str, named: str) -> None:
    """A name of ours that we did not make: named, with a way out, and nothing is written."""
    place = address(postgres)
    with postgres.connect(place.url.rpartition("/")[2]) as connection:
        connection.execute(made)
    before = dump(postgres, place)
    session = connect(place)
    for refused in (lambda: check(session), lambda: planned(place), lambda: migrate(place)):
        with pytest.raises(errors.NotOurs, match=f"{named}.*schema of its own"):
            refused()
    session.close()
    assert dump(postgres, place) == before
    migrate(place._replace(schema="log"))


def test_a_name_like_ours_that_is_not_ours_does_no_harm(postgres: Server) -> None:
    """The underscore of the prefix is no wildcard."""
    place = address(postgres)
    with postgres.connect(place.url.rpartition("/")[2]) as connection:
        connection.execute("CREATE TABLE affidavits (id integer); CREATE TABLE affidavitxevents (id integer)")
    migrate(place)


def test_the_view_gives_way_to_one_of_the_same_name(
    postgres: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody's audit_logs stays as it is; a warning says so."""
    place = address(postgres)
    with postgres.connect(place.url.rpartition("/")[2]) as connection:
        connection.execute("CREATE TABLE audit_logs (mine integer)")
        with caplog.at_level(logging.WARNING, "affidavit.migrate"):
            migrate(place)
        assert "audit_logs is taken" in caplog.text
        assert connection.execute("SELECT mine FROM audit_logs").fetchall() == []
    session = connect(place)
    check(session)
    session.close()
