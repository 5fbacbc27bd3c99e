"""Triggers of PostgreSQL: what changes a table, by whatever program, is an event of the same transaction."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from affidavit.cli import main
from affidavit.errors import ConfigError
from affidavit.recorder.capture.triggers import drop_sql, stale, trigger_sql
from tests.postgres import Server
from tests.recorder.apps import App
from tests.recorder.ports import sound
from tests.recorder.triggered import SAID, acting, app, engine, server, watch

__all__ = ["app", "engine", "server"]

PAGE = Path(__file__).resolve().parents[2] / "docs/howto/triggers.md"
HOSTILE = "Te\"a'm %s {}:x $affidavit$ \\ ü"


def rows_of(connection: Any, columns: str, table: str = "plants") -> dict[str, dict[str, Any]]:
    """The rows of a table by key, each value as JSON has it."""
    found = connection.execute(
        f"SELECT id, to_jsonb(t.*) FROM (SELECT {columns}, id FROM {table}) t"
    ).fetchall()
    return {str(key): {k: v for k, v in row.items() if k != "id"} for key, row in found}


def naive(before: dict[str, Any], after: dict[str, Any]) -> Counter[str]:
    """The events of what happened between two states of a table, by comparing them row by row."""
    found: list[Any] = []
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        names = {*(old or {}), *(new or {})}
        changes = {
            name: {"old": (old or {}).get(name), "new": (new or {}).get(name)}
            for name in names
            if (old or {}).get(name) != (new or {}).get(name)
        }
        kind = "create" if old is None else "delete" if new is None else "update"
        if changes or kind != "update":
            found.append((f"plants.{kind}", key, changes))
    return Counter(json.dumps(each, sort_keys=True) for each in found)


def events(app: App) -> Counter[str]:
    """The events that stand there, in the same form."""
    return Counter(
        json.dumps(
            (action, json.loads(resources)["resources"][0]["id"], json.loads(changes).get("changes", {})),
            sort_keys=True,
        )
        for action, resources, changes in app.events("action", "resources", "changes")
    )


SHOWN = "name, place, price, born, note, raw, spot"
STATEMENTS = {
    "insert": "INSERT INTO plants (id, name, note) VALUES (11, 'oak', '{\"a\": null}'), (12, NULL, '[]')",
    "insert select": "INSERT INTO plants (id, name) SELECT n, 'bulk ' || n FROM generate_series(100, 2599) n",
    "update": "UPDATE plants SET price = price + 1, born = '2026-01-02' WHERE id < 4",
    "update of nothing": "UPDATE plants SET name = name",
    "update of no row": "UPDATE plants SET name = 'x' WHERE id = 77",
    "types without equality": "UPDATE plants SET raw = '{\"b\": [1, 2]}', spot = '(1,2)' WHERE id = 1",
    "upsert": "INSERT INTO plants (id, name) VALUES (1, 'new'), (13, 'new')"
    " ON CONFLICT (id) DO UPDATE SET name = excluded.name || '!'",
    "merge": "MERGE INTO plants p USING (VALUES (1, 'm'), (2, NULL), (14, 'm')) AS s(id, name) ON p.id = s.id"
    " WHEN MATCHED AND s.name IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET name = s.name"
    " WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)",
    "with": "WITH gone AS (DELETE FROM plants WHERE id = 3 RETURNING id)"
    " INSERT INTO plants (id, name) SELECT id + 20, 'moved' FROM gone",
    "delete": "DELETE FROM plants WHERE id <> 1",
    "null and back": "UPDATE plants SET name = NULL, place = 'x' WHERE id = 2",
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=list(STATEMENTS))
def test_every_statement_is_recorded_row_by_row(app: App, statement: str) -> None:
    """What a comparison of the table before and after shows is what the events say, no more and no less."""
    with closing(app.connect()) as connection:
        connection.execute(
            "INSERT INTO plants (id, name, place, price)"
            " SELECT n, 'p' || n, NULL, n / 3.0 FROM generate_series(1, 5) n"
        )
    watch(app, exclude=["seen"], mask=["door"])
    with acting(app) as connection:
        before = rows_of(connection, SHOWN)
        connection.execute(statement)
        after = rows_of(connection, SHOWN)
    assert events(app) == naive(before, after)
    assert {who for (who,) in app.events("actor_id")} <= {"ana"}
    assert sound(app) == events(app).total()


def test_copy_and_what_is_rolled_back(app: App) -> None:
    """COPY is recorded in its order; what is rolled back, to a savepoint or whole, leaves no event."""
    watch(app)
    with acting(app) as connection:
        with connection.cursor().copy("COPY plants (id, name) FROM STDIN") as copy:
            for number in range(1, 2002):
                copy.write_row((number, f"p{number}"))
        connection.execute("SAVEPOINT inner_part")
        connection.execute("DELETE FROM plants")
        connection.execute("ROLLBACK TO SAVEPOINT inner_part")
    with acting(app) as connection:
        connection.execute("DELETE FROM plants")
        connection.rollback()
    ids = [json.loads(resources)["resources"][0]["id"] for (resources,) in app.events("resources")]
    assert ids == [str(number) for number in range(1, 2002)]
    assert {action for (action,) in app.events("action")} == {"plants.create"}


def test_keys_that_move_within_one_statement(app: App) -> None:
    """Rows that take each other's keys keep their pairs: each event names the new key and the old one."""
    watch(app, name="name")
    with acting(app) as connection:
        connection.execute("INSERT INTO plants (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c')")
        connection.execute("ALTER TABLE plants DROP CONSTRAINT plants_pkey")
        connection.execute("UPDATE plants SET id = 4 - id, place = name")
    found = [
        (json.loads(resources)["resources"], json.loads(changes)["changes"])
        for action, resources, changes in app.events("action", "resources", "changes")
        if action == "plants.update"
    ]
    by_name = {changes["place"]["new"]: (resources, changes.get("id")) for resources, changes in found}
    one = {"type": "plants", "id": "1"}
    three = {"type": "plants", "id": "3"}
    assert by_name == {
        "a": ([{**three, "name": "a"}, {**one, "name": "a"}], {"old": 1, "new": 3}),
        "b": ([{"type": "plants", "id": "2", "name": "b"}], None),
        "c": ([{**one, "name": "c"}, {**three, "name": "c"}], {"old": 3, "new": 1}),
    }


