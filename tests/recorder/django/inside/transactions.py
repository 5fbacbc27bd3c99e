"""An event is stored with its change or not at all."""
# ruff: noqa: PT012 - what is tried is what a whole block leaves behind

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.test import Client, override_settings

from affidavit.core.event import Request
from affidavit.django import audit
from affidavit.django.recording import DjangoAudit
from affidavit.django.settings import audit_options, database_url
from affidavit.errors import ConfigError, InvalidEvent, WrongTransaction
from affidavit.recorder.fields import system
from tests.recorder.django.inside.plugin import leaves, stored, teams
from tests.recorder.django.project.models import Team


class Refused(Exception):
    """Of a test."""


def change(name: str, alias: str = "default") -> None:
    """A change and its event."""
    team = Team.objects.using(alias).create(name=name)
    audit.record("team.create", resource=team, reason=name, actor=system("test"))


def both(name: str, alias: str = "default") -> tuple[int, int]:
    """Changes and events."""
    return teams(name, alias), len(stored(name, alias))


def test_commit(name: str) -> None:
    """What commits is there once, with its event, whose leaf is in order."""
    with transaction.atomic():
        change(name)
    assert both(name) == (1, 1)
    (leaf,) = leaves(name)
    assert (leaf.invalid, leaf.action) == (False, "team.create")
    (resource,) = stored(name)[0]["resources"]["resources"]
    assert resource == {"type": "project_team", "id": str(Team.objects.get(name=name).pk)}


def test_exception_after_the_event(name: str) -> None:
    """What is raised after the event takes both back."""
    with suppress(Refused), transaction.atomic():
        change(name)
        raise Refused
    assert both(name) == (0, 0)


def test_savepoint_rolled_back(name: str) -> None:
    """A nested block that fails takes its change and its event along, and nothing else."""
    with transaction.atomic():
        change(name)
        with suppress(Refused), transaction.atomic():
            change(name)
            raise Refused
        with transaction.atomic():
            change(name)
    assert both(name) == (2, 2)


def test_set_rollback(name: str) -> None:
    """A block that is marked for rollback keeps neither."""
    with transaction.atomic():
        change(name)
        transaction.set_rollback(True)
    assert both(name) == (0, 0)


def test_broken_block(name: str) -> None:
    """In a block that a database error has broken nothing is recorded any more."""
    with pytest.raises(transaction.TransactionManagementError), transaction.atomic():
        with suppress(Exception), transaction.atomic(savepoint=False):
            Team.objects.create(pk=None, name=None)
        change(name)
    assert both(name) == (0, 0)


def test_manual_transaction(name: str) -> None:
    """With autocommit off a rollback takes both back and a commit keeps both."""
    transaction.set_autocommit(False)
    try:
        change(name)
        transaction.rollback()
        change(name)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert both(name) == (1, 1)


def test_many_at_once(name: str) -> None:
    """A hundred of one action share the fate of the block; where one is refused none is there."""
    events: list[Any] = [{"resource": ("team", number)} for number in range(100)]
    with transaction.atomic():
        Team.objects.create(name=name)
        answers = audit.record_many("team.create", events, actor=system("test"), reason=name)
    assert both(name) == (1, 100)
    assert len({answer.id for answer in answers}) == 100
    with suppress(InvalidEvent), transaction.atomic():
        Team.objects.create(name=name)
        audit.record_many(
            "team.create", [*events, {"project": "x" * 9_999}], actor=system("test"), reason=name
        )
    assert both(name) == (1, 100)


def test_outside_of_a_block(name: str) -> None:
    """Without a transaction nothing is recorded: the error says what to do."""
    with pytest.raises(WrongTransaction, match=r"transaction\.atomic\(\)"):
        change(name)
    assert both(name) == (1, 0)


def test_block_of_a_test_case(name: str) -> None:
    """In a request the blocks that a ``TestCase`` wraps around a test do not count: the mistake shows."""
    around = transaction.Atomic("default", True, False)
    around._from_testcase = True
    with around, audit.context(request=Request(method="GET")):
        with pytest.raises(WrongTransaction):
            change(name)
        with transaction.atomic():
            change(name)
        assert both(name) == (2, 1)
        transaction.set_rollback(True)


