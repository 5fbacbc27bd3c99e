"""What ``record`` takes first, told apart by what it can do: a type checker needs no driver for that."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

__all__ = ["AwaitedConnection", "BlockingConnection", "Unit"]


class Unit(Protocol):
    """SQLAlchemy's ``Session``, ``AsyncSession`` and their scoped forms: they collect work and flush it."""

    def flush(self, objects: Any = ...) -> Any:
        """Write what was collected."""
        ...

    def add(self, instance: object) -> None:
        """Collect an object."""
        ...


class AwaitedConnection(Protocol):
    """``psycopg.AsyncConnection``, ``aiosqlite.Connection``, SQLAlchemy's ``AsyncConnection``."""

    def commit(self) -> Awaitable[None]:
        """End the transaction."""
        ...


class BlockingConnection(Protocol):
    """``sqlite3.Connection``, ``psycopg.Connection``, SQLAlchemy's ``Connection``."""

    def commit(self) -> None:
        """End the transaction."""
        ...
