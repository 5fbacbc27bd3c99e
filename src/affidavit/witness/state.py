"""What a witness remembers: of each log the checkpoint that it cosigned last, in an SQLite file of its own.

A witness that forgets could cosign a second history, so nothing is answered before it is on the disk, and a
file that is missing while its key is there is never made anew.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from affidavit.errors import ConfigError, NotADatabase, StorageError
from affidavit.witness.rules import Remembered

__all__ = ["Cosigned", "Refused", "WitnessState"]

MOST_KEPT = 64
"""Refused checkpoints kept of one log: the first ones, which say where it began."""
_BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE witness (one INTEGER PRIMARY KEY CHECK (one = 1), vkey TEXT NOT NULL) STRICT;
CREATE TABLE cosigned (
    origin_hash TEXT PRIMARY KEY,
    origin TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    root BLOB NOT NULL CHECK (length(root) = 32),
    seconds INTEGER NOT NULL,
    note BLOB NOT NULL
) STRICT;
CREATE TABLE refused (
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    seconds INTEGER NOT NULL,
    reason TEXT NOT NULL,
    note BLOB NOT NULL,
    PRIMARY KEY (origin, size, root)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""


class Cosigned(NamedTuple):
    """The checkpoint that was cosigned last for a log.

    Attributes:
        seen: size and root.
        seconds: when, since 1970 UTC.
        note: with the log's own signatures and that of the witness.
    """

    seen: Remembered
    seconds: int
    note: bytes


class Refused(NamedTuple):
    """A checkpoint that its log has signed and this witness has refused.

    Attributes:
        origin: which log.
        seen: size and root.
        seconds: when it came first, since 1970 UTC.
        reason: one sentence.
        note: as it came.
    """

    origin: str
    seen: Remembered
    seconds: int
    reason: str
    note: bytes


class WitnessState:
    """The file of one witness; safe to use from several threads and processes.

    Args:
        path: of the file.
        vkey: of the witness; the file belongs to this key and to no other.
        make: whether a missing file is made.

    Raises:
        ConfigError: the file is missing and may not be made, or belongs to another key.
        StorageError: it cannot be used.
    """

    def __init__(self, path: Path, vkey: str, *, make: bool) -> None:
        self._path = path
        self._lock = threading.Lock()
        if not make and not path.exists():
            raise ConfigError(
                f"The key of this witness is there, but its memory {path} is missing: it could cosign a"
                " second history of a log. Restore the file, or begin a new witness in another folder."
            )
        with self._translated():
            self._file = sqlite3.connect(
                f"file:{quote(str(path))}?mode={'rwc' if make else 'rw'}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=_BUSY_SECONDS,
            )
            try:
                self._file.execute("PRAGMA journal_mode = WAL")
                self._file.execute("PRAGMA synchronous = FULL")
                self._bind(vkey)
            except BaseException:
                self._file.close()
                raise

    def _bind(self, vkey: str) -> None:
        with self.transaction():
            (version,) = self._file.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._file.execute(statement)
                self._file.execute("INSERT INTO witness VALUES (1, ?)", (vkey,))
            elif version != 1:
                raise ConfigError(
                    f"{self._path} was made by a newer version of Affidavit; upgrade the program."
                )
            (owner,) = self._file.execute("SELECT vkey FROM witness").fetchone()
        if owner != vkey:
            raise ConfigError(
                f"{self._path} is the memory of the witness {owner}, and the key here is {vkey}."
                " Use its own key, or begin a new witness in another data directory."
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Alone with the file, also among processes; durable at the end of the block, undone by an error.

        Raises:
            StorageError: the file failed; nothing that was decided in the block may be said to anybody.
        """
        with self._lock, self._translated():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    def last(self, origin: str) -> Cosigned | None:
        """What was cosigned last for a log; within :meth:`transaction`."""
        row = self._file.execute(
            "SELECT size, root, seconds, note FROM cosigned WHERE origin = ?", (origin,)
        ).fetchone()
        return None if row is None else Cosigned(Remembered(row[0], row[1]), row[2], row[3])

    def remember(self, origin: str, origin_hash: str, cosigned: Cosigned) -> None:
        """Put it in the place of what was there; within :meth:`transaction`."""
        (size, root), seconds, note = cosigned
        self._file.execute(
            "INSERT OR REPLACE INTO cosigned (origin_hash, origin, size, root, seconds, note)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (origin_hash, origin, size, root, seconds, note),
        )

    def note(self, origin_hash: str) -> bytes | None:
        """The cosigned checkpoint of the log whose origin has this SHA-256 (hex)."""
        with self._lock, self._translated():
            row = self._file.execute(
                "SELECT note FROM cosigned WHERE origin_hash = ?", (origin_hash,)
            ).fetchone()
        return None if row is None else row[0]

    def keep(self, refused: Refused) -> bool:
        """Keep a signed checkpoint that was refused, as evidence against its log.

        Returns:
            Whether it is new and there was room.
        """
        origin, (size, root), seconds, reason, note = refused
        with self.transaction():
            (kept,) = self._file.execute(
                "SELECT count(*) FROM refused WHERE origin = ?", (origin,)
            ).fetchone()
            if kept >= MOST_KEPT:
                return False
            added = self._file.execute(
                "INSERT OR IGNORE INTO refused VALUES (?, ?, ?, ?, ?, ?)",
                (origin, size, root, seconds, reason, note),
            )
            return added.rowcount == 1

    def refused(self) -> list[Refused]:
        """Every refused checkpoint that was kept, the oldest first."""
        with self._lock, self._translated():
            rows = self._file.execute(
                "SELECT origin, size, root, seconds, reason, note FROM refused ORDER BY seconds, origin, size"
            ).fetchall()
        return [Refused(row[0], Remembered(row[1], row[2]), *row[3:]) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.NotSupportedError:
            raise
        except sqlite3.DatabaseError as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            foreign = code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
            kind = NotADatabase if foreign else StorageError
            raise kind(f"The memory of the witness, {self._path}, cannot be used: {error}") from error
