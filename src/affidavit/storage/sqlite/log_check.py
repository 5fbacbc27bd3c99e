"""Whether log file and app's file are of one history: for readers what the worker checks at each claim."""

from __future__ import annotations

from pathlib import Path

from affidavit import errors
from affidavit.storage.protocols import EventStore
from affidavit.storage.sqlite.log_file import database_id
from affidavit.storage.sqlite.log_replay import sealed_already
from affidavit.storage.sqlite.log_store import SqliteLog

__all__ = ["check_files"]


def check_files(database: Path, events: EventStore, log: SqliteLog) -> None:
    """Raise where they are not.

    Raises:
        LogMismatch: the log file belongs to another database, or the last event with a leaf is not there.
    """
    with log.session() as connection:
        if connection is None:
            return
        (owner,) = connection.execute("SELECT database_id FROM affidavit_log").fetchone()
        identity = database_id(database)
        if owner != identity:
            raise errors.LogMismatch(
                f"The log file {log.path} belongs to another database ({owner[:8]}, not {identity[:8]});"
                " restore the two files together, or begin a new incarnation with: affidavit log reopen"
            )
        seq, event_id, leaf = connection.execute("SELECT seq, id, leaf FROM affidavit_position").fetchone()
        if not seq:
            return
        rows = events.rows([seq])
        if not rows or rows[0].values[0] != event_id or sealed_already(connection, *rows[0]) != leaf:
            fate = "another one now" if rows else "gone"
            raise errors.LogMismatch(
                f"The event at place {seq}, the last one with a leaf, is {fate}: {database} was restored from"
                " before, or edited. Restore it with its log, or see: affidavit fsck, affidavit log reopen"
            )
