"""What the tables of the search index hold, raw, for ``affidavit fsck``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from affidavit.storage.evidence import RawEvent, Record
from affidavit.storage.postgres.connect import Address, written
from affidavit.storage.postgres.reading import PIECE, Reading
from affidavit.storage.postgres.snapshot import INDEX_VERSION
from affidavit.storage.postgres.terms import email_hash, hashes_of

__all__ = ["PostgresIndexEvidence"]

_HASH_SIZE = 8


class PostgresIndexEvidence:
    """:class:`affidavit.storage.evidence.IndexEvidence` of one PostgreSQL store.

    A term is shown as the 8 bytes of its hash and the 16 of its id; terms are kept in no runs.

    Args:
        address: of the database.
    """

    def __init__(self, address: Address) -> None:
        self._reading = Reading(address)

    @property
    def version(self) -> int:
        """Of the layout that this program makes."""
        return INDEX_VERSION

    @contextmanager
    def moment(self) -> Iterator[bool]:
        """See the role. Nobody can throw the index away meanwhile, which no snapshot would keep."""
        with self._reading.moment() as session:
            session.execute("LOCK TABLE affidavit_terms IN ACCESS SHARE MODE")
            yield bool(session.execute("SELECT FROM affidavit_index LIMIT 1").fetchall())

    def tables(self) -> Mapping[str, list[Record]]:
        """See the role."""
        return {"affidavit_index": self._reading.records("affidavit_index")}

    def _stream(self, statement: str) -> Iterator[Sequence[tuple[Any, ...]]]:
        address = self._reading.address
        with (
            self._reading.moment() as session,
            session.connection.cursor("affidavit_fsck", binary=True) as rows,
        ):
            rows.execute(written(statement, address.schema))
            while piece := rows.fetchmany(PIECE):
                yield piece

    def terms_stored(self) -> Iterator[Sequence[tuple[Any, Any]]]:
        """See the role."""
        for rows in self._stream("SELECT hash, id FROM affidavit_terms"):
            yield [(None, _key(hashed, event_id)) for hashed, event_id in rows]

    def hourly(self) -> Iterator[tuple[Any, ...]]:
        """See the role."""
        for rows in self._stream(
            "SELECT organization, hour, action, outcome, severity, n FROM affidavit_hourly"
        ):
            yield from rows

    def emails(self) -> Iterator[tuple[Any, ...]]:
        """See the role."""
        for rows in self._stream("SELECT organization, hash, actor_id FROM affidavit_emails"):
            yield from rows

    def terms(self, key: bytes, event: RawEvent) -> tuple[set[bytes], set[tuple[bytes, bytes, bytes]]]:
        """See the role."""
        values = event.values
        texts = [None if text is None else text.decode() for text in values[12:15]]
        hashes, emails = hashes_of(key, values[2].decode(), values[9], *texts)
        return (
            {_key(hashed, values[0]) for hashed in hashes},
            {(values[2], email_hash(key, mail), actor_id.encode()) for mail, actor_id in emails},
        )

    def close(self) -> None:
        """Close the connection."""
        self._reading.close()


def _key(hashed: int, event_id: bytes) -> bytes:
    return hashed.to_bytes(_HASH_SIZE, "big", signed=True) + event_id
