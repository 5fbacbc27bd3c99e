"""A small app: one model, one ``Audit``, and the fixtures that SQLAlchemy's documentation advises."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from affidavit import Audit, system
from affidavit.testing import make_tables

__all__ = ["ME", "OURS", "Base", "Team", "audit", "begins", "engine", "rows", "session"]

ME = system("tests")
OURS = f"acme-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
"""Workers of pytest-xdist share one database here: none sees what another records."""


class Base(DeclarativeBase):
    """Of the app."""


class Team(Base):
    """What changes."""

    __tablename__ = "teams"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def begins(engine: Engine) -> None:
    """Let SQLite begin transactions when SQLAlchemy says so."""

    @event.listens_for(engine, "connect")
    def connected(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN")  # type: ignore[attr-defined]


SAVEPOINTS_AS_THEY_COME = "savepoints as they come, "
"""The driver of SQLite begins no transaction before a savepoint, unless it is told to."""


@pytest.fixture(
    scope="session",
    params=[
        *("memory", "file", "postgresql"),
        *(f"{SAVEPOINTS_AS_THEY_COME}{where}" for where in ("memory", "file")),
    ],
)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database for tests that outlives each of them."""
    as_it_comes = request.param.startswith(SAVEPOINTS_AS_THEY_COME)
    where = request.param.removeprefix(SAVEPOINTS_AS_THEY_COME)
    if where == "postgresql":
        made = create_engine(os.environ["APP_URL"].replace("://", "+psycopg://"))
    elif where == "memory":
        made = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        path: Path = tmp_path_factory.mktemp("app") / "app.db"
        made = create_engine(f"sqlite:///{path}")
    if where != "postgresql" and not as_it_comes:
        begins(made)
    make_tables(made)
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def audit(engine: Engine) -> Iterator[Audit]:
    """Of the app."""
    made = Audit(engine, organization=OURS, carry_into_threads=False)
    made.register(Team, type="team", name="name")
    with made.context(actor=ME):
        made.record_now("app.start")
    yield made
    made.close()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """Commits within a transaction that is rolled back after the test."""
    with engine.connect() as connection:
        transaction = connection.begin()
        with Session(bind=connection, join_transaction_mode="create_savepoint") as made:
            yield made
        transaction.rollback()


def rows(engine: Engine) -> list[str]:
    """The actions of what is stored, in plain SQL."""
    ours = text("SELECT action FROM affidavit_events WHERE organization = :ours ORDER BY id")
    with engine.connect() as connection:
        return [row[0] for row in connection.execute(ours, {"ours": OURS})]
