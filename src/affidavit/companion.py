"""The worker beside an app: ``audit.start()``.

Every process of the app may start one; a lock in the data directory lets one process of a machine have it,
and another takes over when that process ends, however it ends. The worker itself is a process of its own,
never a thread of the app; what runs here is a thread that waits.

A server that loads the app and forks then (gunicorn with ``--preload``) has called ``start`` before the fork.
So nothing is started at once, and whoever has forked lets its children go first.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from affidavit.config import Settings, make_data_dir
from affidavit.core.database_url import masked
from affidavit.errors import AffidavitError, ConfigError
from affidavit.recorder.file_lease import FileLease
from affidavit.recorder.forks import when_forked
from affidavit.supervisor import Child

__all__ = ["Companion"]

log = logging.getLogger("affidavit.worker")

AT_FIRST = 0.5
"""Seconds before a process tries first to have the worker: a server that forks has forked by then."""
AFTER_FORK = 5.0
"""The same for whoever has forked, so that its children have it."""
FORKED = 0.3
"""The same for the child, which may still be changing its user."""
AGAIN = 1.0
"""Seconds between two tries while another process has it."""


class Companion:
    """Has the worker run as long as the app does; see :meth:`affidavit.Audit.start`.

    Args:
        settings: of the worker.

    Raises:
        ConfigError: the data directory cannot be used, or a package is missing.
    """

    GRACE = 5.0
    """Seconds that a worker gets to end when it is told to; then it is killed."""

    def __init__(self, settings: Settings) -> None:
        _check_folder(settings.data_dir)
        _check_packages(settings)
        self.settings = settings
        self._host = FileLease(settings.data_dir / _lock_of(settings))
        self._child = Child(settings)
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._said = ""
        when_forked(self)

    @property
    def pid(self) -> int | None:
        """The process id of the worker, where this process has it now."""
        return self._child.pid

    def start(self) -> None:
        """Have it run from now on; once more is no more."""
        with self._turn:
            if self._thread is None:
                self._go_on(AT_FIRST)
                atexit.register(self.stop)

    def stop(self) -> None:
        """End the worker where this process has it; another process of the app goes on with one."""
        with self._turn:
            self._pause()
            self._thread = None
            self._child.end(self.GRACE)
            self._host.release()
            atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def before_fork(self) -> None:
        """No thread of ours is in the middle of anything while the process forks."""
        self._turn.acquire()
        self._pause()

    def after_fork(self, *, child: bool) -> None:
        """The parent keeps its worker where it has one; else its children go first."""
        if child:
            self._turn = threading.Lock()
            self._child.disown()
            self._host.release()
        if self._thread is not None:
            self._go_on(FORKED if child else 0.0 if self._host.held else AFTER_FORK)
        if not child:
            self._turn.release()

    def _go_on(self, seconds: float) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._ended, seconds), name="affidavit-start", daemon=True
        )
        self._thread.start()

    def _pause(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, ended: threading.Event, seconds: float) -> None:
        while not ended.wait(seconds):
            if self._taken():
                self._child.keep(ended)
            seconds = AGAIN

    def _taken(self) -> bool:
        try:
            make_data_dir(self.settings)
            return self._host.take()
        except (AffidavitError, OSError) as error:
            if str(error) != self._said:
                log.error("The worker cannot be started: %s", error)
            self._said = str(error)
            return False


def _lock_of(settings: Settings) -> str:
    """Of each database: two that share a folder by mistake have a worker each, which says so."""
    where = f"{masked(settings.database)} {settings.schema}"
    return f"start-{sha256(where.encode()).hexdigest()[:12]}.lock"


def _check_folder(folder: Path) -> None:
    """Whether it can be made, or written to; it is made by whoever needs it first, after a change of user."""
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise ConfigError(f"data_dir: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        what = "cannot be written to" if nearest == folder else f"cannot be made in {nearest}"
        raise ConfigError(f"data_dir: {folder} {what} by the account that the app runs as")


def _check_packages(settings: Settings) -> None:
    if find_spec("cryptography") is None:
        raise ConfigError("audit.start() signs the log, which needs cryptography; install: affidavit[web]")
    if settings.database.startswith("postgresql://") and find_spec("psycopg") is None:
        raise ConfigError("PostgreSQL needs its driver; install: affidavit[postgres]")
