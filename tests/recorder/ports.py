"""Every way to hold a transaction, behind one awaited face: the same story is told to each of them."""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from typing import Any

import aiosqlite
import psycopg
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from affidavit.core.row import COLUMNS
from affidavit.core.sealing import leaf_of
from affidavit.embed import Audit
from affidavit.recorder.fields import system
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.log_writer import PostgresLogWriter
from tests.recorder.apps import App

__all__ = ["PORTS", "Port", "changed", "port_of", "recorded", "sound"]

ME = system("tests")


def changed(app: App) -> list[str]:
    """What was committed of the app's own changes, in plain SQL."""
    return sorted(str(number) for (number,) in app.ask("SELECT id FROM teams"))


def recorded(app: App) -> list[str]:
    """What was committed of their events, in plain SQL: the id of each one's resource."""
    return sorted(json.loads(text)["resources"][0]["id"] for (text,) in app.events("resources"))


def sound(app: App) -> int:
    """How many events the sequencer finds, each with a leaf that is valid."""
    if app.engine == "sqlite":
        connection = sqlite3.connect(app.file)
        connection.text_factory = bytes
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM affidavit_events").fetchall()
        connection.close()
    else:
        writer = PostgresLogWriter(Address(app.url))
        rows = [claimed.values for claimed in writer.claim(8_192)]
        writer.close()
    for row in rows:
        assert leaf_of(row, "0" * 16)[1] is None
    return len(rows)


class Port(ABC):
    """One connection or session of an app; each change is a row of ``teams``, each event speaks of one."""

    def __init__(self, app: App, audit: Audit) -> None:
        self.app = app
        self.audit = audit
        self.target: Any = None
        self.base = 0

    @abstractmethod
    async def open(self) -> None:
        """Connect."""

    @abstractmethod
    async def say(self, statement: str) -> Any:
        """Execute a statement."""

    async def change(self, number: int) -> None:
        """Change something."""
        await self.say(f"INSERT INTO teams (id, name) VALUES ({self.base + number}, 'team')")

    async def record(self, number: int, **more: Any) -> Any:
        """Record it."""
        return self.audit.record(
            self.target, "team.create", actor=ME, resource=("team", self.base + number), **more
        )

    async def both(self, number: int) -> None:
        """Change something and record it."""
        await self.change(number)
        await self.record(number)

    async def record_and_commit(self, number: int) -> None:
        """The event may be written by the one or by the other."""
        await self.record(number)
        await self.commit()

    async def savepoint(self) -> Any:
        """Begin an inner part."""
        await self.say("SAVEPOINT inner_part")

    async def release(self, inner: Any) -> None:
        """End it."""
        await self.say("RELEASE SAVEPOINT inner_part")

    async def undo(self, inner: Any) -> None:
        """Undo it."""
        await self.say("ROLLBACK TO SAVEPOINT inner_part")
        await self.release(inner)

    async def commit(self) -> None:
        """Keep it."""
        self.target.commit()

    async def rollback(self) -> None:
        """Undo all."""
        self.target.rollback()

    async def close(self) -> None:
        """End the connection."""
        self.target.close()

    async def backend(self) -> int:
        """The process of PostgreSQL that serves it."""
        raise TypeError(f"{type(self).__name__} has no process that serves it")


class Sqlite3(Port):
    """``sqlite3``."""

    async def open(self) -> None:
        self.target = sqlite3.connect(self.app.file)

    async def say(self, statement: str) -> Any:
        return self.target.execute(statement)

    async def savepoint(self) -> Any:
        if not self.target.in_transaction:
            await self.say("BEGIN")
        return await super().savepoint()


class Awaited(Port):
    """What is awaited."""

    async def record(self, number: int, **more: Any) -> Any:
        return await (await super().record(number, **more))

    async def commit(self) -> None:
        await self.target.commit()

    async def rollback(self) -> None:
        await self.target.rollback()

    async def close(self) -> None:
        await self.target.close()


class Aiosqlite(Awaited):
    """``aiosqlite``."""

    async def open(self) -> None:
        self.target = await aiosqlite.connect(self.app.file)

    async def say(self, statement: str) -> Any:
        return await self.target.execute(statement)

    async def savepoint(self) -> Any:
        if not self.target.in_transaction:
            await self.say("BEGIN")
        return await super().savepoint()


class Psycopg(Port):
    """``psycopg``."""

    async def open(self) -> None:
        self.target = psycopg.connect(self.app.url)

    async def say(self, statement: str) -> Any:
        return self.target.execute(statement)

    async def backend(self) -> int:
        return int(self.target.info.backend_pid)


