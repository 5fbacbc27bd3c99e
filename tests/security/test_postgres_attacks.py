"""Somebody with every right on a PostgreSQL server: what only he can do, and what names it.

The attacks that both engines know stand in ``test_database_attacks.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from affidavit.core.ids import make_id
from affidavit.wiring.fsck import check_everything
from tests.mutation import world
from tests.mutation.copies import PostgresCopy, copy_of
from tests.postgres import Server


@pytest.fixture(scope="module")
def made(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresCopy]:
    """A database with a row of every kind."""
    with copy_of("postgres", tmp_path_factory.mktemp("attacks"), lambda: postgres) as copy:
        assert isinstance(copy, PostgresCopy)
        yield copy


@pytest.fixture
def database(made: PostgresCopy) -> Iterator[PostgresCopy]:
    """The same, put back as it was after the test."""
    yield made
    made.restore()


def superuser(database: PostgresCopy, *statements: str, triggers: bool = True) -> None:
    """Statements of a superuser, in one transaction."""
    with psycopg.connect(database.url) as connection:
        if not triggers:
            connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            connection.execute(statement.encode())


def assert_named(database: PostgresCopy, *parts: str) -> None:
    """One failure has all these parts."""
    named = database.named()
    assert any(all(part in line for part in parts) for line in named), named or "fsck found it sound"


def this_month(database: PostgresCopy) -> str:
    """The partition in which most events stand."""
    ((name,),) = database.rows(
        "SELECT tableoid::regclass::text FROM affidavit_events GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
    )
    return str(name)


def record(database: PostgresCopy, count: int = 1) -> list[str]:
    """Events that wait for their leaf; their ids."""
    drafts = [world.draft(number, "payment.refund") for number in range(count)]
    with world.opened(database.settings) as instance:
        return world.insert(instance, "acme", drafts)


def an_event(database: PostgresCopy) -> tuple[int, str]:
    """Place and id, in hex, of an event of ``acme``."""
    ((seq, event_id),) = database.rows(
        "SELECT seq, id FROM affidavit_events WHERE organization = 'acme' AND action = 'document.update'"
        " ORDER BY id LIMIT 1"
    )
    return seq, event_id.hex()


def test_a_month_truncated(database: PostgresCopy) -> None:
    """Its own trigger refuses; without triggers every leaf of it stands without its event."""
    month = this_month(database)
    with pytest.raises(psycopg.errors.RestrictViolation):
        superuser(database, f"TRUNCATE {month}")
    superuser(database, f"TRUNCATE {month}", triggers=False)
    verdict = database.verdict()
    assert verdict.failed > 300
    assert_named(database, "affidavit_events", "is gone and no manifest explains it")


def test_a_month_detached(database: PostgresCopy) -> None:
    """The month is named by the catalog, by the list of months and by each of its leaves."""
    month = this_month(database)
    superuser(database, f"ALTER TABLE affidavit_events DETACH PARTITION {month}")
    assert_named(database, "affidavit_months.part", month, "its events are missing")
    assert_named(database, month, "no migration makes it")
    assert_named(database, "affidavit_events", "is gone and no manifest explains it")


def test_a_month_emptied_into_the_default_partition(database: PostgresCopy) -> None:
    """Nothing is lost and nothing changed: a warning, for as long as the months are listed as they are."""
    month = this_month(database)
    superuser(
        database,
        f"ALTER TABLE affidavit_events DETACH PARTITION {month}",
        f"INSERT INTO affidavit_events SELECT * FROM {month}",
        f"DROP TABLE {month}",
        f"DELETE FROM affidavit_months WHERE part = '{month}'",
        triggers=False,
    )
    verdict = database.verdict()
    assert verdict.sound, list(verdict.lines())
    assert any("default partition" in text for text in verdict.warnings)


def test_an_event_moved_to_another_month(database: PostgresCopy) -> None:
    """Its id says when it happened: with another id it is another event, which nobody recorded."""
    other = make_id(1_100_000_000_000_000, 4711).hex()
    seq, event_id = an_event(database)
    superuser(
        database,
        f"UPDATE affidavit_events SET id = '{other}' WHERE id = '{event_id}'",
        triggers=False,
    )
    assert_named(database, f"seq {seq}", "is gone and no manifest explains it")
    assert_named(database, "affidavit_events", other[:8], "neither waits for its leaf nor has one")


def test_a_row_moved_past_its_partition(database: PostgresCopy) -> None:
    """The same row in the default partition, where its month is attached, is refused from everybody."""
    month = this_month(database)
    with pytest.raises(psycopg.errors.CheckViolation):
        superuser(database, f"INSERT INTO affidavit_events_default SELECT * FROM {month}", triggers=False)


@pytest.mark.parametrize("table", ["affidavit_events", "affidavit_tokens", "affidavit_leaves"])
def test_a_view_in_place_of_a_table(database: PostgresCopy, table: str) -> None:
    """It shows the same rows today; it need not tomorrow."""
    superuser(
        database, f"ALTER TABLE {table} RENAME TO hidden", f"CREATE VIEW {table} AS SELECT * FROM hidden"
    )
    assert_named(database, table, "table", "is missing from the schema")


def test_a_view_that_leaves_out_a_row(database: PostgresCopy) -> None:
    """What it leaves out is missed as if it were deleted."""
    seq, event_id = an_event(database)
    superuser(
        database,
        "ALTER TABLE affidavit_events RENAME TO hidden",
        f"CREATE VIEW affidavit_events AS SELECT * FROM hidden WHERE id <> '{event_id}'",
    )
    assert_named(database, f"seq {seq}", "is gone and no manifest explains it")


def test_rows_hidden_by_a_policy(database: PostgresCopy) -> None:
    """A superuser sees past it and names it; a role that cannot refuses to read rather than miss rows."""
    superuser(
        database,
        "CREATE POLICY quiet ON affidavit_events FOR SELECT USING (action <> 'document.update')",
        "ALTER TABLE affidavit_events ENABLE ROW LEVEL SECURITY",
    )
    assert_named(database, "affidavit_events", "policy quiet", "no migration makes it")
    assert_named(database, "affidavit_events", "table", "row level security")
    named = [failure.line() for failure in check_everything(as_server(database)).total().failures]
    assert any("could not be read" in line and "row-level security" in line for line in named), named


def as_server(database: PostgresCopy) -> Any:
    """The settings of somebody who connects with the rights of the server and no more."""
    with psycopg.connect(database.url) as connection:
        found = connection.execute("SELECT FROM pg_roles WHERE rolname = 'watcher'").fetchone()
        if found is None:
            connection.execute("CREATE ROLE watcher LOGIN IN ROLE affidavit_server")
    return world.settings_in(database.settings.data_dir, database.url.replace("postgres@", "watcher@"))


def test_the_server_may_check(database: PostgresCopy) -> None:
    """The rights of the server are enough to see everything that fsck looks at."""
    total = check_everything(as_server(database)).total()
    assert total.sound, list(total.lines())
    assert total.end == database.verdict().end


def search_in(database: PostgresCopy, path: str) -> None:
    """What every new connection to the database looks names up in."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        name = sql.Identifier(database.url.rpartition("/")[2])
        connection.execute(sql.SQL("ALTER DATABASE {} SET search_path = " + path).format(name))


