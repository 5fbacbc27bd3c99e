"""The ``Redactor`` of SQLite, and what empties the write-ahead log of a file.

Connections overwrite what they delete (``secure_delete``). Commits here wait for no disk: they are repeated
after a crash, and :meth:`SqliteRedactor.scrub` syncs them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from affidavit.storage.redaction import HOLD_SECONDS, PermitKind, Redaction
from affidavit.storage.sql.redaction import READ, emptied
from affidavit.storage.sqlite.connect import connect, inode, translate, translated
from affidavit.storage.sqlite.slack import SlackWiper

__all__ = ["SqliteRedactor", "empty_wal"]

PATIENCE = 5
"""Milliseconds that emptying the write-ahead log waits for readers, and writers with it."""

_WRITE = (
    "UPDATE affidavit_events SET secret = NULL, remains = ?{} WHERE organization = ? AND id = ?"
    " AND secret IS ? AND remains IS ?"
)


class SqliteRedactor:
    """:class:`~affidavit.storage.redaction.Redactor` on SQLite, with a connection of its own.

    Args:
        path: the app's file.
        monotonic: seconds.
    """

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._monotonic = monotonic
        self._connection, self._inode = self._open()
        self._slack = SlackWiper(path)

    def _open(self) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
        connection = connect(self.path, writer=True, synchronous="NORMAL")
        # Digests are of the bytes that stand there, UTF-8 or not.
        connection.text_factory = bytes
        return connection, inode(self.path)

    def redact(self, kind: PermitKind, reference: str, redactions: Sequence[Redaction]) -> int:
        """See the role."""
        if inode(self.path) != self._inode:
            self._connection.close()
            self._connection, self._inode = self._open()
        waiting = iter(redactions)
        changed = done = 0
        while done < len(redactions):
            with translated(self.path):
                taken, lost = self._transaction(kind, reference, waiting)
            done += taken
            changed += lost
        return changed

    def _transaction(self, kind: PermitKind, reference: str, waiting: Iterator[Redaction]) -> tuple[int, int]:
        """As many as one hold of the write lock allows: how many were taken, how many lost something."""
        taken = lost = 0
        permitted: set[str] = set()
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        until = self._monotonic() + HOLD_SECONDS / 2
        try:
            for redaction in waiting:
                if redaction.organization not in permitted:
                    permitted.add(redaction.organization)
                    connection.execute(
                        "INSERT INTO affidavit_permit (organization, kind, reference) VALUES (?, ?, ?)",
                        (redaction.organization, kind, reference),
                    )
                lost += _redact(connection, redaction)
                taken += 1
                if self._monotonic() >= until:
                    break
            connection.execute("DELETE FROM affidavit_permit")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return taken, lost

    def scrub(self) -> bool:
        """See the role."""
        if not empty_wal(self.path, self._connection):
            return False
        with translated(self.path):
            return self._slack.step(self._connection)

    def close(self) -> None:
        """Close the connection."""
        self._slack.close()
        self._connection.close()


def _redact(connection: sqlite3.Connection, redaction: Redaction) -> bool:
    key = (redaction.organization, redaction.id)
    row = connection.execute(READ, key).fetchone()
    change = None if row is None else emptied(row, redaction.groups)
    if change is None:
        return False
    nulls = "".join(f", {column} = NULL" for column in change.columns)
    values = (change.remains, *key, *change.stood)
    return connection.execute(_WRITE.format(nulls), values).rowcount == 1


def empty_wal(path: Path, connection: sqlite3.Connection) -> bool:
    """Bring the write-ahead log of a file into the file and cut it to nothing.

    First as far as it goes without a lock, then the rest and the cut with one, given up after
    :data:`PATIENCE`.

    Args:
        path: for messages.
        connection: to that file, in no transaction.

    Returns:
        False where somebody was in the way.
    """
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {PATIENCE}").fetchone()
        try:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {patience}").fetchone()
    except sqlite3.OperationalError as error:
        if (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return False
        raise translate(error, path) from error
    return not busy
