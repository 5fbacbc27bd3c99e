"""Databases for the compared recorders, and the processes that record in them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from affidavit.storage.sqlite.database import migrate_file
from bench.postgres import PostgresBase
from bench.recorders_plain import CUSTOMERS, NAME
from tests.postgres import Server

__all__ = ["Child", "OnPostgres", "OnSqlite", "Place"]

ROOT: Final = Path(__file__).parent.parent
PYTHON: Final = ROOT / ".venv-bench" / "bin" / "python"
_TABLE: Final = (
    "CREATE TABLE customers (id integer PRIMARY KEY, name varchar(100) NOT NULL, email varchar(200) NOT NULL,"
    " plan varchar(20) NOT NULL, seats integer NOT NULL, active boolean NOT NULL, notes text NOT NULL,"
    " changed_at timestamp)"
)
_ROWS: Final = (
    f"INSERT INTO customers SELECT n, '{NAME}', 'office@example.com', 'free', 4, true, 'since 1842',"
    f" CURRENT_TIMESTAMP FROM {{series}} WHERE n <= {CUSTOMERS}"
)

_SERIES: Final = (
    "(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s LIMIT 100000) SELECT n FROM s)"
)


class Place:
    """A database of one recorder.

    Args:
        label: of its engine.
        url: of it.
        connection: in autocommit, from which it is looked at.
        drop: takes the database away.
    """

    def __init__(self, label: str, url: str, connection: Any, drop: Callable[[], None]) -> None:
        self.label = label
        self.url = url
        self._connection = connection
        self._drop = drop

    @property
    def engine(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.label.lower()

    def ask(self, statement: str) -> int:
        """One number, in plain SQL."""
        return int(self._connection.execute(statement).fetchone()[0])

    def count(self, tables: Sequence[str]) -> int:
        """Rows of several tables."""
        return self.ask(f"SELECT {' + '.join(f'(SELECT count(*) FROM {table})' for table in tables)}")

    def worked(self) -> float:
        """Seconds of a core that the server has spent on those who are connected now."""
        if self.engine == "sqlite":
            return 0.0  # the engine is in their own process
        others = self._connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        return sum(map(_on_a_core, (pid for (pid,) in others.fetchall()))) / 1e9

    def take_away(self, table: str) -> None:
        """Drop a table, and what refers to it."""
        self._connection.execute(f"DROP TABLE {table}{'' if self.engine == 'sqlite' else ' CASCADE'}")

    def drop(self) -> None:
        """Take the database away."""
        self._connection.close()
        self._drop()


def _on_a_core(pid: int) -> int:
    """Nanoseconds that a process has run; 0 where nobody counts them, or it has gone."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0


class OnSqlite:
    """Makes files.

    Args:
        folder: of them.
    """

    label = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "recorders.db"
        self._template.unlink(missing_ok=True)
        migrate_file(self._template)
        self._made = 0

    def make(self, *, customers: bool, by_hand: bool) -> Place:
        """A database with our tables; by hand they have no triggers, as a person would make none."""
        self._made += 1
        path = self._folder / f"recorders-{self._made}.db"
        shutil.copyfile(self._template, path)
        connection = sqlite3.connect(path, isolation_level=None, timeout=60)
        connection.execute("PRAGMA journal_mode = WAL")
        if by_hand:
            found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            for (name,) in found.fetchall():
                connection.execute(f"DROP TRIGGER {name}")
        if customers:
            connection.execute(_TABLE)
            connection.execute(_ROWS.format(series=_SERIES))
        return Place(self.label, f"sqlite:///{path}", connection, lambda: self._drop(path))

    def _drop(self, path: Path) -> None:
        for each in self._folder.glob(f"{path.stem}*"):
            each.unlink()


class OnPostgres:
    """Makes databases on a server.

    Args:
        server: runs.
        folder: for what a base keeps.
    """

    label = "PostgreSQL"

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._base = PostgresBase(server, folder, "recorders")
        self._base.make()
        self._made = 0

    def make(self, *, customers: bool, by_hand: bool) -> Place:  # noqa: ARG002
        """A database with our tables."""
        self._made += 1
        name = f"bench_recorders_{self._made}"
        with self._server.connect() as connection:
            for statement in ("DROP DATABASE IF EXISTS {0} WITH (FORCE)", "CREATE DATABASE {0} TEMPLATE {1}"):
                connection.execute(
                    sql.SQL(statement).format(sql.Identifier(name), sql.Identifier("bench_recorders"))
                )
        url = self._server.url(name)
        connection = psycopg.connect(url, autocommit=True)
        if customers:
            connection.execute(_TABLE)
            connection.execute(_ROWS.format(series="generate_series(1, 100000) n").encode())
        return Place(self.label, url, connection, lambda: self._drop(name))

    def close(self) -> None:
        """Drop what they were copied from."""
        self._base.drop()

    def _drop(self, name: str) -> None:
        with self._server.connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


class Child:
    """One recorder in a process of its own; see :mod:`bench.recorders_child`.

    Args:
        stack: what holds the transaction.
        side: the recorder, ``bare`` or ``hand``.
        place: its database.
    """

    def __init__(self, stack: str, side: str, place: Place) -> None:
        if not PYTHON.exists():
            raise RuntimeError(f"{PYTHON} is missing; make bench installs the recorders there")
        self.stack = stack
        self.side = side
        self.place = place
        command = [str(PYTHON), "-m", "bench.recorders_child", stack, side, place.engine, place.url]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begun(self) -> dict[str, Any]:
        """Wait until it is ready; what it is."""
        said = self._listen()
        self.tables: Sequence[str] = said["tables"]
        return said

    def _listen(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.stack}, {self.side}, on {self.place.label} ended; see its last words")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **what: Any) -> tuple[dict[str, Any], int]:
        """Let it do something; what it says, and how many rows its audit tables have more.

        The seconds of a core are those of the process and of the server that works for it.
        """
        before, worked = self.place.count(self.tables), self.place.worked()
        answer = self.tell(**what)
        if "cpu" in answer:
            answer["cpu"] += self.place.worked() - worked
        return answer, self.place.count(self.tables) - before

    def tell(self, **what: Any) -> dict[str, Any]:
        """Let it do something, and count nothing."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._listen()

    def end(self) -> None:
        """End it and drop its database."""
        self._process.communicate(timeout=60)
        self.place.drop()