def test_one_change_and_then_many_in_the_same_session(app: App) -> None:
    """The plan that is kept of small changes serves a large one, too."""
    watch(app)
    with acting(app) as connection:
        for number in range(8):  # as often as it takes to keep a plan
            connection.execute("INSERT INTO plants (id, name) VALUES (%s, 'x')", (number,))
            connection.execute("UPDATE plants SET name = 'y' WHERE id = %s", (number,))
        connection.execute("INSERT INTO plants (id, name) SELECT n, 'x' FROM generate_series(100, 3099) n")
        connection.execute("UPDATE plants SET name = 'z' WHERE id >= 100")
    assert app.count() == 16 + 6_000


def test_truncate_is_one_event(app: App) -> None:
    """TRUNCATE shows no rows: one event says that all are gone."""
    watch(app)
    with acting(app) as connection:
        connection.execute("TRUNCATE plants")
    ((action, resources, details),) = app.events("action", "resources", "details")
    assert action == "plants.delete"
    assert json.loads(resources) == {"resources": [{"type": "plants", "id": "*"}]}
    assert json.loads(details) == {"metadata": {"statement": "truncate"}}


def test_masked_columns_stand_nowhere(app: App) -> None:
    """Neither their names in the SQL nor their values in an event, nor what is generated from them.

    A change of nothing else is an event without changes, one of excluded columns alone is none.
    """
    sql = watch(app, exclude=["seen"], mask=["door"])
    assert "door" not in sql
    assert "api_token" not in sql
    assert "shout" not in sql.replace(',"shout",', ",")  # it is named as one that does not count
    with acting(app) as connection:
        connection.execute(
            "INSERT INTO plants (id, name, door, api_token) VALUES (1, 'a', 'sesame', 'sesame')"
        )
        connection.execute("UPDATE plants SET seen = now()")
        connection.execute("UPDATE plants SET door = 'sesame open'")
        connection.execute("UPDATE plants SET api_token = 'sesame open', name = 'b'")
    found = app.events("action", "changes", "details")
    assert [action for action, _changes, _details in found] == [
        "plants.create",
        "plants.update",
        "plants.update",
    ]
    assert [json.loads(changes) for _action, changes, _details in found[1:]] == [
        {},
        {"changes": {"name": {"old": "a", "new": "b"}}},
    ]
    assert json.loads(found[1][2]) == {"metadata": {"masked": True}}
    texts = " ".join(map(str, app.events("actor", "resources", "context", "changes", "details")))
    assert "sesame" not in texts.lower()