def test_another_table_of_the_name(database: PostgresCopy) -> None:
    """Names lead to our schema and to nothing in front of it, whatever the search path of the database."""
    before = database.verdict().end
    superuser(
        database,
        "CREATE SCHEMA evil",
        "CREATE TABLE evil.affidavit_events (LIKE public.affidavit_events)",
        "CREATE TABLE evil.affidavit_tokens (LIKE public.affidavit_tokens)",
    )
    search_in(database, "evil, public")
    verdict = database.verdict()
    assert verdict.sound, list(verdict.lines())
    assert verdict.end == before
    record(database)
    world.work(database.settings)
    assert database.verdict().end == before + 1


def test_operators_that_lie(database: PostgresCopy) -> None:
    """Equality of numbers, redefined in front of the catalog: fsck does not look there."""
    before = database.verdict().end
    superuser(
        database,
        "CREATE SCHEMA evil",
        "CREATE FUNCTION evil.lie(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
        "CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.lie)",
    )
    search_in(database, "evil, public, pg_catalog")
    verdict = database.verdict()
    assert verdict.sound, list(verdict.lines())
    assert verdict.end == before


def test_a_setting_whose_event_still_waits(database: PostgresCopy) -> None:
    """Settings are replayed with the events that have no leaf so far: right is sound, edited is named."""
    with world.opened(database.settings) as instance:
        made = instance.tokens.create(
            name="new", organizations=("acme",), abilities=("events:write",), by=world.OPERATOR
        )
    findings = database.findings()
    assert findings.total().sound, list(findings.total().lines())
    assert findings.pending == 1
    superuser(database, f"UPDATE affidavit_tokens SET name = 'other' WHERE id = '{made.token.id}'")
    assert_named(database, "affidavit_tokens.name", made.token.id, "was changed without an event")


def test_an_event_and_its_place_in_the_queue(database: PostgresCopy) -> None:
    """Either alone is named; both, before the sequencer came, leave nothing, as the security model says."""
    (event_id,) = record(database)
    assert database.verdict().sound
    superuser(database, f"DELETE FROM affidavit_pending WHERE id = '{event_id}'", triggers=False)
    assert_named(database, "affidavit_events", event_id, "neither waits for its leaf nor has one")
    superuser(database, f"DELETE FROM affidavit_events WHERE id = '{event_id}'", triggers=False)
    assert database.verdict().sound
    database.restore()
    (event_id,) = record(database)
    superuser(database, f"DELETE FROM affidavit_events WHERE id = '{event_id}'", triggers=False)
    assert_named(database, "affidavit_pending.id", "there is no such event")


