"""Recording from SQL: what one call stores, when it is a repeat, and who may call it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from affidavit.core.ids import first_id, keyed_tail, make_id, microseconds_of
from affidavit.core.row import COLUMNS
from tests.unit.storage.postgres.recording import ACTOR, Recording, moment_of, names, told

# What stands there afterwards.


def test_the_row_is_what_was_said(database: Recording) -> None:
    """Each column, with the defaults of what was left out; one place in the queue; the database's clock."""
    before = time.time_ns() // 1000
    details = '{"reason": "because",  "metadata":{"b":1.10,"a":[1e2,null,"\\u00e9"]}}'
    event_id, duplicate = database.record(
        action="team.update", organization="org.Z", project="p:1", details=f" \n{details}\t"
    )
    row = database.row(event_id, "org.Z")
    assert not duplicate
    assert before - 1_000_000 <= row["recorded_at"] <= time.time_ns() // 1000 + 1_000_000
    assert microseconds_of(row["id"]) == row["recorded_at"]
    assert len(row["secret"]) == 32
    expected = dict.fromkeys(COLUMNS) | {
        "id": event_id.bytes, "version": 1, "organization": b"org.Z", "project": b"p:1",
        "action": b"team.update", "outcome": b"success", "severity": b"info", "source": b"sql", "imported": 0,
        "actor_id": b"ana", "actor": ACTOR.encode(), "resources": b"{}", "context": b"{}", "changes": b"{}",
        "details": details.encode(), "secret": row["secret"], "recorded_at": row["recorded_at"],
    }  # fmt: skip
    assert row == expected
    queued = database.sql.execute("SELECT organization FROM affidavit_pending WHERE id = %s", (event_id,))
    assert queued.fetchall() == [("org.Z",)]
    database.check_leaf(event_id, "org.Z")


def test_what_is_given_is_kept(database: Recording) -> None:
    """Outcome, severity, source, parent, time, id and secret."""
    at = time.time_ns() // 1000 - 5_000_000
    event_id, parent, secret = UUID(bytes=make_id(at, 7)), UUID(bytes=make_id(at, 8)), bytes(range(32))
    said = {"outcome": "failure", "severity": "critical", "source": "web"}
    assert database.record(
        **said, occurred_at=moment_of(at), id=event_id, parent_id=parent, secret=secret
    ) == (event_id, False)
    row = database.row(event_id)
    assert {name: row[name].decode() for name in said} == said
    assert (row["parent_id"], row["secret"], row["id"]) == (parent.bytes, secret, event_id.bytes)


def test_secrets_and_ids_of_chance_are_all_different(database: Recording) -> None:
    """Also of events of one moment."""
    found = database.many([{"organization": "chance"}] * 200)
    secrets = database.sql.execute("SELECT secret FROM affidavit_events WHERE organization = 'chance'")
    assert len({secret for (secret,) in secrets}) == 200
    tails = [event_id.int & ((1 << 62) - 1) for event_id, _ in found]
    assert len(set(tails)) == 200
    # 62 bits of chance: each is set in some and not in others.
    assert all(0 < sum(tail >> bit & 1 for tail in tails) < 200 for bit in range(62))


def test_ids_are_those_of_the_recorder(database: Recording) -> None:
    """UUIDv7 by method 3, for random moments and tails, and back to the microsecond."""
    random = Random(7)
    pairs = [(random.randrange(253_402_300_799_999_999), random.getrandbits(62)) for _ in range(3_000)] + [
        (moment, 0) for moment in range(1_000)
    ]
    moments, tails = (list(column) for column in zip(*pairs, strict=True))
    found = database.sql.execute(
        "SELECT affidavit_make_id(m, t), affidavit_microseconds(affidavit_make_id(m, t))"
        " FROM unnest(%s::bigint[], %s::bigint[]) WITH ORDINALITY AS u (m, t, n) ORDER BY n",
        (moments, tails),
    ).fetchall()
    assert found == [(UUID(bytes=make_id(moment, tail)), moment) for moment, tail in pairs]
    at = datetime(2026, 11, 21, 5, 29, 43, 123_457, tzinfo=UTC)
    ((first,),) = database.sql.execute("SELECT affidavit_first_id(%s)", (at,)).fetchall()
    assert first.bytes == first_id(int(at.timestamp()) * 1_000_000 + 123_457)


