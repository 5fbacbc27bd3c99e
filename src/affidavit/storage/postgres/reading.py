"""A connection that only reads, past every name that leads elsewhere and everything that hides rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from affidavit.storage.evidence import Record
from affidavit.storage.postgres.connect import Address, Session, connect, translated
from affidavit.storage.postgres.schema import columns_of, key_of

__all__ = ["PIECE", "Reading"]

PIECE = 4_096
"""Rows read in one transaction."""
_TEXT = 25
"""The number of the type ``text`` in every server."""


class Reading:
    """One connection that only reads, opened at the first question.

    Args:
        address: of a database.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._session: Session | None = None
        self._within = False

    @property
    def session(self) -> Session:
        """The connection."""
        if self._session is None:
            self._session = connect(self.address, raw=True, name="affidavit fsck")
        return self._session

    @contextmanager
    def moment(self) -> Iterator[Session]:
        """One transaction, all of one moment; within another one it is that one's."""
        if self._within:
            yield self.session
            return
        with translated(self.address), self.session.transaction():
            self.session.connection.execute(
                b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                b" SET LOCAL search_path = pg_catalog; SET LOCAL row_security = off;"
                b" SET LOCAL statement_timeout = 0"
            )
            self._within = True
            try:
                yield self.session
            finally:
                self._within = False

    def all(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement."""
        with self.moment() as session:
            return session.execute(statement, parameters).fetchall()

    def records(self, table: str, where: str = "", parameters: Sequence[Any] = ()) -> list[Record]:
        """Rows of a table of ours in the order of its key."""
        names = columns_of(table)
        with self.moment() as session:
            cursor = session.execute(
                f"SELECT {', '.join(names)} FROM {table} {where} ORDER BY {', '.join(key_of(table))}",
                parameters,
            )
            texts = {column.name for column in cursor.description or () if column.type_code == _TEXT}
            return [
                {
                    name: value.decode("utf-8", "replace") if name in texts and value is not None else value
                    for name, value in zip(names, row, strict=True)
                }
                for row in cursor
            ]

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
            self._session = None
