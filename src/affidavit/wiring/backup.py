"""Backup and restore of the database of these settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from affidavit import __version__
from affidavit.config import Settings
from affidavit.core.times import format_time
from affidavit.errors import LogMismatch, Refused
from affidavit.log.erasure.reapply import Reapplied
from affidavit.log.fsck import Findings
from affidavit.storage.log import Alarm
from affidavit.storage.sqlite.backup import Places, write_backup
from affidavit.storage.sqlite.restore import restore_files
from affidavit.wiring.clock import clock
from affidavit.wiring.engines import engine_of
from affidavit.wiring.erasure import reapply_manifests
from affidavit.wiring.fsck import check_everything
from affidavit.wiring.log import log_standing
from affidavit.wiring.sqlite import SqliteEngine
from affidavit.wiring.store import open_store
from affidavit.wiring.work import open_parts

__all__ = ["Restored", "make_backup", "restore_backup"]

P = ParamSpec("P")
T = TypeVar("T")


class Restored(NamedTuple):
    """What became of a restore.

    Attributes:
        backup: the list of the backup.
        reapplied: what the guard remembered as erased, and how many events lost it again.
        standing: what stands against the log, empty where nothing does.
        findings: of ``fsck`` on the restored files.
    """

    backup: Mapping[str, Any]
    reapplied: Sequence[Reapplied]
    standing: Sequence[Alarm]
    findings: Findings


def _elsewhere(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run something in a process of its own: no descriptor of a database is ever closed in this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
        return child.submit(work, *arguments, **named).result()


def _places(settings: Settings) -> Places:
    engine = engine_of(settings)
    if not isinstance(engine, SqliteEngine):
        raise Refused(
            "This copies SQLite files. PostgreSQL has tools of its own: pg_basebackup and an archive of the"
            " WAL. See docs/howto/postgresql-backup.md."
        )
    return Places(engine.path, engine.log_path, engine.index_path)


def make_backup(settings: Settings, folder: Path) -> dict[str, Any]:
    """Copy events and log into a folder, while everything else goes on.

    Raises:
        Refused: the folder holds something.
        StorageError: a file cannot be read, or the copy not be written.
    """
    return _elsewhere(write_backup, _places(settings), folder.absolute(), format_time(clock()), __version__)


def restore_backup(settings: Settings, folder: Path, *, replace: bool) -> Restored:
    """Put a backup in place, apply what the guard remembers, and check everything.

    The caller holds the worker's lease. Nothing is served before this returns.

    Raises:
        Refused: the backup is not whole, or there is a database that may not go.
        StorageError: somebody has the database open, or a file fails.
    """
    backup = _elsewhere(restore_files, folder.absolute(), _places(settings), replace)
    engine_of(settings).migrate()
    instance = open_store(settings, source="cli")
    try:
        reapplied = reapply_manifests(settings, instance.database)
        with suppress(LogMismatch):  # it is among what stands against the log
            _seal(settings)
        standing = log_standing(settings, instance.database)
    finally:
        instance.close()
    return Restored(backup, reapplied, standing, check_everything(settings))


def _seal(settings: Settings) -> None:
    """Give the events that the log of the backup lacks their leaves again, and have them signed."""
    parts = open_parts(settings)
    try:
        while parts.sequencer.step():
            pass
        parts.signer.step()
    finally:
        parts.close()
