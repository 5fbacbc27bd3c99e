"""The PostgreSQL engine for the conformance suites."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import count
from typing import Protocol

import psycopg
from psycopg import sql

from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.postgres.events import PostgresEvents
from affidavit.storage.postgres.follower import PostgresFollower, discard
from affidavit.storage.postgres.index import PostgresIndex
from affidavit.storage.postgres.log_store import PostgresLog
from affidavit.storage.postgres.log_writer import PostgresLogWriter
from affidavit.storage.postgres.migrate import available, migrate
from affidavit.storage.postgres.redaction import PostgresRedactor
from affidavit.storage.postgres.retention import PostgresPast, PostgresRanges
from affidavit.storage.protocols import Follower
from affidavit.storage.sql.retention import SqlHolds, SqlPolicies
from affidavit.storage.sql.settings import (
    SqlCatalogs,
    SqlLogins,
    SqlOrganizations,
    SqlSessions,
    SqlTokens,
)
from affidavit.storage.sql.tasks import SqlTasks
from affidavit.testing.engine import LogSide, RedactionSide

__all__ = ["PostgresEngine", "PostgresServer", "PostgresStores", "empty_database"]

_numbers = count(1)


class PostgresServer(Protocol):
    """A server of which the tests may do what they like with the databases."""

    def url(self, database: str = ..., /, *, user: str = ...) -> str:
        """The URL of a database, as a superuser or as another role."""
        ...


def _run(server: PostgresServer, statement: sql.Composed) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement)


def _exists(server: PostgresServer, database: str) -> bool:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
        return found.fetchone() is not None


def empty_database(server: PostgresServer) -> str:
    """The name of an empty database with a current schema, made once for each state of the migrations.

    Nobody connects to it, so that others can be made from it.
    """
    texts = "".join(step.checksum for step in available())
    name = f"template_{sha256(texts.encode()).hexdigest()[:16]}"
    if not _exists(server, name):
        half = f"{name}_made"
        _run(server, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(half)))
        _run(server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(half)))
        migrate(Address(server.url(half)))
        _run(
            server,
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(half), sql.Identifier(name)),
        )
    return name


class PostgresStores:
    """The stores of one PostgreSQL database; see :class:`affidavit.testing.engine.Stores`.

    Args:
        address: of a migrated database.
        clock: microseconds since 1970 UTC, for ``recorded_at``.
    """

    def __init__(self, address: Address, clock: Callable[[], int] | None) -> None:
        self.address = address
        self.database = PostgresDatabase(address, clock=clock)
        self.events = PostgresEvents(self.database)
        self.index = PostgresIndex(self.database)
        self.log = PostgresLog(self.database.pool)
        self.organizations = SqlOrganizations(self.database)
        self.tokens = SqlTokens(self.database)
        self.logins = SqlLogins(self.database)
        self.sessions = SqlSessions(self.database)
        self.catalogs = SqlCatalogs(self.database)
        self.tasks = SqlTasks(self.database)
        self.policies = SqlPolicies(self.database)
        self.holds = SqlHolds(self.database)
        self.past = PostgresPast(self.database)
        self.ranges = PostgresRanges(self.database)

    def follower(self) -> Follower:
        """A new follower of the index."""
        return PostgresFollower(self.address)

    def redactor(self) -> RedactionSide:
        """A new redactor."""
        return PostgresRedactor(self.address)

    def log_side(self) -> LogSide:
        """A new writer of the log."""
        return PostgresLogWriter(self.address)

    def lose_index(self) -> None:
        """Empty the tables of the index, with open connections beside it."""
        discard(self.address)

    def close(self) -> None:
        """Close the database."""
        self.database.close()


class PostgresEngine:
    """Makes databases on a server; see :class:`affidavit.testing.engine.Engine`.

    Args:
        server: runs for as long as the engine.
        clock: microseconds since 1970 UTC; ``None`` takes the server's clock.
        template: name of an empty database (:func:`empty_database`), to make others faster.
        user: whom the stores connect as; a superuser by default.
    """

    def __init__(
        self,
        server: PostgresServer,
        *,
        clock: Callable[[], int] | None,
        template: str | None = None,
        user: str = "postgres",
    ) -> None:
        self._server = server
        self._clock = clock
        self._template = template
        self._user = user
        self._made: list[str] = []
        self._open: list[PostgresStores] = []

    def create(self) -> str:
        """Make an empty database: a copy of the template, which is made where there is none."""
        if self._template is None:
            self._template = empty_database(self._server)
        name = f"audit_{next(_numbers)}"
        _run(
            self._server,
            # Copies the files, which takes a tenth of logging them where the server does not sync.
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(self._template)
            ),
        )
        self._made.append(name)
        return self._server.url(name, user=self._user)

    def open(self, database: str) -> PostgresStores:
        """Open one of these databases, by its URL."""
        stores = PostgresStores(Address(database), self._clock)
        self._open.append(stores)
        return stores

    def close(self) -> None:
        """Close what is open and drop the databases; closing twice does no harm."""
        for stores in self._open:
            stores.close()
        self._open.clear()
        for name in self._made:
            _run(self._server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        self._made.clear()