def test_two_databases(name: str) -> None:
    """The event goes to the database of its resource, or to the one that is named, and no other."""
    with transaction.atomic(using="other"):
        change(name, "other")
    assert both(name, "other") == (1, 1)
    assert both(name, "default") == (0, 0)
    with pytest.raises(WrongTransaction), transaction.atomic(using="default"):
        audit.record("team.create", using="other", reason=name, actor=system("test"))
    with transaction.atomic(using="other"):
        audit.record("team.create", using="other", reason=name, actor=system("test"))
    assert both(name, "other") == (1, 2)
    assert both(name, "default") == (0, 0)


def test_rolled_back_in_one_of_two(name: str) -> None:
    """Of two databases each keeps what it committed."""
    with transaction.atomic(using="other"), suppress(Refused), transaction.atomic(using="default"):
        change(name, "default")
        change(name, "other")
        raise Refused
    assert (both(name, "default"), both(name, "other")) == ((0, 0), (1, 1))


def test_atomic_requests(name: str) -> None:
    """With ATOMIC_REQUESTS a view needs no block of its own; without it is told so."""
    client = Client(raise_request_exception=False)
    with audit.context(actor=system("test")):
        assert client.get(f"/plain/{name}").status_code == 500
        assert both(name) == (1, 0)
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            assert client.get(f"/plain/{name}").status_code == 200
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert both(name) == (2, 1)


def test_no_actor(name: str) -> None:
    """An event of nobody is refused before it is written, and the change with it."""
    with pytest.raises(InvalidEvent, match="actor"), transaction.atomic():
        Team.objects.create(name=name)
        audit.record("team.create", reason=name)
    assert both(name) == (0, 0)


@pytest.mark.parametrize("value", [object(), {1, 2, object()}])
def test_change_that_json_cannot_say(name: str, value: object) -> None:
    """A value that cannot be written is refused by the name of its field."""
    with pytest.raises(InvalidEvent, match="changes/plan"), transaction.atomic():
        Team.objects.create(name=name)
        audit.record("team.update", changes={"plan": (None, value)}, reason=name, actor=system("test"))
    assert both(name) == (0, 0)


def test_denied_stays_when_the_block_rolls_back(name: str) -> None:
    """What is said in a transaction of its own is there although the app's is not, with a valid leaf."""
    with suppress(Refused), transaction.atomic():
        change(name)
        audit.denied("team.delete", reason=name, actor=system("test"))
        raise Refused
    assert both(name) == (0, 1)
    (row,) = stored(name)
    assert (row["action"], row["outcome"]) == ("team.delete", "failure")
    assert [leaf.invalid for leaf in leaves(name)] == [False]


def test_denied_stays_when_the_block_commits(name: str) -> None:
    """It is there as well where the transaction around it commits, savepoints rolled back among it."""
    with transaction.atomic():
        change(name)
        with suppress(Refused), transaction.atomic():
            audit.denied("team.delete", reason=name, actor=system("test"))
            raise Refused
    assert sorted(row["action"] for row in stored(name)) == ["team.create", "team.delete"]
    assert "commit" not in vars(connection)


def test_attempt(name: str) -> None:
    """An attempt is one event: with its change, or the failure with what was raised."""
    with audit.context(actor=system("test")):
        with audit.attempt("team.create", reason=name):
            Team.objects.create(name=name)
        assert both(name) == (1, 1)
        with pytest.raises(Refused), audit.attempt("team.create", reason=name):
            Team.objects.create(name=name)
            raise Refused
    assert both(name) == (1, 2)
    assert [row["outcome"] for row in stored(name)] == ["success", "failure"]


def test_awaited(name: str) -> None:
    """The awaited forms record in transactions of their own: attempts and calls, done and failed."""

    @audit.audited("report.export", actor=system("test"), description="called")
    async def export(error: Exception | None) -> None:
        if error is not None:
            raise error

    async def work() -> None:
        async with audit.aio.attempt("team.create", reason=name, actor=system("test")):
            pass
        with pytest.raises(Refused):
            async with audit.aio.attempt("team.create", reason=name, actor=system("test")):
                raise Refused
        await export(None)
        with pytest.raises(Refused):
            await export(Refused(name))

    calls = len(stored(f"Refused: {name}"))
    asyncio.run(work())
    assert [row["outcome"] for row in stored(name)] == ["success", "failure"]
    assert len(stored(f"Refused: {name}")) == calls + 1


def test_attempt_that_fails_at_its_commit(name: str) -> None:
    """An attempt that the database refuses at the very end has failed, too: one event says so."""
    with pytest.raises(IntegrityError), audit.attempt("team.create", reason=name, actor=system("test")):
        Team.objects.create(name=name, parent_id=10**9)
    assert both(name) == (0, 1)
    assert [row["outcome"] for row in stored(name)] == ["failure"]


