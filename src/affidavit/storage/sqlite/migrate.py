"""Numbered migrations: each once, in order, in one transaction with the note of its checksum."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from affidavit import errors
from affidavit.storage.sql.migration import Migration, steps_in
from affidavit.storage.sqlite.connect import translated

__all__ = ["EVENTS", "LOG", "Migration", "applied", "available", "check", "migrate", "pending"]

EVENTS = "migrations"
"""Folder of the steps of the app's file."""
LOG = "migrations_log"
"""Folder of the steps of the log file."""


def available(folder: str = EVENTS) -> list[Migration]:
    """The migrations of one file that this version brings, in order."""
    return steps_in("affidavit.storage.sqlite", folder)


def applied(connection: sqlite3.Connection, path: Path) -> dict[int, tuple[str, str]]:
    """Number to name and checksum of what was applied; empty for a database without our tables."""
    with translated(path):
        known = connection.execute(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'affidavit_migrations'"
        ).fetchone()
        if known is None:
            return {}
        rows = connection.execute("SELECT number, name, checksum FROM affidavit_migrations ORDER BY number")
        return {number: (name, checksum) for number, name, checksum in rows}


def pending(connection: sqlite3.Connection, path: Path, folder: str = EVENTS) -> list[Migration]:
    """What :func:`migrate` would do.

    Raises:
        SchemaTooNew: a migration was applied that this version does not know.
        SchemaChanged: an applied migration has another text here.
    """
    done = applied(connection, path)
    steps = available(folder)
    if done and max(done) > len(steps):
        raise errors.SchemaTooNew(
            f"{path} is at schema {max(done)}, this version knows {len(steps)}; upgrade Affidavit."
        )
    for step in steps:
        if step.number in done and done[step.number][1] != step.checksum:
            raise errors.SchemaChanged(
                f"{path}: migration {step.number} ({step.name}) was applied with another text"
                f" (checksum {done[step.number][1][:12]}, here {step.checksum[:12]})."
            )
    return [step for step in steps if step.number not in done]


def check(connection: sqlite3.Connection, path: Path, folder: str = EVENTS) -> None:
    """Raise unless the schema is exactly what this version works with.

    Raises:
        SchemaMissing: migrations are to be applied first.
    """
    if missing := pending(connection, path, folder):
        raise errors.SchemaMissing(
            f"{path} lacks {len(missing)} of this version's migrations; run: affidavit migrate"
        )


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    folder: str = EVENTS,
    *,
    clock: Callable[[], float] = time.time,
) -> list[Migration]:
    """Bring the schema up to date; several processes may try at once, the write lock lets one in at a time.

    Returns:
        What was applied, in order; empty where nothing was to do.
    """
    done: list[Migration] = []
    while True:
        with translated(path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                step = _apply_next(connection, path, folder, clock)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        if step is None:
            return done
        done.append(step)


def _apply_next(
    connection: sqlite3.Connection, path: Path, folder: str, clock: Callable[[], float]
) -> Migration | None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS affidavit_migrations ("
        " number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL,"
        " applied_at INTEGER NOT NULL)"
    )
    steps = pending(connection, path, folder)
    if not steps:
        return None
    step = steps[0]
    for statement in statements(step.sql):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO affidavit_migrations VALUES (?, ?, ?, ?)",
        (step.number, step.name, step.checksum, int(clock() * 1_000_000)),
    )
    return step


def statements(sql: str) -> list[str]:
    """A script cut into its statements (``executescript`` would commit the transaction around it)."""
    found: list[str] = []
    text = ""
    for line in sql.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            found.append(text.strip())
            text = ""
    if any(line.strip() and not line.strip().startswith("--") for line in text.splitlines()):
        raise ValueError(f"the script ends within a statement: {text.strip()[:100]}")
    return found