def test_hostile_names(app: App) -> None:
    """Names of schema, table and columns hold quotes, braces, percent signs and our own dollar tag."""
    quoted = '"' + HOSTILE.replace('"', '""') + '"'
    with closing(app.connect()) as connection:
        columns = "o int, n int, t int, place int, e int, came int, changes text"
        connection.execute(f"CREATE SCHEMA {quoted}".encode())
        connection.execute(f"CREATE TABLE {quoted}.{quoted} ({quoted} text PRIMARY KEY, {columns})".encode())
        connection.execute("SET standard_conforming_strings = off")
        sql = trigger_sql(connection, f"{quoted}.{quoted}", organization="acme", name=HOSTILE)
        connection.execute(sql.encode())
    with acting(app) as connection:
        table = f"{quoted}.{quoted}"
        for statement in (
            f"INSERT INTO {table} VALUES ('k', 1, 2, 3, 4, 5, 6, '\"')",
            f"UPDATE {table} SET o = 9, place = 9, changes = ''",
            f"DELETE FROM {table}",
        ):
            connection.execute(statement.encode())
    found = app.events("action", "resources", "changes")
    assert [action.rpartition(".")[2] for action, _resources, _changes in found] == [
        "create",
        "update",
        "delete",
    ]
    assert json.loads(found[1][1])["resources"] == [{"type": HOSTILE, "id": "k", "name": "k"}]
    assert json.loads(found[1][2])["changes"] == {
        "o": {"old": 1, "new": 9},
        "place": {"old": 4, "new": 9},
        "changes": {"old": '"', "new": ""},
    }
    with closing(app.connect()) as connection:
        assert stale(connection) == []
        connection.execute(drop_sql(connection, table).encode())
        connection.execute(f"INSERT INTO {table} ({quoted}) VALUES ('z')".encode())
    assert app.count() == 3


def test_a_table_of_many_columns(app: App) -> None:
    """More columns than one call of a function takes."""
    names = [f"c{number}" for number in range(260)]
    with closing(app.connect()) as connection:
        connection.execute(f"CREATE TABLE wide (id int PRIMARY KEY, {', '.join(f'{n} int' for n in names)})")
    watch(app, "wide")
    with acting(app) as connection:
        connection.execute("INSERT INTO wide (id, c0, c120, c259) VALUES (1, 0, 1, 2)")
        connection.execute("UPDATE wide SET c55 = 3, c258 = 4")
    changes = [json.loads(text)["changes"] for (text,) in app.events("changes")]
    assert changes == [
        {"c0": {"old": None, "new": 0}, "c120": {"old": None, "new": 1}, "c259": {"old": None, "new": 2}},
        {"c55": {"old": None, "new": 3}, "c258": {"old": None, "new": 4}},
    ]


