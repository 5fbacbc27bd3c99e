"""The log file: where it stands, how it is made, and that it belongs to this database."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from affidavit import errors
from affidavit.storage.sqlite import migrate
from affidavit.storage.sqlite.connect import connect, inode, translated

__all__ = ["database_id", "log_path", "open_log"]


def log_path(database: Path) -> Path:
    """Where the log of a database stands: ``app.db`` has ``app-log.db``."""
    return database.with_name(f"{database.with_suffix('').name}-log.db")


def database_id(database: Path) -> str:
    """What the app's file calls itself, so that its log and its guard can be told from others."""
    connection = connect(database, writer=False)
    try:
        with translated(database):
            row = connection.execute("SELECT value FROM affidavit_meta WHERE key = 'database_id'").fetchone()
    finally:
        connection.close()
    return "" if row is None else str(row[0])


def open_log(path: Path, database_id: str, *, make: bool, adopt: bool = False) -> sqlite3.Connection:
    """Open the log file for the holder of the worker's lease, its schema current.

    Args:
        path: of the log file.
        database_id: of the app's file that it must belong to.
        make: whether a missing file is made. Not where something remembers that there was one.
        adopt: whether the log of another database belongs to this one from now on. On the word of a person.

    Raises:
        LogMismatch: the file is missing and may not be made, or belongs to another database.
    """
    if inode(path) is None:
        if not make:
            raise errors.LogMismatch(
                f"The log file {path} is missing although checkpoints were signed; restore it, or begin a new"
                " incarnation with: affidavit log reopen"
            )
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = connect(path, writer=True)
    try:
        migrate.migrate(connection, path, migrate.LOG)
        with translated(path):
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("INSERT OR IGNORE INTO affidavit_log VALUES (1, ?)", (database_id,))
            if adopt:
                connection.execute("UPDATE affidavit_log SET database_id = ?", (database_id,))
            (owner,) = connection.execute("SELECT database_id FROM affidavit_log").fetchone()
        if owner != database_id:
            raise errors.LogMismatch(
                f"The log file {path} belongs to another database ({owner[:8]}, not {database_id[:8]});"
                " restore the two files together, or begin a new incarnation with: affidavit log reopen"
            )
    except BaseException:
        connection.close()
        raise
    return connection
