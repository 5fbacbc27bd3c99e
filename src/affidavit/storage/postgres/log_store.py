"""Reading the log: trees, leaves, checkpoints, manifests, alarms. Safe to use from several threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from affidavit.storage.postgres.connect import Pool, Session
from affidavit.storage.sql.log_store import SqlLog

__all__ = ["PostgresLog"]


class PostgresLog(SqlLog):
    """LogStore of one database, and what readers ask of manifests and alarms.

    Args:
        pool: of connections, which stay the caller's.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection. One statement sees one moment, and no answer here needs two of one moment."""
        with self._pool.session() as session:
            yield session

    def close(self) -> None:
        """Nothing of its own is open."""