def test_an_event_put_into_the_queue_again(database: PostgresCopy) -> None:
    """Twice, or although it has its leaf."""
    (event_id,) = record(database)
    double = "INSERT INTO affidavit_pending (organization, id) SELECT organization, id FROM"
    superuser(database, f"{double} affidavit_events WHERE id = '{event_id}'")
    assert_named(database, "affidavit_pending.id", event_id, "waits for its leaf twice")
    superuser(database, f"{double} affidavit_events WHERE action = 'invoice.pay' LIMIT 1")
    assert_named(database, "affidavit_pending.id", "although it has one")


def test_a_leaf_and_its_event(database: PostgresCopy) -> None:
    """Deleted together they are missed by the tree, whose other leaves still count on them."""
    seq, event_id = an_event(database)
    ((tree, index),) = database.rows("SELECT tree, idx FROM affidavit_leaves WHERE seq = ?", (seq,))
    superuser(
        database,
        f"DELETE FROM affidavit_events WHERE id = '{event_id}'",
        f"DELETE FROM affidavit_leaves WHERE seq = {seq}",
        triggers=False,
    )
    assert_named(database, "affidavit_leaves", f"({tree}, {index})", "the leaf is missing")
    assert_named(database, "affidavit_leaves.seq", f"({seq + 1})", "the place before it has no leaf")


def test_the_place_of_the_queue(database: PostgresCopy) -> None:
    """Moved by hand, back or ahead, it is not that of the newest leaf."""
    for move in ("- 3", "+ 3"):
        superuser(database, f"UPDATE affidavit_position SET seq = seq {move}")
        assert_named(database, "affidavit_position.seq")
        database.restore()


def test_a_lease_of_somebody_else(database: PostgresCopy) -> None:
    """Who works is no evidence: nothing is named, and the worker goes on when it is over."""
    superuser(
        database,
        "INSERT INTO affidavit_leases VALUES ('worker', 'mallory', 77, 0)"
        " ON CONFLICT (name) DO UPDATE SET holder = 'mallory', fence = 77, until = 0",
    )
    before = database.verdict()
    assert before.sound, list(before.lines())
    record(database)
    world.work(database.settings)
    assert database.verdict().end == before.end + 1


def test_the_sequence_of_the_queue_set_back(database: PostgresCopy) -> None:
    """Numbers that would be given out twice are named while such a number waits."""
    record(database, 3)
    superuser(database, "SELECT setval('affidavit_pending_seq_seq', 1)")
    assert_named(database, "affidavit_pending_seq_seq.last_value", "given out twice")


def test_the_recording_function_replaced(database: PostgresCopy) -> None:
    """It says that it recorded and does not: no row can show that, the function itself does."""
    ((definition,),) = database.rows("SELECT pg_get_functiondef('affidavit_record_v1'::regproc)")
    head = definition.partition("AS $")[0]
    superuser(database, f"{head} AS $f$ BEGIN RETURN NULL; END $f$")
    assert_named(database, "affidavit_record_v1(", "another definition")


def test_a_closed_range_opened(database: PostgresCopy) -> None:
    """Rows were pruned here: the trigger that keeps new ones out of the range is missed."""
    ((part,),) = database.rows(
        "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'affidavit_events_closed' LIMIT 1"
    )
    superuser(database, f"DROP TRIGGER affidavit_events_closed ON {part}")
    assert_named(database, part, "affidavit_events_closed", "can be recorded in a range that was pruned")


def test_a_rule_that_drops_what_is_recorded(database: PostgresCopy) -> None:
    """Events that a rule throws away leave no trace; the rule does."""
    superuser(
        database,
        "CREATE RULE quiet AS ON INSERT TO affidavit_events WHERE NEW.severity <> 'info' DO INSTEAD NOTHING",
    )
    assert_named(database, "affidavit_events", "rule quiet", "no migration makes it")


def test_triggers_switched_off(database: PostgresCopy) -> None:
    """For the table or one partition alone."""
    for table in ("affidavit_events", this_month(database)):
        superuser(database, f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        assert_named(database, table, "trigger affidavit_events_keep", "(disabled)")
        database.restore()


@pytest.mark.parametrize("table", ["affidavit_partitioning", "affidavit_closing"])
def test_a_row_that_must_be_there(database: PostgresCopy, table: str) -> None:
    """Whoever waits for a change of these rows would wait in vain."""
    superuser(database, f"DELETE FROM {table}")
    assert_named(database, table, "must have exactly one row")
