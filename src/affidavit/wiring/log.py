"""The parts that sign: key file, guard, signer, built from the settings."""

from __future__ import annotations

import os
import time
from pathlib import Path

from affidavit.config import Settings
from affidavit.errors import GuardRefused, StorageError
from affidavit.log.keys import FILE_NAME, KeyFile, LogKeys
from affidavit.log.prover import Prover
from affidavit.log.signer import Signer
from affidavit.storage.guard import Guard
from affidavit.storage.sqlite.guard_file import SqliteGuard, open_guard
from affidavit.storage.sqlite.log_file import database_id, log_path
from affidavit.storage.sqlite.log_store import SqliteLog
from affidavit.storage.sqlite.log_writer import SqliteLogWriter
from affidavit.wiring.store import clock, database_path

__all__ = ["guard_for", "key_file", "log_file_path", "may_make_log", "open_signer"]


def log_file_path(settings: Settings) -> Path:
    """The log file of these settings."""
    return settings.log_database or log_path(database_path(settings))


def key_file(settings: Settings) -> KeyFile:
    """The file of the log key; it is read when it is used."""
    return KeyFile(settings.data_dir / FILE_NAME, os.urandom, clock)


def guard_for(settings: Settings, *, make: bool = False, adopt: bool = False) -> SqliteGuard:
    """Open the guard of these settings.

    Args:
        settings: of the program.
        make: whether a missing one is made.
        adopt: whether one of another database may guard this one from now on.

    Raises:
        GuardRefused: it is missing, or guards another database.
        StorageError: it cannot be used.
    """
    identity = database_id(database_path(settings))
    return open_guard(settings.guard_path, identity, make=make, adopt=adopt)


def may_make_log(settings: Settings) -> bool:
    """Whether a missing log file is one that never was: the guard remembers no log of this database."""
    try:
        guard = guard_for(settings)
    except (GuardRefused, StorageError):
        return True
    try:
        return not remembers(guard)
    finally:
        guard.close()


def remembers(guard: Guard) -> bool:
    """Whether the guard knows any log."""
    return bool(guard.walk("", 1))


def open_signer(settings: Settings, writer: SqliteLogWriter) -> tuple[Signer, SqliteLog]:
    """The signer of the holder of the worker's lease, and the store that it reads, which the caller closes.

    Guard and key are made only while no checkpoint exists: later a missing one is a loss that must be named.
    """
    store = SqliteLog(log_file_path(settings))
    keys = key_file(settings)

    def open_the_guard() -> Guard:
        return guard_for(settings, make=not writer.signed())

    def load_keys() -> LogKeys:
        if not keys.exists() and not writer.signed():
            guard = guard_for(settings)
            try:
                if not remembers(guard):
                    return keys.create()
            finally:
                guard.close()
        return keys.load()

    signer = Signer(
        writer,
        writer,
        writer,
        store,
        Prover(store),
        guard=open_the_guard,
        keys=load_keys,
        clock=clock,
        monotonic=time.monotonic,
    )
    return signer, store
