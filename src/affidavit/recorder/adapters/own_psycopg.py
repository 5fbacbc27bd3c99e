"""Connections of its own to PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg

from affidavit.core.row import Recorded
from affidavit.core.statement import Steps
from affidavit.errors import StorageError
from affidavit.recorder.adapters.driver import drive
from affidavit.recorder.adapters.psycopg import PsycopgDriver

__all__ = ["PsycopgSource"]

CONNECT_SECONDS = 5


class PsycopgSource:
    """See :class:`affidavit.recorder.own.Source`.

    Args:
        url: ``postgresql://...``; never shown.
        schema: of our tables.
    """

    dialect = "postgresql"
    keeps = True

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema

    def connect(self) -> psycopg.Connection[Any]:
        """A new connection."""
        try:
            return psycopg.connect(
                self._url,
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=CONNECT_SECONDS,
                application_name="affidavit",
            )
        except psycopg.ProgrammingError:
            # The driver's message would quote parts of the URL, a password among them.
            raise StorageError("The database URL cannot be read.") from None

    def run(self, connection: psycopg.Connection[Any], steps: Steps) -> list[Recorded]:
        """Run a recording in a transaction of its own."""
        with connection.transaction():
            return drive(PsycopgDriver(connection, self._schema), steps)

    def is_busy(self, error: BaseException) -> bool:
        """Somebody holds a lock, or no connection is left."""
        return isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.TooManyConnections)

    def is_away(self, error: BaseException) -> bool:
        """The server could not be reached, or hung up."""
        return isinstance(error, psycopg.OperationalError) and (
            error.sqlstate is None or error.sqlstate[:2] in ("08", "57")
        )

    def close(self, connection: psycopg.Connection[Any]) -> None:
        """Close a connection."""
        connection.close()
