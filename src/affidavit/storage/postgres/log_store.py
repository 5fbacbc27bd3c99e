"""Reading the log: trees, leaves, checkpoints, manifests, alarms. Safe to use from several threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from affidavit.storage.postgres.connect import Address, Pool, Session
from affidavit.storage.postgres.log_place import check_place
from affidavit.storage.sql.log_store import SqlLog

__all__ = ["PostgresLog"]


class PostgresLog(SqlLog):
    """LogStore of one database, and what readers ask of manifests and alarms.

    Args:
        pool: of connections, which stay the caller's.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @classmethod
    def opened(cls, address: Address) -> PostgresLog:
        """A reader with connections of its own, which :meth:`close` closes."""
        return _OwnLog(Pool(address, 2))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection. One statement sees one moment, and no answer here needs two of one moment."""
        with self._pool.session() as session:
            yield session

    def check_place(self) -> None:
        """See :func:`affidavit.storage.postgres.log_place.check_place`."""
        with self._pool.session() as session:
            check_place(session)

    def close(self) -> None:
        """The connections are the caller's."""


class _OwnLog(PostgresLog):
    def close(self) -> None:
        """Close the connections."""
        self._pool.close()
