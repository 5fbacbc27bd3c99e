"""Connections that note what they are asked and count the work of it, in steps of SQLite's machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

__all__ = ["Asked", "Watch", "watched"]

EVERY = 50
"""Steps between two calls of the counter."""
STEP_SECONDS = 200e-9
"""How long a step takes on the clock that the store is shown: its bounds on time become bounds on steps."""


class Asked(NamedTuple):
    """One statement as it was run."""

    connection: sqlite3.Connection
    sql: str
    parameters: tuple[Any, ...]

    def plan(self) -> list[str]:
        """What the planner says to the same statement with the same parameters on the same connection."""
        rows = sqlite3.Connection.execute(self.connection, f"EXPLAIN QUERY PLAN {self.sql}", self.parameters)
        return [row[3] for row in rows]


class Watch:
    """What all watched connections did since the last :meth:`reset`."""

    def __init__(self) -> None:
        self.steps = 0
        self.asked: list[Asked] = []

    def reset(self) -> None:
        """Forget."""
        self.steps = 0
        self.asked.clear()

    def perf_counter(self) -> float:
        """A clock that goes by work."""
        return self.steps * STEP_SECONDS

    def count(self) -> int:
        """Called by SQLite; zero lets it go on."""
        self.steps += EVERY
        return 0


def connection_class(watch: Watch) -> type[sqlite3.Connection]:
    """A connection that tells a watch."""

    class Watched(sqlite3.Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.set_progress_handler(watch.count, EVERY)

        def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:  # type: ignore[override]
            if sql.lstrip().startswith(("SELECT", "INSERT", "DELETE", "UPDATE")):
                watch.asked.append(Asked(self, sql, tuple(parameters)))
            return super().execute(sql, parameters)

    return Watched


@contextmanager
def watched() -> Iterator[Watch]:
    """While the block runs, new connections are watched, and the reading side's clock goes by their work."""
    watch = Watch()
    made = connection_class(watch)
    plain = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return plain(*arguments, factory=made, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("affidavit.storage.sqlite.connect.sqlite3.connect", connect)
        for module in (
            "affidavit.storage.sqlite.index",
            "affidavit.storage.sqlite.search",
            "affidavit.log.reader",
        ):
            patch.setattr(f"{module}.time.perf_counter", watch.perf_counter)
        yield watch