@pytest.mark.parametrize("key", ["k", "ключ-✓", "x" * 255, "a\tb\nc"])
def test_a_key_gives_the_id_of_the_recorder(database: Recording, key: str) -> None:
    """The time bits, and 62 bits of SHA-256 over the organization's secret and the key."""
    organization, at = next(names), time.time_ns() // 1000 - 1_000_000
    event_id, _ = database.record(organization=organization, idempotency_key=key, occurred_at=moment_of(at))
    ((secret,),) = database.sql.execute(
        "SELECT secret FROM affidavit_organizations WHERE name = %s", (organization,)
    ).fetchall()
    assert event_id.bytes == make_id(at, keyed_tail(secret, key))
    database.record(organization=organization, idempotency_key="other", occurred_at=moment_of(at))
    again = database.sql.execute(
        "SELECT secret, declared FROM affidavit_organizations WHERE name = %s", (organization,)
    )
    assert again.fetchall() == [(secret, 0)]


def test_without_a_key_no_organization_is_made(database: Recording) -> None:
    """Recording does not touch that table."""
    organization = next(names)
    database.record(organization=organization)
    found = database.sql.execute("SELECT FROM affidavit_organizations WHERE name = %s", (organization,))
    assert found.fetchall() == []


# Twice the same.


def test_the_same_again_is_a_duplicate(database: Recording) -> None:
    """One row, one place in the queue, and whoever recorded first has said the severity."""
    said: dict[str, Any] = {
        "organization": next(names), "idempotency_key": "k", "occurred_at": datetime.now(UTC),
        "context": '{"ip":"10.0.0.1","trace_id":"t"}',
    }  # fmt: skip
    event_id, first = database.record(**said)
    before = database.count()
    again = said | {"context": '{ "trace_id":"t", "ip":"10.0.0.1" }', "severity": "critical"}
    assert not first
    assert database.record(**said) == database.record(**again) == (event_id, True)
    assert database.count() == before


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("action", "user.delete"),
        ("outcome", "failure"),
        ("source", "web"),
        ("project", "p"),
        ("parent_id", UUID(int=5)),
        ("actor", '{"actor":{"id":"bob","type":"user"}}'),
        ("actor", '{"actor":{"id":"ana","type":"service"}}'),
        ("resources", '{"resources":[{"id":"1","type":"team"}]}'),
        ("context", '{"ip":"10.0.0.1"}'),
        ("changes", '{"changes":{"plan":{"new":2}}}'),
        ("details", '{"reason":"other"}'),
    ],
)
def test_other_content_under_an_id_is_a_conflict(database: Recording, field: str, other: Any) -> None:
    """Each field that counts; nothing is stored, and the message names the event."""
    said: dict[str, Any] = {
        "organization": next(names),
        "idempotency_key": "k",
        "occurred_at": datetime.now(UTC),
    }
    event_id, _ = database.record(**said)
    before = database.count()
    with pytest.raises(psycopg.DatabaseError, match=str(event_id)) as error:
        database.record(**said | {field: other})
    assert told(error.value) == ("YA409", "/id", "conflict")
    assert database.count() == before


def test_an_erased_event_is_a_duplicate_and_is_not_filled_again(database: Recording) -> None:
    """A group that is gone counts as the same."""
    said: dict[str, Any] = {
        "organization": next(names),
        "idempotency_key": "k",
        "occurred_at": datetime.now(UTC),
    }
    event_id, _ = database.record(**said, details='{"reason":"personal"}')
    with database.sql.transaction():
        database.sql.execute(
            "INSERT INTO affidavit_permit VALUES (%s, 'erasure', 'm')", (said["organization"],)
        )
        database.sql.execute(
            "UPDATE affidavit_events SET details = NULL, actor = NULL, actor_id = NULL, context = NULL,"
            " secret = NULL, remains = '{}' WHERE id = %s",
            (event_id,),
        )
        database.sql.execute("DELETE FROM affidavit_permit")
    assert database.record(**said, details='{"reason":"anything"}') == (event_id, True)
    assert database.row(event_id, said["organization"])["details"] is None


