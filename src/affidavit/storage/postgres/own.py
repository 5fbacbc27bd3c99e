"""A connection that one part keeps for itself."""

from __future__ import annotations

from affidavit.storage.postgres.connect import Address, Session, connect

__all__ = ["OwnSession"]


class OwnSession:
    """Opened at the first use, and again where it broke; used by one thread at a time.

    Args:
        address: of the database.
        name: that the database shows for the connection.
        raw: whether texts come out as UTF-8 bytes, as the log hashes them.
    """

    def __init__(self, address: Address, name: str, *, raw: bool = False) -> None:
        self._address = address
        self._name = name
        self._raw = raw
        self._session: Session | None = None

    def get(self) -> Session:
        """The open connection.

        Raises:
            StorageError: it cannot be opened; in one of its kinds.
        """
        if self._session is None or self._session.broken:
            self._session = connect(self._address, raw=self._raw, name=self._name)
        return self._session

    def close(self) -> None:
        """Close it; the next use opens another."""
        if self._session is not None:
            self._session.close()
            self._session = None