def test_nobody_who_is_known(app: App) -> None:
    """A change by nobody is refused with what to do, or recorded as the database's, as they were told."""
    watch(app)
    with closing(app.connect()) as connection:
        with pytest.raises(psycopg.Error, match="say who changes it") as refused:
            connection.execute("INSERT INTO plants (id) VALUES (1)")
        assert refused.value.sqlstate == "YA422"
        assert "affidavit.actor" in (refused.value.diag.message_hint or "")
        connection.execute("DELETE FROM plants WHERE id = 1")
    assert (app.count(), app.ask("SELECT count(*) FROM plants")) == (0, [(0,)])
    watch(app, without_actor="database")
    with closing(app.connect()) as connection:
        connection.execute("INSERT INTO plants (id) VALUES (1)")
    ((actor,),) = app.events("actor")
    assert json.loads(actor) == {"actor": {"type": "system", "id": "database", "name": "postgres"}}


def test_rows_of_several_organizations(app: App) -> None:
    """A column says whose row it is; without one the transaction's setting comes before the default."""
    watch(app, organization_column="place")
    with acting(app) as connection:
        connection.execute("INSERT INTO plants (id, place) VALUES (1, 'north'), (2, 'south'), (3, NULL)")
        connection.execute("SELECT set_config('affidavit.organization', 'west', true)")
        connection.execute("INSERT INTO plants (id) VALUES (4)")
    assert [name for (name,) in app.events("organization")] == ["north", "south", "acme", "west"]


def test_a_partitioned_table(app: App) -> None:
    """Statements on it, on a partition by its name and on one made later; a row that moves goes and comes."""
    with closing(app.connect()) as connection:
        connection.execute(
            "CREATE TABLE sales (id int, day int, what text, door text, PRIMARY KEY (id, day))"
            " PARTITION BY RANGE (day);"
            " CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM (0) TO (10)"
        )
        with pytest.raises(ConfigError, match="is a partition"):
            trigger_sql(connection, "sales_1")
    watch(app, "sales", mask=["door"])
    with acting(app) as connection:
        connection.execute("CREATE TABLE sales_2 PARTITION OF sales FOR VALUES FROM (10) TO (20)")
        connection.execute("INSERT INTO sales VALUES (1, 1, 'a'), (2, 11, 'b')")
        connection.execute("UPDATE sales_2 SET what = 'c', door = 'sesame'")
        connection.execute("UPDATE sales SET door = 'open' WHERE id = 1")
        connection.execute("UPDATE sales SET day = 12 WHERE id = 1")
        connection.execute("DELETE FROM sales_1")
        connection.execute("TRUNCATE sales")
    found = [
        (
            action.partition(".")[2],
            json.loads(resources)["resources"][0]["id"],
            json.loads(changes).get("changes"),
        )
        for action, resources, changes in app.events("action", "resources", "changes")
    ]
    assert found == [
        ("create", "1,1", {"what": {"old": None, "new": "a"}}),
        ("create", "2,11", {"what": {"old": None, "new": "b"}}),
        ("update", "2,11", {"what": {"old": "b", "new": "c"}}),
        ("update", "1,1", None),
        ("delete", "1,1", {"what": {"old": "a", "new": None}}),
        ("create", "1,12", {"what": {"old": None, "new": "a"}}),
        ("delete", "*", None),
    ]


def test_cascades(app: App) -> None:
    """What a foreign key deletes along is recorded, too."""
    with closing(app.connect()) as connection:
        connection.execute(
            "CREATE TABLE leaves (id int PRIMARY KEY, plant bigint REFERENCES plants ON DELETE CASCADE)"
        )
    watch(app, "leaves")
    with acting(app) as connection:
        connection.execute("INSERT INTO plants (id) VALUES (1)")
        connection.execute("INSERT INTO leaves VALUES (5, 1), (6, 1)")
        connection.execute("DELETE FROM plants")
    assert [action for (action,) in app.events("action")] == ["leaves.create"] * 2 + ["leaves.delete"] * 2


