"""The SQL entry point in an app's own transaction, beside the insert that a person would write by hand.

Each transaction changes a row of a business table first. *By hand* is one statement that inserts ready values
into the event table and its row into the queue: no checks, no id made, no secret.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

import psycopg

from affidavit.core.row import COLUMNS, Row
from affidavit.wiring import clock
from bench.data import Source
from bench.postgres import PostgresBase
from bench.results import Results, at_most_ratio
from bench.stores import intake

__all__ = ["measure"]

ROUNDS: Final = 7
ONES: Final = 300
"""Transactions of a round with one event each."""
MANY: Final = 100
HUNDREDS: Final = 10
"""Transactions of a round with a hundred events each."""

_BY_HAND = (
    f"WITH event AS (INSERT INTO affidavit_events ({', '.join(COLUMNS)})"
    f" VALUES ({', '.join(['%s'] * len(COLUMNS))}) RETURNING organization, id)"
    " INSERT INTO affidavit_pending (organization, id) SELECT organization, id FROM event"
)
_ARGUMENTS = ("organization", "action", "project", "actor", "resources", "context", "changes", "details")
_ONE = (
    "SELECT id FROM affidavit_record_v1("
    + ", ".join(f"{name} => %s" for name in (*_ARGUMENTS, "outcome", "source"))
    + ")"
)
_MANY = (
    "SELECT id FROM affidavit_record_many_v1("
    + ", ".join(f"{name} => %s::text[]" for name in (*_ARGUMENTS, "outcome", "source"))
    + ")"
)
_PLACES = [COLUMNS.index(name) for name in (*_ARGUMENTS, "outcome", "source")]


def measure(results: Results, base: PostgresBase) -> None:
    """Add the rows of one event and of a hundred."""
    twin = base.beside("entry")
    twin.make()
    made, source = intake(), Source(31, lean=True)
    with psycopg.connect(twin.url) as connection:
        connection.execute("CREATE TABLE shop (id int PRIMARY KEY, stock int)")
        connection.execute("INSERT INTO shop SELECT n, 0 FROM generate_series(1, 1000) n")
        connection.commit()
        ones: tuple[list[float], list[float]] = ([], [])
        hundreds: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS + 1):
            for times, transactions, events in ((ones, ONES, 1), (hundreds, HUNDREDS, MANY)):
                for side, record in zip(times, (_record, _by_hand), strict=True):
                    rows = [
                        made.prepare(source.drafts(events), organization=None) for _ in range(transactions)
                    ]
                    side.append(_timed(connection, rows, record))
    twin.drop()
    results.add(
        at_most_ratio(
            "affidavit_record_v1, one event in a transaction", ones[0][1:], ones[1][1:], 1.2, unit="ms"
        ),
        at_most_ratio(
            f"affidavit_record_many_v1, {MANY} events in a transaction, beside {MANY} inserts",
            hundreds[0][1:],
            hundreds[1][1:],
            0.6,
            unit="ms",
        ),
    )


def _timed(
    connection: psycopg.Connection[tuple[Any, ...]],
    transactions: Sequence[Sequence[Row]],
    record: Callable[[psycopg.Connection[tuple[Any, ...]], Sequence[Row]], None],
) -> float:
    """Milliseconds of a transaction, commit included."""
    begun = time.perf_counter()
    for number, rows in enumerate(transactions, 1):
        connection.execute("UPDATE shop SET stock = stock + 1 WHERE id = %s", (number,))
        record(connection, rows)
        connection.commit()
    return (time.perf_counter() - begun) / len(transactions) * 1000


def _record(connection: psycopg.Connection[tuple[Any, ...]], rows: Sequence[Row]) -> None:
    if len(rows) == 1:
        connection.execute(_ONE, [rows[0].values[place] for place in _PLACES])
    else:
        connection.execute(_MANY, [[row.values[place] for row in rows] for place in _PLACES])


def _by_hand(connection: psycopg.Connection[tuple[Any, ...]], rows: Sequence[Row]) -> None:
    for row in rows:
        connection.execute(_BY_HAND, (*map(_parameter, COLUMNS, row.values), clock()))


def _parameter(column: str, value: Any) -> Any:
    if column in ("id", "parent_id") and value is not None:
        return UUID(bytes=value)
    return bool(value) if column == "imported" else value
