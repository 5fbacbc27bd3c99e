"""Starts the worker as a child process, and starts it again when it dies."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from affidavit.config import Settings

__all__ = ["PARENT_VARIABLE", "SETTINGS_VARIABLE", "Child", "Supervisor", "packed", "unpacked"]

log = logging.getLogger("affidavit.worker")

SETTINGS_VARIABLE = "AFFIDAVIT_WORKER_SETTINGS"
PARENT_VARIABLE = "AFFIDAVIT_WORKER_PARENT"
"""What a supervisor tells its worker. The number of its own process, because it may be gone before the worker
could ask for it."""
LOOK = 0.1
"""Seconds between two looks whether the worker lives."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a worker that died is started again: doubled while it dies at once."""
STEADY = 30.0
"""Seconds that a worker must live for the pause to be short again."""


class Child:
    """The worker process of one supervising process; used by one thread at a time.

    Args:
        settings: of the program; the worker gets the same database.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
        self._pause = FIRST_PAUSE

    @property
    def pid(self) -> int | None:
        """The process id of the worker, ``None`` while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it."""
        self._begun = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "affidavit.worker"],
            env={
                **os.environ,
                SETTINGS_VARIABLE: packed(self._settings),
                PARENT_VARIABLE: str(os.getpid()),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def keep(self, ended: threading.Event) -> None:
        """Have one running until told to stop; then it still runs."""
        while not ended.is_set():
            try:
                if self._process is None:
                    self.start()
                reason = self._watch(ended)
            except OSError as error:  # no memory, no process left
                reason = f"The worker could not be started ({error.strerror})"
            if reason is None:
                return
            self._process = None
            lived = time.monotonic() - self._begun
            self._pause = FIRST_PAUSE if lived >= STEADY else min(LONGEST_PAUSE, self._pause * 2)
            log.error("%s; starting it again in %.1f s.", reason, self._pause)
            ended.wait(self._pause)

    def _watch(self, ended: threading.Event) -> str | None:
        """Wait for its end, and say that; ``None`` where the supervisor was told to stop before."""
        process = self._process
        assert process is not None
        while process.poll() is None:
            if ended.wait(LOOK):
                return None
        return f"The worker ended with status {process.returncode}"

    def end(self, grace: float) -> None:
        """Tell it to end, and kill it where it has not after so many seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def disown(self) -> None:
        """In a child after a fork: it is the parent's."""
        if self._process is not None:
            self._process.returncode = 0
            self._process = None


class Supervisor:
    """Runs one worker for the length of a ``with`` block; one that dies is started again.

    Args:
        settings: of the server; the worker gets the same database.
    """

    GRACE = 5.0
    """Seconds that a worker gets to end when it is told to; then it is killed."""

    def __init__(self, settings: Settings) -> None:
        self._child = Child(settings)
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._child.keep, args=(self._ended,), name="affidavit-supervisor", daemon=True
        )

    @property
    def pid(self) -> int | None:
        """The process id of the worker, ``None`` while there is none."""
        return self._child.pid

    def __enter__(self) -> Self:
        self._child.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._child.end(self.GRACE)


def packed(settings: Settings) -> str:
    """Settings for a worker's environment."""
    return msgspec.json.encode(settings, enc_hook=str).decode()


def unpacked(text: str) -> Settings:
    """Settings from :func:`packed`."""
    return msgspec.json.decode(text, type=Settings, dec_hook=_path)


def _path(kind: type, value: object) -> Path:
    assert kind is Path
    return Path(str(value))