def test_roles_that_may_not_touch_the_log(app: App, server: Server) -> None:
    """The tables' owner may execute the entry point and nothing else, who writes them not even that."""
    with closing(app.connect()) as connection:
        for role in ("gardener", "visitor"):
            connection.execute(
                f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            )
        connection.execute("GRANT affidavit_writer TO gardener; CREATE SCHEMA garden AUTHORIZATION gardener")
    name = app.url.rpartition("/")[2]
    gardener, visitor = (server.url(name, user=role) for role in ("gardener", "visitor"))
    with psycopg.connect(gardener, autocommit=True) as connection:
        connection.execute("CREATE TABLE garden.beds (id int PRIMARY KEY, name text)")
        connection.execute(trigger_sql(connection, "garden.beds", organization="acme"))
        connection.execute("GRANT USAGE ON SCHEMA garden TO visitor; GRANT INSERT ON garden.beds TO visitor")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM public.affidavit_events")
    for url, number in ((gardener, 1), (visitor, 2)):
        with psycopg.connect(url) as connection:
            connection.execute(SAID)
            connection.execute("INSERT INTO garden.beds VALUES (%s, 'x')", (number,))
    assert [actor for (actor,) in app.events("actor_id")] == ["ana", "ana"]
    with psycopg.connect(visitor) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT public.affidavit_record_v1('acme', 'a.b')")


def test_the_check_names_what_no_longer_fits(app: App) -> None:
    """A renamed column stops changes and is named, as are new ones and triggers that are off or gone.

    Making them again mends it, after the table was renamed, too.
    """
    watch(app)
    with closing(app.connect()) as connection:
        assert stale(connection) == []
        connection.execute("ALTER TABLE plants RENAME COLUMN name TO title; ALTER TABLE plants ADD size int")
        connection.execute("ALTER TABLE plants DISABLE TRIGGER audit_capture_insert")
        connection.execute("DROP TRIGGER audit_capture_truncate ON plants")
        ((table, reasons),) = stale(connection)
        assert table == "plants"
        assert [reason.partition(":")[0] for reason in reasons] == [
            'the column "name" is gone or has another name',
            'the column "size" is new',
            'the column "title" is new',
            "the trigger audit_capture_truncate is missing",
            "the trigger audit_capture_insert is disabled",
        ]
        connection.execute("ALTER TABLE plants ENABLE TRIGGER audit_capture_insert")
    with acting(app) as connection, pytest.raises(psycopg.errors.UndefinedColumn, match="name"):
        connection.execute("INSERT INTO plants (id) VALUES (1)")
    with closing(app.connect()) as connection:
        connection.execute("ALTER TABLE plants RENAME TO trees")
        assert stale(connection)
    watch(app, "trees")
    with acting(app) as connection:
        connection.execute("INSERT INTO trees (id, title) VALUES (1, 'oak')")
    assert [action for (action,) in app.events("action")] == ["trees.create"]
    with closing(app.connect()) as connection:
        assert stale(connection) == []
        assert connection.execute(
            "SELECT count(*) FROM pg_proc WHERE proname LIKE 'audit_capture%'"
        ).fetchone() == (1,)
        connection.execute(
            "CREATE OR REPLACE FUNCTION audit_capture_trees() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RETURN NULL; END'"
        )
        assert "not the one that would be made now" in stale(connection)[0].reasons[-1]


