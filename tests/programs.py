"""Which engine the real program runs on in a test: SQLite, and where the test is marked so PostgreSQL, too.

A test that takes the fixture ``programs`` runs on SQLite. With the mark ``postgres`` it runs on PostgreSQL as
well, each program with a database of its own. ``--engine`` names the engines for all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from affidavit.core.row import Recorded, Row
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.sqlite.database import SqliteDatabase
from tests.e2e.program import Program
from tests.erased import forms_of, leaks

if TYPE_CHECKING:
    from tests.postgres import Server

__all__ = [
    "ENGINES",
    "Programs",
    "ask",
    "change",
    "insert",
    "leaks_of",
    "literal",
    "programs",
    "pytest_addoption",
    "pytest_generate_tests",
]

ENGINES = ("sqlite", "postgres15", "postgres18")
ROLE = "tests_server"
_SERVER_ROLE = (
    f"DO $$ BEGIN CREATE ROLE {ROLE} LOGIN IN ROLE affidavit_server;"
    " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
).encode()
EVERY_TIME = {"sqlite": "sqlite", "postgres": "postgres18"}


class Programs:
    """Makes programs, each in a folder and with a database of its own.

    Args:
        engine: one of :data:`ENGINES`.
        create: makes an empty database with a current schema; ``None`` leaves it to the program.
    """

    def __init__(self, engine: str, create: Callable[[], str] | None = None) -> None:
        self.engine = engine
        self._create = create

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is a file of the program's folder."""
        return self._create is None

    def __call__(self, folder: Path) -> Program:
        """The program in this folder; on PostgreSQL it has the rights of a server and no more."""
        if self._create is None:
            return Program(folder)
        url = self._create()
        with psycopg.connect(url, autocommit=True) as session:
            session.execute(_SERVER_ROLE)
        return Program(folder, database=url.replace("//postgres@", f"//{ROLE}@"))


def _administrator(program: Program) -> str:
    assert program.database is not None
    return program.database.replace(f"//{ROLE}@", "//postgres@")


def ask(program: Program, statement: str) -> list[tuple[Any, ...]]:
    """Read the program's database in SQL, as somebody beside it may."""
    if program.database is not None:
        with psycopg.connect(_administrator(program), autocommit=True) as session:
            return session.execute(statement.encode()).fetchall()
    # Another process: one that opens and closes the file here would take this one's locks away.
    done = _in_sqlite(program, statement)
    return [tuple(row) for row in json.loads(done)]


def change(program: Program, statement: str) -> int:
    """Change the program's database behind its back, past every trigger; how many rows were changed."""
    if program.database is not None:
        with psycopg.connect(_administrator(program), autocommit=True) as session:
            session.execute("SET session_replication_role = replica")
            return session.execute(statement.encode()).rowcount
    return int(_in_sqlite(program, statement, "past the triggers"))


def literal(program: Program, event_id: str) -> str:
    """An event's id in a statement of the program's engine."""
    return f"X'{event_id.replace('-', '')}'" if program.database is None else f"'{event_id}'"


_SQLITE = """
import json, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30)
if sys.argv[3:]:
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
cursor = connection.execute(sys.argv[2])
print(cursor.rowcount if sys.argv[3:] else json.dumps(cursor.fetchall()))
connection.commit()
"""


def _in_sqlite(program: Program, *words: str) -> str:
    path = program.folder / "affidavit-data" / "affidavit.db"
    command = [sys.executable, "-c", _SQLITE, path, *words]
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    return done.stdout


def insert(program: Program, rows: Sequence[Row], clock: Callable[[], int]) -> list[Recorded]:
    """Record events as if it were another time; the database has its tables."""
    if program.database is None:
        files = SqliteDatabase(program.folder / "affidavit-data" / "affidavit.db", clock=clock)
        with closing(files):
            return files.events.insert(rows)
    from affidavit.storage.postgres.events import PostgresEvents

    with closing(PostgresDatabase(Address(_administrator(program)), clock=clock)) as database:
        made: list[Recorded] = PostgresEvents(database).insert(rows)
        return made


def leaks_of(program: Program, text: str) -> list[str]:
    """Every file of the program, and every table of its database, in which a text stands in any form."""
    found = leaks(program.folder / "affidavit-data", text)
    if program.database is None:
        return found
    with psycopg.connect(_administrator(program), autocommit=True) as session:
        tables = session.execute(
            "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        ).fetchall()
        assert len(tables) > 20
        for (table,) in tables:
            with session.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
                content = b"".join(bytes(piece) for piece in copy).lower()
            for name, form in forms_of(text).items():
                if form.lower() in content or form.hex().encode() in content:
                    found.append(f"{table}: {name}")
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--engine``."""
    parser.addoption(
        "--engine", action="append", choices=ENGINES, help="run the real program on this one; repeatable"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Say on which engines a test runs."""
    if "programs" not in metafunc.fixturenames:
        return
    engines = metafunc.config.getoption("--engine")
    marks = [name for name in EVERY_TIME if metafunc.definition.get_closest_marker(name)]
    if marks == ["sqlite"]:  # looks into its files
        engines = ["sqlite"]
    elif not engines:
        engines = [EVERY_TIME[name] for name in ("sqlite", *marks)]
    metafunc.parametrize("programs", engines, indirect=True, scope="module")


@pytest.fixture(scope="module")
def programs(request: pytest.FixtureRequest) -> Iterator[Programs]:
    """Makes the programs of a test."""
    if request.param == "sqlite":
        yield Programs("sqlite")
        return
    from affidavit.testing.postgres import PostgresEngine

    server: Server = request.getfixturevalue(request.param)
    engine = PostgresEngine(server, clock=None)
    try:
        yield Programs(request.param, engine.create)
    finally:
        engine.close()
