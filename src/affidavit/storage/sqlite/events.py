"""The ``EventStore`` of SQLite."""

from __future__ import annotations

from collections.abc import Sequence

from affidavit.core.credentials import ALL
from affidavit.core.row import Recorded, Row, StoredEvent
from affidavit.storage.protocols import RawRow
from affidavit.storage.sqlite.index import organizations_of
from affidavit.storage.sqlite.readers import Readers, despite_bad_text
from affidavit.storage.sqlite.search import SELECT
from affidavit.storage.sqlite.writer import Writer

__all__ = ["SqliteEvents"]


class SqliteEvents:
    """Reads and appends; see :class:`affidavit.storage.protocols.EventStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    def insert(self, rows: Sequence[Row]) -> list[Recorded]:
        """Store one batch durably."""
        return self._writer.insert(rows)

    @despite_bad_text
    def fetch(self, organization: str, ids: Sequence[bytes]) -> list[StoredEvent]:
        """The events with these ids, newest first."""
        with self._readers.session() as session:
            rows = session.events.execute(
                f"{SELECT} WHERE organization = ? AND id IN ({','.join('?' * len(ids))}) ORDER BY id DESC",
                [organization, *ids],
            )
            return [StoredEvent(row[0], row[1:]) for row in rows]

    @despite_bad_text
    def after(self, seq: int, limit: int) -> list[StoredEvent]:
        """Events in recording order beyond a place."""
        with self._readers.session() as session:
            rows = session.events.execute(f"{SELECT} WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))
            return [StoredEvent(row[0], row[1:]) for row in rows]

    def rows(self, seqs: Sequence[int]) -> list[RawRow]:
        """The rows at these places, as they stand."""
        with self._readers.session() as session:
            events = session.events
            # Text that is not UTF-8 must not hide the row that holds it.
            events.text_factory = bytes
            try:
                rows = events.execute(
                    f"{SELECT} WHERE seq IN ({','.join('?' * len(seqs))}) ORDER BY seq", list(seqs)
                ).fetchall()
            finally:
                events.text_factory = str
            return [RawRow(row[0], row[1:]) for row in rows]

    def last_seq(self) -> int:
        """The place of the newest event."""
        with self._readers.session() as session:
            return session.last_seq

    def mark(self) -> int:
        """The place of the newest event: they are given at the commit."""
        return self.last_seq()

    def place_of(self, mark: int) -> int | None:
        """The mark itself."""
        return mark

    @despite_bad_text
    def organizations(self) -> list[str]:
        """Every organization that has an event."""
        with self._readers.session() as session:
            return organizations_of(session, ALL)
