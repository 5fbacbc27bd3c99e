"""One PostgreSQL store, opened: the pool, and what the settings stores need of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from affidavit.core.row import Row
from affidavit.storage.postgres.connect import Address, Pool, Session
from affidavit.storage.postgres.writer import insert_rows

__all__ = ["PostgresDatabase"]

T = TypeVar("T")


class PostgresDatabase:
    """Everything of one store in one process.

    Args:
        address: of a database whose schema is current.
        pool: connections at most.
        clock: microseconds since 1970 UTC, for ``recorded_at``; ``None`` takes the database's clock.
        fence: what each write transaction of a worker asks first: whether the lease is still its own.
    """

    def __init__(
        self,
        address: Address,
        *,
        pool: int = 10,
        clock: Callable[[], int] | None = None,
        fence: Callable[[Session], None] | None = None,
    ) -> None:
        self.address = address
        self.clock = clock
        self._fence = fence
        self.pool = Pool(address, pool)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A write transaction for the length of the block.

        Raises:
            LogMoved: this worker has lost its lease; nothing was stored.
        """
        with self.pool.transaction() as session:
            if self._fence is not None:
                self._fence(session)
            yield session

    def change(
        self,
        work: Callable[[Session], T],
        rows: Callable[[T], Sequence[Row]],
        *,
        alone: str | None = None,
    ) -> T:
        """Run ``work`` and insert the rows that follow from its answer, in one durable transaction."""
        with self.transaction() as session:
            if alone is not None:
                name = f"affidavit {self.address.schema} {alone}"
                session.execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (name,))
            answer = work(session)
            if made := rows(answer):
                insert_rows(session, made, self.clock() if self.clock is not None else None)
        return answer

    def read(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` within one reading transaction, whose statements all see the same moment."""
        with self.pool.transaction() as session:
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return work(session)

    def meta(self, key: str) -> str | None:
        """A fact about the database, such as ``demo``."""
        row = self.read(
            lambda session: session.execute(
                "SELECT value FROM affidavit_meta WHERE key = ?", (key,)
            ).fetchone()
        )
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Note a fact about the database."""
        self.change(
            lambda session: session.execute(
                "INSERT INTO affidavit_meta VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            ),
            lambda _: (),
        )

    def close(self) -> None:
        """Close the connections."""
        self.pool.close()
