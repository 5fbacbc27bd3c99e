"""The mutation run on PostgreSQL: every change is one of a superuser, past every trigger."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from os import getpid
from pathlib import Path

import psycopg
from psycopg import sql

from affidavit.config import Settings
from tests.mutation import change, edit, postgres_edit, world
from tests.mutation.run import Laboratory

__all__ = ["PostgresLaboratory", "PostgresMaking"]

_ORIGINAL = "original"
_GUARD = "guard.db"
_DATABASE = "database"
_names = count(1)


class PostgresLaboratory(Laboratory):
    """See :class:`Laboratory`; the original is a database that nobody changes.

    Args:
        server: URL of its superuser's own database.
        original: the folder of guard, key and bundles.
        folder: empty, for a copy of these.
        cookie: of a session.
        seed: of all dice.
    """

    def __init__(self, server: str, original: Path, folder: Path, cookie: str, seed: str) -> None:
        self._server = server
        self._name = f"laboratory_{getpid()}_{next(_names)}"
        super().__init__(original, folder, cookie, seed)

    def _url(self, name: str) -> str:
        return f"{self._server.rpartition('/')[0]}/{name}"

    def _run(self, statement: str, *names: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def open(self) -> Settings:
        """A copy of the database, and one of each of its tables that changes are taken back with."""
        self._run("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", self._name, _ORIGINAL)
        with psycopg.connect(self._url(self._name)) as connection:
            connection.execute("CREATE SCHEMA kept")
            for (table,) in connection.execute(
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
                " AND relnamespace = 'public'::regnamespace"
            ).fetchall():
                connection.execute(f"CREATE TABLE kept.{table} AS TABLE {table}".encode())
        return world.settings_in(self._folder, self._url(self._name))

    def cells(self) -> list[change.Cell]:
        """Every column of every table, and of the guard's file."""
        cells = change.cells_of(self._original, (_GUARD,))
        with psycopg.connect(self._url(self._name)) as connection:
            for table, column in connection.execute(
                "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
                " WHERE c.relnamespace = 'kept'::regnamespace AND a.attnum > 0 ORDER BY 1, a.attnum"
            ).fetchall():
                rows = connection.execute(f"SELECT count(*) FROM kept.{table}".encode()).fetchone()
                if rows is not None and rows[0]:
                    cells.append(change.Cell(_DATABASE, table, column, rows[0]))
        return cells

    def apply(self, cell: change.Cell, dice: random.Random) -> change.Change:
        """Change one value, or a row; where the table allows no such change, another kind of change."""
        if cell.file == _GUARD:
            return change.apply(self._folder, cell, dice)
        with psycopg.connect(self._url(self._name)) as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            row = postgres_edit.draw(connection, cell.table, dice)
            assert row is not None
            done = None
            while done is None:
                how = dice.choices(("other", "null", "delete", "double"), (70, 10, 10, 10))[0]
                done = postgres_edit.change(connection, cell.table, cell.column, row, how, dice)
        return change.Change(cell.file, cell.table, cell.column, done)

    def restore(self, table: str) -> None:
        """Put one table back, or all."""
        shutil.copyfile(self._original / _GUARD, self._folder / _GUARD)
        with psycopg.connect(self._url(self._name)) as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            for name in [table] if table else [cell.table for cell in self.cells() if cell.file == _DATABASE]:
                if not edit.tables(self._folder / _GUARD).count(name):
                    _put_back(connection, name)

    @contextmanager
    def reading(self, *, original: bool) -> Iterator[Settings]:
        """See the base."""
        name = f"{self._name}_read"
        self._run(
            "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, _ORIGINAL if original else self._name
        )
        folder = self._folder.parent / "reading"
        shutil.copytree(self._original if original else self._folder, folder)
        try:
            yield world.settings_in(folder, self._url(name))
        finally:
            shutil.rmtree(folder)
            self._run("DROP DATABASE {} WITH (FORCE)", name)


def _put_back(connection: psycopg.Connection[tuple[object, ...]], table: str) -> None:
    columns = ", ".join(
        str(name)
        for (name,) in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", (table,)
        )
    )
    connection.execute(f"TRUNCATE {table}".encode())
    connection.execute(
        f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM kept.{table}".encode()
    )


class PostgresMaking:
    """Makes laboratories on one server; can be sent to another process.

    Args:
        server: URL of its superuser's own database.
    """

    def __init__(self, server: str) -> None:
        self._server = server

    def make(self) -> str:
        """The URL of the original, which is empty so far."""
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_ORIGINAL)))
        return f"{self._server.rpartition('/')[0]}/{_ORIGINAL}"

    def drop(self) -> None:
        """Remove the original."""
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(_ORIGINAL)))

    def __call__(self, original: Path, folder: Path, cookie: str, seed: str) -> Laboratory:
        """See :class:`tests.mutation.run.Making`."""
        return PostgresLaboratory(self._server, original, folder, cookie, seed)