@pytest.mark.parametrize("committed", [True, False])
def test_one_key_in_two_transactions_at_once(database: Recording, committed: bool) -> None:
    """The second waits for the first: a duplicate where that was committed, new where it was rolled back."""
    said: dict[str, Any] = {
        "organization": next(names),
        "idempotency_key": "k",
        "occurred_at": datetime.now(UTC),
    }
    database.record(**said | {"idempotency_key": "makes the secret"})
    answers: list[tuple[UUID, bool]] = []
    with psycopg.connect(database.url) as first, psycopg.connect(database.url, autocommit=True) as second:
        event_id, new = database.record(first, **said)
        waiting = threading.Thread(target=lambda: answers.append(database.record(second, **said)))
        waiting.start()
        blocked = "SELECT cardinality(pg_blocking_pids(%s))"
        deadline = time.monotonic() + 20
        while database.sql.execute(blocked, (second.info.backend_pid,)).fetchone() == (0,):
            assert time.monotonic() < deadline
        assert answers == []
        first.commit() if committed else first.rollback()
        waiting.join()
    assert (new, answers) == (False, [(event_id, committed)])
    found = database.sql.execute(
        "SELECT count(*) FROM affidavit_pending WHERE organization = %s AND id = %s",
        (said["organization"], event_id),
    )
    assert found.fetchone() == (1,)


def test_it_belongs_to_the_transaction_of_the_caller(database: Recording) -> None:
    """Rolled back with it, and with a savepoint of it."""
    before = database.count()
    with psycopg.connect(database.url) as connection:
        database.record(connection)
        connection.rollback()
        assert database.count() == before
        kept, _ = database.record(connection)
        with connection.transaction(force_rollback=True):
            database.record(connection)
        connection.commit()
    assert database.count() == (before[0] + 1, before[1] + 1)
    assert database.row(kept)["action"] == b"user.create"


# Who may call it, and what a caller cannot do with it.


def test_the_writer_may_record_and_nothing_else(database: Recording) -> None:
    """No table can be read or written; others may not even record."""
    database.sql.execute("CREATE ROLE somebody") if not roles(database, "somebody") else None
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("SET ROLE affidavit_writer")
        database.record(connection)
        for statement in (
            "SELECT * FROM affidavit_events",
            "INSERT INTO affidavit_pending (organization, id) VALUES ('a', gen_random_uuid())",
            "DELETE FROM affidavit_events",
            "TRUNCATE affidavit_events",
            "SELECT * FROM audit_logs",
            "SELECT secret FROM affidavit_organizations",
            "SELECT affidavit_organization_secret('acme')",
            "INSERT INTO affidavit_permit VALUES ('acme', 'erasure', 'm')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        connection.execute("SET ROLE somebody")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.record(connection)


def roles(database: Recording, name: str) -> list[Any]:
    """The role of that name, if it is there."""
    return database.sql.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchall()


def test_names_of_the_caller_are_not_looked_at(database: Recording) -> None:
    """Neither temporary tables nor functions of the same names lead anything astray."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(
            "CREATE SCHEMA mine;"
            "CREATE FUNCTION mine.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1';"
            "CREATE FUNCTION mine.btrim(text, text) RETURNS text LANGUAGE sql AS 'SELECT ''{}''::text';"
            "CREATE TEMP TABLE affidavit_events (LIKE public.affidavit_events);"
            "CREATE TEMP TABLE affidavit_pending (LIKE public.affidavit_pending);"
            "SET search_path = mine, pg_temp, pg_catalog, public"
        )
        before = database.count()
        event_id, _ = database.record(connection)
        assert database.count() == (before[0] + 1, before[1] + 1)
        assert database.row(event_id)["actor"] == ACTOR.encode()
        connection.execute("DROP SCHEMA mine CASCADE")


@pytest.mark.parametrize(
    "setting", ["TimeZone = 'America/New_York'", "DateStyle = 'German, DMY'", "bytea_output = 'escape'"]
)
def test_settings_of_the_caller_change_nothing(database: Recording, setting: str) -> None:
    """The same id and the same bytes whatever the session says."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"SET {setting}")
        organization, at = next(names), time.time_ns() // 1000
        event_id, _ = database.record(
            connection, organization=organization, idempotency_key="k", occurred_at=moment_of(at)
        )
        assert microseconds_of(event_id.bytes) == at
        database.check_leaf(event_id, organization)


def test_what_sql_casts_to_json_is_taken(database: Recording) -> None:
    """json_build_object and jsonb, as a program or a trigger writes them."""
    ((event_id,),) = database.sql.execute(
        "SELECT id FROM affidavit_record_v1('acme', 'team.update',"
        " actor => json_strip_nulls(json_build_object('actor', json_build_object('type', 'user', 'id',"
        " 7::text, 'email', NULL)))::text, details => %s::jsonb::text)",
        (Jsonb({"metadata": {"b": 1, "a": [1, 2]}}),),
    ).fetchall()
    assert database.row(event_id)["actor"] == b'{"actor":{"type":"user","id":"7"}}'
    database.check_leaf(event_id)