class AsyncPsycopg(Awaited):
    """``psycopg``, awaited."""

    async def open(self) -> None:
        self.target = await psycopg.AsyncConnection.connect(self.app.url)

    async def say(self, statement: str) -> Any:
        return await self.target.execute(statement)

    async def backend(self) -> int:
        return int(self.target.info.backend_pid)


def proper(engine: Engine) -> None:
    """Let SQLite's transactions begin when SQLAlchemy says so, as its documentation advises."""
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def connected(connection: Any, _record: Any) -> None:
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN")


class Alchemy(Port):
    """``sqlalchemy.Connection``."""

    driver = "psycopg"

    def engine(self) -> Any:
        """One that keeps no connection."""
        made = create_engine(self.app.sqlalchemy_url, poolclass=NullPool)
        proper(made)
        return made

    async def open(self) -> None:
        self.target = self.engine().connect()

    async def say(self, statement: str) -> Any:
        return self.target.execute(text(statement))

    async def savepoint(self) -> Any:
        return self.target.begin_nested()

    async def release(self, inner: Any) -> None:
        inner.commit()

    async def undo(self, inner: Any) -> None:
        inner.rollback()

    async def backend(self) -> int:
        return int((await self.say("SELECT pg_backend_pid()")).scalar())


class AlchemySession(Alchemy):
    """``Session``."""

    async def open(self) -> None:
        self.target = Session(self.engine())


class ScopedSession(Alchemy):
    """``scoped_session``."""

    async def open(self) -> None:
        self.target = scoped_session(sessionmaker(self.engine()))


class AsyncAlchemy(Awaited):
    """``AsyncConnection``."""

    driver = "psycopg"

    def engine(self) -> Any:
        """One that keeps no connection."""
        if self.app.engine == "sqlite":
            url = self.app.url.replace("://", "+aiosqlite://")
        else:
            url = self.app.url.replace("://", f"+{self.driver}://")
        made = create_async_engine(url, poolclass=NullPool)
        proper(made.sync_engine)
        return made

    async def open(self) -> None:
        self.target = await self.engine().connect()

    async def say(self, statement: str) -> Any:
        return await self.target.execute(text(statement))

    async def savepoint(self) -> Any:
        return await self.target.begin_nested()

    async def release(self, inner: Any) -> None:
        await inner.commit()

    async def undo(self, inner: Any) -> None:
        await inner.rollback()

    async def backend(self) -> int:
        return int((await self.say("SELECT pg_backend_pid()")).scalar())


class AsyncpgConnection(AsyncAlchemy):
    """``AsyncConnection`` over ``asyncpg``."""

    driver = "asyncpg"


class AlchemyAsyncSession(AsyncAlchemy):
    """``AsyncSession``."""

    async def open(self) -> None:
        self.target = AsyncSession(self.engine())

    async def record(self, number: int, **more: Any) -> Any:
        return await Port.record(self, number, **more)


class AsyncpgSession(AlchemyAsyncSession):
    """``AsyncSession`` over ``asyncpg``."""

    driver = "asyncpg"


class AsyncScopedSession(AlchemyAsyncSession):
    """``async_scoped_session``."""

    async def open(self) -> None:
        self.target = async_scoped_session(async_sessionmaker(self.engine()), scopefunc=lambda: 1)


PORTS: dict[str, tuple[type[Port], str]] = {
    "sqlite3": (Sqlite3, "sqlite"),
    "aiosqlite": (Aiosqlite, "sqlite"),
    "sqlalchemy sqlite": (Alchemy, "sqlite"),
    "session sqlite": (AlchemySession, "sqlite"),
    "scoped session sqlite": (ScopedSession, "sqlite"),
    "sqlalchemy aiosqlite": (AsyncAlchemy, "sqlite"),
    "session aiosqlite": (AlchemyAsyncSession, "sqlite"),
    "psycopg": (Psycopg, "postgresql"),
    "psycopg awaited": (AsyncPsycopg, "postgresql"),
    "sqlalchemy psycopg": (Alchemy, "postgresql"),
    "session psycopg": (AlchemySession, "postgresql"),
    "sqlalchemy psycopg awaited": (AsyncAlchemy, "postgresql"),
    "sqlalchemy asyncpg": (AsyncpgConnection, "postgresql"),
    "session psycopg awaited": (AlchemyAsyncSession, "postgresql"),
    "session asyncpg": (AsyncpgSession, "postgresql"),
    "scoped session awaited": (AsyncScopedSession, "postgresql"),
}


def port_of(name: str, app: App, base: int = 0) -> Port:
    """A port on a database of its engine; ``base`` is added to the numbers of its changes."""
    made = PORTS[name][0](app, Audit(app.url, organization="acme"))
    made.base = base
    return made
