"""Stores what waited in the spool for a transaction of this thread, when that ends, either way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from affidavit.recorder.now import transaction_ended

__all__ = ["drain_when_ended"]


def drain_when_ended(connections: Iterable[Any]) -> None:
    """Watch the transactions that are open.

    Args:
        connections: of this thread.
    """
    for connection in connections:
        if connection.in_atomic_block and "rollback" not in vars(connection):
            _watch(connection)


def _watch(connection: Any) -> None:
    """Both ends are wrapped, once: Django tells of commits only, and forgets whom with a savepoint."""

    def ended(name: str) -> None:
        for each in ("commit", "rollback"):
            vars(connection).pop(each, None)
        try:
            getattr(connection, name)()
        finally:
            transaction_ended()

    connection.commit = lambda: ended("commit")
    connection.rollback = lambda: ended("rollback")
