"""A database that is put back as it was after each attack on it, on either engine.

An attacker works with :meth:`Copy.edited`: SQL past every rule that the program has made. The parts of a
database are called by the names of SQLite's files; on PostgreSQL all but the guard are one database.
"""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.adapt import Loader

from affidavit.config import Settings
from affidavit.core.row import Row
from affidavit.core.verdict import Verdict
from affidavit.log.fsck import Findings
from affidavit.storage.postgres.connect import Address, connect
from affidavit.storage.postgres.writer import insert_rows
from affidavit.wiring import clock
from affidavit.wiring.fsck import check_everything
from tests.mutation import edit, postgres_edit, world
from tests.postgres import Server

__all__ = ["ENGINES", "FILES", "Copy", "PostgresCopy", "Raw", "SqliteCopy", "copy_of"]

FILES = ("app.db", "app-log.db", "app-index.db", "guard.db")
ENGINES = ("sqlite", "postgres")


class Raw(Protocol):
    """A connection of somebody whom no rule stops; texts come as bytes."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Any:
        """Run one statement with ``?`` for its values."""
        ...


class Copy(ABC):
    """A database with a row of every kind, and an untouched copy of it.

    Attributes:
        settings: of the program; the guard and the key stand in its folder.
        parts: what can be edited.
    """

    settings: Settings
    parts: Sequence[str]

    def path(self, name: str) -> Path:
        """One of the files."""
        return self.settings.data_dir / name

    def findings(self) -> Findings:
        """What fsck says of each tree."""
        return check_everything(self.settings)

    def verdict(self) -> Verdict:
        """What fsck says."""
        return self.findings().total()

    def named(self) -> list[str]:
        """Everything that fsck names, a line each."""
        return [failure.line() for failure in self.verdict().failures]

    @abstractmethod
    def edited(self, part: str = "app.db") -> AbstractContextManager[Any]:
        """A transaction without any of the rules, committed at the end; texts come as bytes."""

    @abstractmethod
    def plain(self, part: str = "app.db") -> AbstractContextManager[Any]:
        """A transaction as anybody with the database has it, committed at the end."""

    @abstractmethod
    def rows(self, statement: str, values: Sequence[Any] = (), *, part: str = "app.db") -> list[Any]:
        """What stands there; texts as ``str``."""

    @abstractmethod
    def kept(self, statement: str, *, part: str = "app.db") -> list[Any]:
        """What stood there before any attack."""

    @abstractmethod
    def late(self, rows: Sequence[Row]) -> Callable[[], None]:
        """Insert rows in a transaction that is open until the answer is called."""

    @abstractmethod
    def tables(self, part: str) -> list[str]:
        """The tables of a part."""

    @abstractmethod
    def columns(self, part: str, table: str) -> list[str]:
        """The columns of a table."""

    @abstractmethod
    def alter(self, part: str, table: str, column: str, dice: random.Random) -> str | None:
        """Change one value; what was done, ``None`` where there is no row, or no other value is possible."""

    @abstractmethod
    def restore(self) -> None:
        """Put everything back as it was."""

    @abstractmethod
    def undo(self, table: str) -> None:
        """The same where only values of this table were edited."""


class SqliteCopy(Copy):
    """See :class:`Copy`.

    Args:
        folder: empty.
    """

    parts = FILES

    def __init__(self, folder: Path) -> None:
        self.settings = world.settings_in(folder / "database")
        self._kept = folder / "kept"
        self.settings.data_dir.mkdir()
        world.populate(self.settings)
        shutil.copytree(self.settings.data_dir, self._kept)

    def edited(self, part: str = "app.db") -> AbstractContextManager[Raw]:
        return edit.edited(self.path(part))

    @contextmanager
    def plain(self, part: str = "app.db") -> Iterator[Raw]:
        with closing(sqlite3.connect(self.path(part), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def rows(self, statement: str, values: Sequence[Any] = (), *, part: str = "app.db") -> list[Any]:
        with closing(sqlite3.connect(self.path(part))) as connection:
            return connection.execute(statement, values).fetchall()

    def kept(self, statement: str, *, part: str = "app.db") -> list[Any]:
        with closing(sqlite3.connect(self._kept / part)) as connection:
            return connection.execute(statement).fetchall()

    def late(self, rows: Sequence[Row]) -> Callable[[], None]:
        writer = sqlite3.connect(self.path("app.db"), isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        for row in rows:
            values = (*row.values, clock())
            writer.execute(
                f"INSERT INTO affidavit_events VALUES (NULL, {', '.join('?' * len(values))})", values
            )

        def commit() -> None:
            writer.execute("COMMIT")
            writer.close()

        return commit

    def tables(self, part: str) -> list[str]:
        return edit.tables(self.path(part))

    def columns(self, part: str, table: str) -> list[str]:
        return edit.columns(self.path(part), table)

    def alter(self, part: str, table: str, column: str, dice: random.Random) -> str | None:
        return edit.alter(self.path(part), table, column, dice)

    def undo(self, table: str) -> None:
        self.restore()

    def restore(self) -> None:
        for file in self.settings.data_dir.iterdir():
            file.unlink()
        shutil.copytree(self._kept, self.settings.data_dir, dirs_exist_ok=True)


_PLACE = (
    "(SELECT l.seq FROM affidavit_leaves l JOIN affidavit_trees t ON t.tree = l.tree"
    " WHERE l.id = affidavit_events.id ORDER BY t.incarnation DESC LIMIT 1)"
)
"""The place of an event: SQLite's column ``seq``."""


