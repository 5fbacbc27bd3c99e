"""The database: a file of SQLite, or PostgreSQL where ``DATABASE_URL`` says so."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import DateTime, TypeDecorator, create_engine, event
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.orm import DeclarativeBase, sessionmaker

__all__ = ["Base", "Moment", "Session", "engine", "make_tables", "new_id"]

URL = make_url(os.environ.get("DATABASE_URL", "sqlite:///trellis.db"))


class Base(DeclarativeBase):
    """What all tables have in common."""


class Moment(TypeDecorator[datetime]):
    """A time, in UTC on every engine."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """What was read: SQLite forgets the zone, PostgreSQL gives that of the session."""
        if value is None or value.tzinfo is not None:
            return None if value is None else value.astimezone(UTC)
        return value.replace(tzinfo=UTC)


if URL.drivername in ("postgresql", "postgres"):
    URL = URL.set(drivername="postgresql+psycopg")
engine = create_engine(URL)
Session = sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine, "connect")
def _set_up(connection: Any, _record: Any) -> None:
    if engine.dialect.name == "sqlite":
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute("PRAGMA foreign_keys = ON")


def make_tables() -> None:
    """Make the tables that are missing."""
    Base.metadata.create_all(engine)


def new_id() -> str:
    """An id that nobody has."""
    return uuid4().hex
