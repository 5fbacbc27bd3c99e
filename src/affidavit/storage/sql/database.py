"""What the stores of this folder ask of an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from affidavit.core.row import Row

__all__ = ["Connection", "Cursor", "Database"]

T = TypeVar("T")


class Cursor(Protocol):
    """What a statement found, or how many rows it changed."""

    @property
    def rowcount(self) -> int:
        """Rows changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, a tuple; ``None`` after the last."""
        ...

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        ...


class Connection(Protocol):
    """A connection inside a transaction."""

    def execute(self, statement: str, parameters: Sequence[Any] = ..., /) -> Cursor:
        """Run a statement; each ``?`` stands for the parameter of its place."""
        ...

    def executemany(self, statement: str, parameters: Sequence[Sequence[Any]], /) -> object:
        """Run a statement once for each set of parameters."""
        ...


class Database(Protocol):
    """One open database. Errors of the driver come out as :class:`~affidavit.errors.StorageError`."""

    def change(
        self,
        work: Callable[[Connection], T],
        rows: Callable[[T], Sequence[Row]],
        *,
        alone: str | None = None,
    ) -> T:
        """Run ``work`` in one write transaction, insert the rows that ``rows`` gives for its answer, commit.

        Durable when it returns. An exception of either rolls everything back.

        Args:
            work: what to do. Every statement in it sees what was committed before that statement began.
            rows: the events of the change.
            alone: a name. Of the transactions that give the same one, each begins its work after the one
                before it has ended, in all processes. For work that reads first and then writes what
                follows from it.
        """
        ...

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in one transaction that only reads and sees one moment."""
        ...
