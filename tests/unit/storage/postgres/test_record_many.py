"""Recording many events from SQL in one call, and reading them through the view."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from affidavit.core.ids import make_id, microseconds_of
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.migrate import migrate
from tests.unit.storage.postgres.recording import WHOLE, Recording, moment_of, names, told

# Many at once.


def test_many_come_back_in_their_order(database: Recording) -> None:
    """One row each; times that nobody gave are consecutive microseconds that end at recorded_at."""
    found = database.many([{"action": f"a.n{number}", "organization": "many"} for number in range(100)])
    rows = [database.row(event_id, "many") for event_id, _ in found]
    assert [row["action"].decode() for row in rows] == [f"a.n{number}" for number in range(100)]
    last = rows[-1]["recorded_at"]
    assert {row["recorded_at"] for row in rows} == {last}
    assert [microseconds_of(row["id"]) for row in rows] == list(range(last - 99, last + 1))
    assert [duplicate for _, duplicate in found] == [False] * 100
    queued = database.sql.execute(
        "SELECT id FROM affidavit_pending WHERE organization = 'many' ORDER BY seq"
    ).fetchall()
    assert queued == [(event_id,) for event_id, _ in found]
    for event_id, _ in found:
        database.check_leaf(event_id, "many")


def test_many_are_what_one_by_one_are(database: Recording) -> None:
    """Every argument, given for some events and not for others."""
    at = time.time_ns() // 1000 - 1_000_000
    events: list[dict[str, Any]] = [
        {},
        {
            "action": "team.update",
            "outcome": "failure",
            "severity": "warning",
            "source": "web",
            "project": "p",
        },
        {"parent_id": UUID(int=1), "secret": bytes(32), "id": UUID(bytes=make_id(at, 3))},
        {
            "idempotency_key": "k",
            "occurred_at": moment_of(at),
            **{n: json.dumps(v) for n, v in WHOLE.items()},
        },
    ]
    organizations = [next(names), next(names)]
    singles = [database.record(**event, organization=organizations[0])[0] for event in events]
    together = database.many([{**event, "organization": organizations[1]} for event in events])
    chance = {"id", "secret", "recorded_at", "organization"}
    for number, (single, (event_id, duplicate)) in enumerate(zip(singles, together, strict=True)):
        one, other = database.row(single, organizations[0]), database.row(event_id, organizations[1])
        assert not duplicate
        assert {n: v for n, v in one.items() if n not in chance} == {
            n: v for n, v in other.items() if n not in chance
        }
        if number == 2:
            assert (one["id"], one["secret"]) == (other["id"], other["secret"])
    assert database.many([{**event, "organization": organizations[1]} for event in events[2:]]) == [
        (event_id, True) for event_id, _ in together[2:]
    ]


def test_one_bad_event_refuses_all(database: Recording) -> None:
    """The pointer says which; nothing is stored."""
    before = database.count()
    with pytest.raises(psycopg.DatabaseError) as error:
        database.many([{}, {"details": '{"reason":7}'}, {}])
    assert told(error.value) == ("YA422", "/events/1/reason", "type")
    keyed = {"idempotency_key": "k", "occurred_at": datetime.now(UTC), "organization": next(names)}
    with pytest.raises(psycopg.DatabaseError) as error:
        database.many([{}, keyed, keyed | {"action": "user.delete"}])
    assert told(error.value) == ("YA409", "/events/2/id", "conflict")
    assert database.count() == before


def test_repeats_within_one_call_are_duplicates(database: Recording) -> None:
    """The first is new, whatever the order of their ids."""
    at = time.time_ns() // 1000
    organization = next(names)
    events = [
        {"organization": organization, "idempotency_key": key, "occurred_at": moment_of(at - int(key))}
        for key in ("3", "1", "2", "1", "3")
    ]
    found = database.many([*events, {"organization": organization}])
    assert [duplicate for _, duplicate in found] == [False, False, False, True, True, False]
    queued = database.sql.execute(
        "SELECT count(*) FROM affidavit_pending WHERE organization = %s", (organization,)
    )
    assert queued.fetchone() == (4,)


@pytest.mark.parametrize(
    "call",
    [
        "affidavit_record_many_v1(ARRAY['a','b'], ARRAY['user.create'])",
        "affidavit_record_many_v1(NULL, ARRAY['user.create'])",
        "affidavit_record_many_v1(ARRAY['a'], ARRAY['user.create'], context => ARRAY['{}','{}'])",
        "affidavit_record_many_v1(array_fill('a'::text, ARRAY[1001]), array_fill('a.b'::text, ARRAY[1001]))",
    ],
)
def test_arrays_that_do_not_fit_are_refused(database: Recording, call: str) -> None:
    """Of other lengths, or too long."""
    with pytest.raises(psycopg.DatabaseError) as error:
        database.sql.execute(f"SELECT * FROM {call}")
    assert told(error.value) == ("YA422", "/events", "count")


def test_no_events_are_none(database: Recording) -> None:
    """Empty arrays store nothing."""
    found = database.sql.execute("SELECT * FROM affidavit_record_many_v1('{}'::text[], '{}'::text[])")
    assert found.fetchall() == []


# The view for readers.

VIEW = (
    *("id", "timestamp", "organization", "project", "action", "outcome", "severity", "source"),
    *("actor_type", "actor_id", "actor_name", "actor_email", "resource_type", "resource_id", "ip", "details"),
)


def test_readers_see_one_row_an_event(database: Recording) -> None:
    """The columns by their names, the time to the microsecond; the reader may read it and nothing else."""
    at = time.time_ns() // 1000 - 60_000_001
    organization = next(names)
    event_id, _ = database.record(
        organization=organization, occurred_at=moment_of(at), project="p",
        **{name: json.dumps(value) for name, value in WHOLE.items()},
    )  # fmt: skip
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("SET ROLE affidavit_reader; SET search_path = pg_catalog")
        cursor = connection.execute(
            "SELECT * FROM public.audit_logs WHERE organization = %s AND id >= public.affidavit_first_id(%s)",
            (organization, moment_of(at)),
        )
        assert cursor.description is not None
        assert tuple(column.name for column in cursor.description) == VIEW
        person = ("user", "ana", "Ana", "a@x.io")
        thing = ("team", "1", "10.0.0.1", json.dumps(WHOLE["details"]))
        clear = (organization, "p", "user.create", "success", "info", "sql")
        assert cursor.fetchall() == [(event_id, moment_of(at), *clear, *person, *thing)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM public.affidavit_events")
        with pytest.raises(psycopg.DatabaseError):
            connection.execute("DELETE FROM public.audit_logs")


@pytest.mark.parametrize("text", [None, "{", "[]", '"x"', "7", '{"resources":7}', '{"actor":[]}', "\x01"])
def test_a_row_that_was_erased_or_edited_does_not_hide_the_others(
    database: Recording, text: str | None
) -> None:
    """The view answers, with nulls where nothing can be read."""
    organization = next(names)
    other, _ = database.record(organization=organization)
    event_id, _ = database.record(organization=organization)
    with database.sql.transaction():
        database.sql.execute("SET LOCAL session_replication_role = replica")
        database.sql.execute(
            "UPDATE affidavit_events SET actor = %(t)s, resources = %(t)s, context = %(t)s, details = %(t)s"
            " WHERE id = %(id)s",
            {"t": text, "id": event_id},
        )
    found = database.sql.execute(
        "SELECT id, actor_name, resource_id, ip, details FROM audit_logs WHERE organization = %s ORDER BY id",
        (organization,),
    ).fetchall()
    assert found == sorted([(other, None, None, None, "{}"), (event_id, None, None, None, text)])


def test_the_name_of_the_view_may_be_taken(database: Recording) -> None:
    """Then the table of the application stays what it is, and nobody gets a right on it."""
    engine_url = database.url.rpartition("/")[0]
    with psycopg.connect(f"{engine_url}/postgres", autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS taken WITH (FORCE)")
        server.execute("CREATE DATABASE taken")
    try:
        with psycopg.connect(f"{engine_url}/taken", autocommit=True) as connection:
            connection.execute("CREATE TABLE audit_logs (mine integer); INSERT INTO audit_logs VALUES (7)")
            migrate(Address(f"{engine_url}/taken"))
            assert connection.execute("SELECT * FROM audit_logs").fetchall() == [(7,)]
            may = connection.execute("SELECT has_table_privilege('affidavit_reader', 'audit_logs', 'SELECT')")
            assert may.fetchone() == (False,)
    finally:
        with psycopg.connect(f"{engine_url}/postgres", autocommit=True) as server:
            server.execute("DROP DATABASE IF EXISTS taken WITH (FORCE)")
