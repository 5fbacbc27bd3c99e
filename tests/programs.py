"""Which engine the real program runs on in a test: SQLite, and where the test is marked so PostgreSQL, too.

A test that takes the fixture ``programs`` runs on SQLite. With the mark ``postgres`` it runs on PostgreSQL as
well, each program with a database of its own. ``--engine`` names the engines for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.program import Program

if TYPE_CHECKING:
    from tests.postgres import Server

__all__ = ["ENGINES", "Programs", "programs", "pytest_addoption", "pytest_generate_tests"]

ENGINES = ("sqlite", "postgres15", "postgres18")
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
        """The program in this folder."""
        return Program(folder, database=None if self._create is None else self._create())


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