@pytest.mark.parametrize(
    ("table", "wanted", "message"),
    [
        ("nothing", {}, "no table nothing"),
        ("a.b.c", {}, "no name of a table"),
        ("", {}, "no name of a table"),
        ("affidavit_events", {}, "own tables"),
        ("audit_logs", {}, "is no table"),
        ("keyless", {}, "no primary key"),
        ("plants", {"exclude": ["nmae"]}, "no column 'nmae'"),
        ("plants", {"mask": ["doors"]}, "no column 'doors'"),
        ("plants", {"mask": ["id"]}, "'id' of public.plants is not to be shown"),
        ("plants", {"key": ["api_token"]}, "not to be shown"),
        ("plants", {"organization": "a b"}, "organization 'a b'"),
        ("plants", {"actions": {"create": "Plants"}}, "action 'Plants'"),
        ("plants", {"actions": {"create": "audit.made"}}, "the product's own"),
        ("plants", {"actions": {"made": "plants.made"}}, "'made' is none of"),
        ("plants", {"actions": {}}, "at least one action"),
        ("plants", {"without_actor": "ignore"}, "refuse or database"),
    ],
)
def test_what_is_asked_for_in_vain(app: App, table: str, wanted: dict[str, Any], message: str) -> None:
    """Each is refused by name before any SQL is made."""
    with closing(app.connect()) as connection:
        connection.execute("CREATE TABLE keyless (id int)")
        with pytest.raises(ConfigError, match=message):
            trigger_sql(connection, table, **wanted)


def test_only_some_kinds(app: App) -> None:
    """Kinds that were not asked for have no trigger, also where they had one before."""
    watch(app)
    watch(app, actions={"update": "plant.change"}, type="plant", key=["name"])
    with acting(app) as connection:
        connection.execute("INSERT INTO plants (id, name) VALUES (1, 'a'); UPDATE plants SET price = 1")
        connection.execute("DELETE FROM plants; TRUNCATE plants")
    ((action, resources),) = app.events("action", "resources")
    assert action == "plant.change"
    assert json.loads(resources) == {"resources": [{"type": "plant", "id": "a"}]}


def test_the_command_prints_what_is_run(app: App, capfd: pytest.CaptureFixture[str]) -> None:
    """Its SQL makes triggers that record; ``--check`` finds nothing, then names a new column and fails."""

    def command(*words: str) -> tuple[int, str, str]:
        code = main(["triggers", *words, "--database", app.url])
        return code, *capfd.readouterr()

    code, sql, errors = command("plants", "--organization", "acme", "--mask", "door", "--name", "name")
    assert (code, errors) == (0, "")
    with closing(app.connect()) as connection:
        assert sql == trigger_sql(connection, "plants", organization="acme", mask=["door"], name="name")
        connection.execute(sql.encode())
    with acting(app) as connection:
        connection.execute("INSERT INTO plants (id) VALUES (1)")
    assert app.count() == 1
    assert command("--check") == (0, "", "")
    with closing(app.connect()) as connection:
        connection.execute("ALTER TABLE plants ADD size int")
    code, found, _errors = command("--check")
    assert code == 1
    assert json.loads(found) == {
        "table": "plants",
        "reason": 'the column "size" is new: no event shows it',
    }
    _code, sql, _errors = command("--drop", "plants")
    with closing(app.connect()) as connection:
        connection.execute(sql.encode())
        connection.execute("INSERT INTO plants (id) VALUES (2)")
    assert app.count() == 1
    assert command("trees") == (2, "", "error: There is no table trees.\n")
    assert command("--check", "plants")[0] == command()[0] == 2


def test_the_page_does_what_it_says(app: App, capfd: pytest.CaptureFixture[str]) -> None:
    """The command of docs/howto/triggers.md makes triggers that record what its SQL does."""
    page = PAGE.read_text(encoding="utf-8")
    (words,) = re.findall(r"^affidavit triggers (teams .*) > teams.sql$", page, re.MULTILINE)
    (sql,) = re.findall(r"^```sql\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with closing(app.connect()) as connection:
        connection.execute(
            "CREATE TABLE teams (id int PRIMARY KEY, name text, door_code text, search_text text);"
            " INSERT INTO teams VALUES (7, 'Base', '1234', 'base')"
        )
        assert main(["triggers", *words.split(), "--database", app.url]) == 0
        connection.execute(capfd.readouterr().out.encode())
        connection.execute(sql.encode())
    assert app.events("action", "actor_id", "changes", "context") == [
        (
            "teams.update",
            "ana",
            '{"changes":{"name":{"old":"Base","new":"Core"}}}',
            '{"ip": "203.0.113.7"}',
        )
    ]