class _Text(Loader):
    def load(self, data: Any) -> bytes:
        return bytes(data)


class _Flag(Loader):
    def load(self, data: Any) -> int:
        return int(bytes(data) == b"t")


class _Id(Loader):
    def load(self, data: Any) -> bytes:
        return UUID(bytes(data).decode()).bytes


class PostgresRaw:
    """A superuser's connection that understands the statements of these tests.

    ``?`` is a value, ``seq`` of an event the place that its leaf has, an id 16 bytes, a flag 0 or 1.

    Args:
        url: of the database.
        raw: whether texts come as bytes.
    """

    def __init__(self, url: str, *, raw: bool) -> None:
        self.connection = psycopg.connect(url)
        self.connection.adapters.register_loader("uuid", _Id)
        self.connection.adapters.register_loader("bool", _Flag)
        if raw:
            self.connection.adapters.register_loader("text", _Text)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Run one statement."""
        if "affidavit_events" in statement:
            statement = re.sub(r"(?<!\w)seq(?!\w)", _PLACE, statement)
        text = statement.replace("%", "%%").replace("?", "%s")
        sent = [UUID(bytes=value) if type(value) is bytes and len(value) == 16 else value for value in values]
        return self.connection.execute(text.encode(), sent or None)


_numbers = count(1)
_originals: dict[int, tuple[str, Path]] = {}
"""Port of a server to the untouched database on it, with its files."""


class PostgresCopy(Copy):
    """See :class:`Copy`; the untouched copy is a database that nobody connects to, made once on a server.

    Args:
        folder: empty, for the guard and the key.
        server: whose superuser the attacker is.
    """

    parts = ("app.db", "guard.db")

    def __init__(self, folder: Path, server: Server) -> None:
        self._server = server
        self._name = f"copy_{next(_numbers)}"
        self.settings = world.settings_in(folder / "database", server.url(self._name))
        self.settings.data_dir.mkdir()
        if server.port not in _originals:
            _originals[server.port] = self._populated(folder / "kept")
        self._kept_name, self._kept_files = _originals[server.port]
        self.restore()

    def _populated(self, folder: Path) -> tuple[str, Path]:
        """A database with a row of every kind, and its files."""
        name = f"{self._name}_kept"
        folder.mkdir()
        self._run("CREATE DATABASE {}", name)
        world.populate(world.settings_in(folder, self._server.url(name)))
        return name, folder

    def _run(self, statement: str, *names: str) -> None:
        with self._server.connect() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    @property
    def url(self) -> str:
        """Of the database."""
        return self._server.url(self._name)

    @contextmanager
    def _connected(self, part: str, *, raw: bool, rules: bool) -> Iterator[Raw]:
        made = PostgresRaw(self.url, raw=raw)
        with made.connection:
            if not rules:
                made.execute("SET LOCAL session_replication_role = replica")
            yield made

    def edited(self, part: str = "app.db") -> AbstractContextManager[Raw]:
        if part == "guard.db":
            return edit.edited(self.path(part))
        return self._connected(part, raw=True, rules=False)

    def plain(self, part: str = "app.db") -> AbstractContextManager[Raw]:
        return self._connected(part, raw=False, rules=True)

    def rows(self, statement: str, values: Sequence[Any] = (), *, part: str = "app.db") -> list[Any]:
        with self._connected(part, raw=False, rules=True) as connection:
            return list(connection.execute(statement, values))

    def kept(self, statement: str, *, part: str = "app.db") -> list[Any]:
        made = PostgresRaw(self._server.url(self._kept_name), raw=False)
        with made.connection:
            return made.execute(statement).fetchall()

    def late(self, rows: Sequence[Row]) -> Callable[[], None]:
        session = connect(Address(self.url))
        session.connection.execute("BEGIN")
        insert_rows(session, rows, clock())

        def commit() -> None:
            session.connection.execute("COMMIT")
            session.close()

        return commit

    def tables(self, part: str) -> list[str]:
        if part == "guard.db":
            return edit.tables(self.path(part))
        rows = self.rows(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace ORDER BY relname"
        )
        return [name for (name,) in rows]

    def columns(self, part: str, table: str) -> list[str]:
        if part == "guard.db":
            return edit.columns(self.path(part), table)
        rows = self.rows(
            "SELECT attname FROM pg_attribute WHERE attrelid = ?::regclass AND attnum > 0 ORDER BY attnum",
            (table,),
        )
        return [name for (name,) in rows]

    def alter(self, part: str, table: str, column: str, dice: random.Random) -> str | None:
        if part == "guard.db":
            return edit.alter(self.path(part), table, column, dice)
        self._keep(table)
        with psycopg.connect(self.url) as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            return postgres_edit.alter(connection, table, column, dice)

    def _keep(self, table: str) -> None:
        """A copy of the table in a schema of nobody's, which is faster than another database."""
        with self._connected("app.db", raw=False, rules=True) as raw:
            raw.execute("CREATE SCHEMA IF NOT EXISTS kept")
            raw.execute(f"CREATE TABLE IF NOT EXISTS kept.{table} AS TABLE {table}")

    def undo(self, table: str) -> None:
        if table not in self.tables("app.db"):
            shutil.copyfile(self._kept_files / "guard.db", self.path("guard.db"))
            return
        columns = ", ".join(self.columns("app.db", table))
        with self._connected("app.db", raw=False, rules=False) as raw:
            raw.execute(f"TRUNCATE {table}")
            raw.execute(
                f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM kept.{table}"
            )

    def restore(self) -> None:
        self.drop()
        self._run("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", self._name, self._kept_name)
        for file in self.settings.data_dir.iterdir():
            file.unlink()
        shutil.copytree(self._kept_files, self.settings.data_dir, dirs_exist_ok=True)

    def drop(self) -> None:
        """Remove the database; the untouched one stays for the next copy."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._name)


@contextmanager
def copy_of(engine: str, folder: Path, server: Callable[[], Server]) -> Iterator[Copy]:
    """A database of one engine for the length of the block.

    Args:
        engine: one of :data:`ENGINES`.
        folder: empty.
        server: starts the server that PostgreSQL needs.
    """
    if engine == "sqlite":
        yield SqliteCopy(folder)
        return
    made = PostgresCopy(folder, server())
    try:
        yield made
    finally:
        made.drop()
