"""Connections to the files of one SQLite store, and what SQLite's errors mean to us.

No process that holds connections may open and close a database file or its ``-shm`` in another way: closing
any descriptor drops the POSIX locks of the whole process. Sizes and hashes are therefore taken in a child
process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from affidavit import errors
from affidavit.core.ids import microseconds_of
from affidavit.core.match import within
from affidavit.core.row import LATE_AFTER

__all__ = ["connect", "index_path", "inode", "translated"]

WRITER_CACHE = 64 * 1024
READER_CACHE = 8 * 1024
"""KiB of page cache of one connection."""
BUSY_SECONDS = 10.0
"""How long a statement waits for the lock of another process."""


def index_path(database: Path) -> Path:
    """Where the index of a database stands: ``app.db`` has ``app-index.db``."""
    return database.with_name(f"{database.with_suffix('').name}-index.db")


def inode(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file: whether it is still the same one. ``None`` where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def connect(
    path: Path, *, writer: bool, create: bool = False, synchronous: str = "FULL"
) -> sqlite3.Connection:
    """Open a file of the store in autocommit mode; transactions are written out.

    Args:
        path: the file.
        writer: whether the connection may write; readers refuse every statement that would.
        create: make the file where it is missing.
        synchronous: ``FULL`` (a commit is on the disk when it returns) or ``NORMAL`` (for what can be
            rebuilt).

    Raises:
        StorageError: in one of its kinds.
    """
    mode = "rwc" if create else "rw"
    with translated(path):
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            timeout=BUSY_SECONDS,
        )
        try:
            if writer:
                (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                if journal != "wal":
                    raise errors.StorageError(
                        f"{path} cannot use write-ahead logging, which Affidavit needs."
                    )
                # An erased value must not live on in pages and cells that are free. Some builds have this on.
                connection.execute("PRAGMA secure_delete = ON")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE if writer else READER_CACHE}")
            if not writer:
                connection.execute("PRAGMA query_only = ON")
                connection.create_function("affidavit_within", 2, _within, deterministic=True)
                connection.create_function("affidavit_late", 2, _late, deterministic=True)
        except BaseException:
            connection.close()
            raise
    return connection


def _within(address: str | None, network: str) -> int:
    return 1 if address is not None and within(address, network) else 0


def _late(event_id: bytes, recorded_at: int) -> int:
    return 1 if recorded_at - microseconds_of(event_id) > LATE_AFTER else 0


_KINDS: dict[int, type[errors.StorageError]] = {
    sqlite3.SQLITE_BUSY: errors.StorageBusy,
    sqlite3.SQLITE_LOCKED: errors.StorageBusy,
    sqlite3.SQLITE_FULL: errors.StorageFull,
    sqlite3.SQLITE_READONLY: errors.StorageReadOnly,
    sqlite3.SQLITE_PERM: errors.StorageReadOnly,
    sqlite3.SQLITE_NOTADB: errors.NotADatabase,
    sqlite3.SQLITE_CORRUPT: errors.NotADatabase,
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours; the file is named, the cause kept."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error


def translate(error: sqlite3.Error, path: Path) -> errors.StorageError:
    """Our error for one of SQLite's."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_ERROR and "no such table" in str(error):
        return errors.SchemaMissing(f"{path} has no Affidavit tables ({error}); run: affidavit migrate")
    if str(error).startswith("Could not decode to UTF-8"):
        # The driver's message holds the text itself.
        return errors.UnreadableText(f"A text in {path} is not UTF-8; affidavit fsck names the event.")
    if code == sqlite3.SQLITE_CANTOPEN:
        if not path.exists():
            return errors.SchemaMissing(f"There is no database at {path}; run: affidavit migrate")
        return errors.StorageReadOnly(
            f"{path} cannot be opened; check the owner and mode of the file and its folder."
        )
    if code == sqlite3.SQLITE_IOERR and "full" in str(error):
        code = sqlite3.SQLITE_FULL
    kind = _KINDS.get(code, errors.StorageError)
    return kind(f"{(kind.__doc__ or '').strip().splitlines()[0]} ({path}: {error})")
