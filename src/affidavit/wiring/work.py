"""What the worker works with: the log's parts and the follower of the index."""

from __future__ import annotations

import os
import time
from pathlib import Path

from affidavit.config import Settings
from affidavit.log.sequencer import Sequencer
from affidavit.log.upkeep import LogParts, Upkeep
from affidavit.storage.sqlite.connect import index_path
from affidavit.storage.sqlite.follower import IndexFollower
from affidavit.storage.sqlite.log_file import log_path
from affidavit.storage.sqlite.log_writer import SqliteLogWriter
from affidavit.wiring.store import clock, database_path

__all__ = ["open_follower", "open_upkeep"]


def open_follower(settings: Settings) -> IndexFollower:
    """The follower that keeps the search index."""
    path = database_path(settings)
    return IndexFollower(path, settings.index_database or index_path(path))


def open_upkeep(settings: Settings) -> Upkeep:
    """The log's share of the worker; its files are opened at its first step."""
    return Upkeep(lambda: open_parts(settings), monotonic=time.monotonic, clock=clock)


class _Idle:
    """Nothing to do."""

    def step(self) -> int:
        """Nothing."""
        return 0


def open_parts(settings: Settings) -> LogParts:
    """Open the log for the holder of the worker's lease.

    Raises:
        LogMismatch: the files are not of one history.
        StorageError: a file cannot be used.
    """
    path = database_path(settings)
    writer = SqliteLogWriter(path, _log_path(settings, path))
    sequencer = Sequencer(writer, writer, writer, host="localhost", clock=clock, entropy=os.urandom)
    return LogParts(writer, sequencer, _Idle(), _Idle(), writer, writer.close)  # type: ignore[arg-type]


def _log_path(settings: Settings, database: Path) -> Path:
    return settings.log_database or log_path(database)
