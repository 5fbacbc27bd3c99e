"""What the worker works with: the log's parts and the follower of the index."""

from __future__ import annotations

import os
import threading
import time

from affidavit.config import Settings
from affidavit.errors import LogMismatch
from affidavit.log.sequencer import Sequencer
from affidavit.log.upkeep import LogParts, Upkeep
from affidavit.storage.sqlite.connect import index_path
from affidavit.storage.sqlite.follower import IndexFollower
from affidavit.storage.sqlite.log_writer import SqliteLogWriter
from affidavit.wiring.log import log_file_path, may_make_log, open_signer
from affidavit.wiring.stopped import stopped_parts
from affidavit.wiring.store import clock, database_path
from affidavit.wiring.tasks import open_tasks
from affidavit.wiring.witnesses import open_cosigning

__all__ = ["open_follower", "open_upkeep"]


def open_follower(settings: Settings) -> IndexFollower:
    """The follower that keeps the search index."""
    path = database_path(settings)
    return IndexFollower(path, settings.index_database or index_path(path))


def open_upkeep(settings: Settings, *, at_once: bool = False) -> Upkeep:
    """The log's share of the worker.

    Args:
        settings: of the program.
        at_once: open the files now, so that what is wrong with them is raised here; else at the first step,
            and again while that fails.
    """
    if at_once:
        first = [open_parts(settings)]
        return Upkeep(
            lambda: first.pop() if first else open_parts(settings), monotonic=time.monotonic, clock=clock
        )
    return Upkeep(lambda: _open_or_stop(settings), monotonic=time.monotonic, clock=clock)


def _open_or_stop(settings: Settings) -> LogParts:
    """The parts; where the files are not of one history, those that can mend it on a person's word."""
    try:
        return open_parts(settings)
    except LogMismatch as mismatch:
        return stopped_parts(settings, mismatch)


def open_parts(settings: Settings) -> LogParts:
    """Open the log for the holder of the worker's lease.

    Raises:
        LogMismatch: the files are not of one history.
        StorageError: a file cannot be used.
    """
    path = database_path(settings)
    writer = SqliteLogWriter(path, log_file_path(settings), make=may_make_log(settings))
    signer, store = open_signer(settings, writer)
    sequencer = Sequencer(
        writer,
        writer,
        writer,
        host=settings.log_host,
        clock=clock,
        entropy=os.urandom,
        known=signer.known,
    )
    renewed = threading.Event()
    tasks = open_tasks(settings, writer, renewed.set)
    cosigning = open_cosigning(settings, writer)

    def close() -> None:
        if cosigning is not None:
            cosigning.close()
        tasks.close()
        signer.close()
        store.close()
        writer.close()

    return LogParts(writer, sequencer, signer, tasks.runner, writer, close, cosigning, renewed.is_set)