def test_attempt_within_a_block(name: str) -> None:
    """Where the block around an attempt rolls back, its success is taken back with the change."""
    with suppress(Refused), transaction.atomic(), audit.context(actor=system("test")):
        with audit.attempt("team.create", reason=name):
            Team.objects.create(name=name)
        raise Refused
    assert both(name) == (0, 0)


def test_own_connections_are_not_those_of_django(name: str) -> None:
    """Django's connection stays the same one, in its transaction, and is not closed by what we record."""
    with transaction.atomic():
        before = connection.connection
        change(name)
        audit.record_now("team.seen", reason=name, actor=system("test"))
        assert connection.connection is before
        assert connection.in_atomic_block
    assert len(stored(name)) == 2


def test_threads(name: str) -> None:
    """Each thread records in the block of its own connection."""

    def work(number: int) -> None:
        try:
            with suppress(Refused), transaction.atomic():
                # The write lock first: SQLite refuses to upgrade a read that somebody has overtaken.
                change(name)
                if number % 2:
                    raise Refused
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert both(name) == (4, 4)


def cut(alias: str = "default") -> None:
    """Lose the connection of this thread as the network would: nobody says goodbye to the database."""
    if connection.vendor == "sqlite":
        connections[alias].connection.close()
        return
    pid = connections[alias].connection.info.backend_pid
    with psycopg.connect(database_url(connections[alias]) or "", autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_connection_lost_before_the_commit(name: str) -> None:
    """What was not committed is gone, change and event; the program learns of it."""
    with pytest.raises(DatabaseError), transaction.atomic():
        change(name)
        cut()
    connection.close()
    assert both(name) == (0, 0)


def test_connection_lost_after_the_commit(name: str) -> None:
    """What was committed stays, change and event."""
    with transaction.atomic():
        change(name)
    cut()
    connection.close()
    assert both(name) == (1, 1)


LOSE = """
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER lost AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION lose();
"""


@contextmanager
def lost_in_the_commit(table: str) -> Iterator[None]:
    """Whoever commits an insert loses the connection in the middle of it."""
    with connection.cursor() as cursor:
        cursor.execute(LOSE.format(table=table))
    try:
        yield
    finally:
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TRIGGER lost ON {table}; DROP FUNCTION lose()")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a limit of SQLite stands for the disk")
def test_full_disk(name: str) -> None:
    """Where the disk is full the program learns of it, and neither change nor event is left."""
    try:
        with pytest.raises(DatabaseError, match="full"), transaction.atomic():
            Team.objects.create(name=name)
            connection.cursor().execute("PRAGMA max_page_count = 1")
            for _ in range(1_000):
                audit.record("team.create", reason=name, actor=system("test"), description="x" * 1_000)
    finally:
        connection.close()
    assert both(name) == (0, 0)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="there is no connection that could be lost")
def test_connection_lost_during_the_commit(name: str) -> None:
    """When the connection goes in the middle of the commit, there are as many events as changes."""
    with lost_in_the_commit("project_team"), pytest.raises(DatabaseError), transaction.atomic():
        change(name)
    assert both(name) == (0, 0)


def test_setting_that_does_not_exist() -> None:
    """A misspelt key of AFFIDAVIT is named, with those that there are."""
    with (
        override_settings(AFFIDAVIT={"organisation": "acme"}),
        pytest.raises(ConfigError, match="organisation"),
    ):
        audit_options()


def test_unknown_field() -> None:
    """A keyword that is no field is a mistake of the program."""
    with pytest.raises(TypeError, match="colour"), transaction.atomic():
        audit.record("team.create", colour="red", actor=system("test"))  # type: ignore[call-arg]


def test_a_database_without_tables(name: str) -> None:
    """Where the tables are missing the error names the command."""
    if connection.vendor == "postgresql":
        strange = DjangoAudit(organization="acme", schema="nowhere")
        with pytest.raises(Exception, match="affidavit migrate"), transaction.atomic():
            strange.record("team.create", reason=name, actor=system("test"))
    else:
        empty = type(connections["default"])({**connection.settings_dict, "NAME": ":memory:"}, alias="empty")
        connections["empty"] = empty
        try:
            with pytest.raises(Exception, match="affidavit migrate"), transaction.atomic(using="empty"):
                audit.record("team.create", using="empty", reason=name, actor=system("test"))
        finally:
            empty.close()
            del connections["empty"]
