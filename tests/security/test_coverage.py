"""Every value of every table is checked, or stands in the list of operational columns with a reason."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.mutation.copies import ENGINES, FILES, Copy, PostgresCopy, copy_of
from tests.mutation.operational import PAGE, operational_columns

MAY_BE_EMPTY = {
    *("affidavit_permit", "affidavit_alarms", "affidavit_leases"),
    *("affidavit_pending", "affidavit_unfreed", "affidavit_freed"),
}
"""Tables without a row in a database that is at rest."""
ONE_VALUE = {f"affidavit_{table}.one" for table in ("index", "position", "closing", "partitioning")}
"""Columns in which PostgreSQL allows one value only, whoever writes it."""

SETTINGS = {
    f"affidavit_{name}"
    for name in (
        *("organizations", "tokens", "logins", "sessions", "catalogs", "policies", "holds"),
        *("pruned", "migrations", "months"),
    )
}


@pytest.fixture(scope="module", params=ENGINES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A database with a row of every kind."""
    folder = tmp_path_factory.mktemp("coverage")
    with copy_of(request.param, folder, lambda: request.getfixturevalue("postgres")) as copy:
        yield copy


@pytest.fixture
def database(made: Copy) -> Iterator[Copy]:
    """The same, put back as it was after the test."""
    yield made
    made.restore()


def test_the_database_is_sound_before_anybody_edits_it(database: Copy) -> None:
    """Without an edit fsck finds nothing, and counts every entry once."""
    total = database.verdict()
    assert total.sound, list(total.lines())
    assert total.end == total.verified + total.redacted + total.expired + total.pruned > 300
    assert total.redacted == 3
    assert total.expired == 5
    assert total.pruned == 4


@pytest.mark.parametrize("name", FILES)
def test_each_edited_value_is_named(database: Copy, name: str) -> None:
    """Of every column of every table one value is changed: fsck names table and column or row."""
    if name not in database.parts:
        return  # of PostgreSQL all but the guard is one database
    missed = []
    dice = random.Random(f"coverage of {name}")
    edits = 0
    for cells in _together(database, name):
        done = {cell: what for cell in cells if (what := _alter(database, name, *cell, dice)) is not None}
        edits += len(done)
        failures = database.verdict().failures if done else ()
        for (table, column), what in done.items():
            if not any(_names(failure.what, table) for failure in failures):
                missed.append((table, column, what, [failure.line() for failure in failures[:3]]))
            database.undo(table)
    assert missed == [], "\n".join(map(str, missed))
    assert edits >= 10


def _together(database: Copy, name: str) -> Iterator[list[tuple[str, str]]]:
    """The cells that are edited at one time.

    Where a server makes fsck slow these are one of each table of settings: its faults concern no other table.
    """
    listed = operational_columns()
    settings: dict[int, list[tuple[str, str]]] = {}
    for table in database.tables(name):
        columns = [column for column in database.columns(name, table) if f"{table}.{column}" not in listed]
        for number, column in enumerate(columns):
            if table in SETTINGS and isinstance(database, PostgresCopy):
                settings.setdefault(number, []).append((table, column))
            else:
                yield [(table, column)]
    yield from settings.values()


def _alter(database: Copy, name: str, table: str, column: str, dice: random.Random) -> str | None:
    what = database.alter(name, table, column, dice)
    allowed = table in MAY_BE_EMPTY or f"{table}.{column}" in ONE_VALUE
    assert what is not None or allowed, f"{table}.{column} was not edited"
    return what


def _names(what: str, table: str) -> bool:
    """Whether a failure is about this table; one of leaves may be named at the row, and the reverse."""
    twins = {
        "affidavit_leaves": "affidavit_events",
        "affidavit_guard_manifests": "affidavit_manifests",
        "affidavit_index": "affidavit_hourly",
    }
    return what.startswith(table) or (table in twins and what.startswith(twins[table]))


def test_every_table_stands_on_the_page(made: Copy) -> None:
    """The page says of every table how it is checked, or lists its columns."""
    text = PAGE.read_text("utf-8")
    tables = {table for name in made.parts for table in made.tables(name)}
    assert [table for table in sorted(tables) if f"`{table}" not in text] == []


def test_the_list_names_only_columns_that_are_there(made: Copy) -> None:
    """The page lists no column that its table does not have."""
    there = {table: set(made.columns(name, table)) for name in made.parts for table in made.tables(name)}
    listed = [each.split(".") for each in operational_columns()]
    assert [column for table, column in listed if table in there and column not in there[table]] == []
    assert len(listed) == 30
