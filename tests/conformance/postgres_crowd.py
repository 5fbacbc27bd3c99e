"""The crowd of events on PostgreSQL: in months, with leaves that hold their places, as fast as COPY goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

from affidavit.core.row import COLUMNS
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.follower import BATCH, PostgresFollower
from tests.conformance import crowd

TREES = {crowd.BIG: 1, crowd.MIDDLE: 2, crowd.SMALL: 3}
"""Organizations and the numbers of their trees."""

_ID, _PARENT, _SECRET, _IMPORTED, _ORGANIZATION = (
    COLUMNS.index(name) for name in ("id", "parent_id", "secret", "imported", "organization")
)
_LEAF = "\\\\x" + "00" * 32
_MONTHS = (
    "SELECT affidavit_month_make(day::date, 1000)"
    " FROM generate_series('2025-10-01'::timestamp, '2026-01-01', '1 month') day"
)


def line(row: tuple[Any, ...]) -> str:
    """A row as COPY reads it."""
    shown = list(row)
    for at in (_ID, _PARENT):
        shown[at] = None if row[at] is None else row[at].hex()
    shown[_SECRET] = "\\\\x" + row[_SECRET].hex()
    shown[_IMPORTED] = "ft"[row[_IMPORTED]]
    return "\t".join("\\N" if value is None else str(value) for value in shown) + "\n"


def fill(url: str, *, pending: int, rows: Iterable[tuple[Any, ...]] | None = None) -> int:
    """Put all rows into an empty database, so many at the end without a place; how many have one."""
    made = list(crowd.rows() if rows is None else rows)
    placed = len(made) - pending
    with psycopg.connect(url) as connection:
        cursor = connection.cursor()
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(_MONTHS)
        with cursor.copy(f"COPY affidavit_events ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            for start in range(0, len(made), 1_000):
                copy.write("".join(map(line, made[start : start + 1_000])))
        for name, tree in TREES.items():
            cursor.execute(
                "INSERT INTO affidavit_trees (tree, organization, host, hex, incarnation, size, frontier)"
                " VALUES (%s, %s, 'localhost', %s, 1, 0, '')",
                (tree, name, f"{tree:032x}"),
            )
        with cursor.copy("COPY affidavit_leaves (tree, idx, seq, id, hash) FROM STDIN") as copy:
            for seq, row in enumerate(made[:placed], 1):
                copy.write(f"{TREES[row[_ORGANIZATION]]}\t{seq}\t{seq}\t{row[_ID].hex()}\t{_LEAF}\n")
        cursor.execute("UPDATE affidavit_position SET seq = %s", (placed,))
        with cursor.copy("COPY affidavit_pending (organization, id) FROM STDIN") as copy:
            for row in made[placed:]:
                copy.write(f"{row[_ORGANIZATION]}\t{row[_ID].hex()}\n")
    return placed


def index(url: str, upto: int) -> None:
    """Let the follower take in all but the last batch of the events up to a place."""
    follower = PostgresFollower(Address(url))
    taken = 0
    while taken + BATCH <= upto:
        taken += follower.step()
    follower.close()
