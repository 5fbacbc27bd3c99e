"""An event loop in a thread of its own, for frameworks whose views block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from affidavit.recorder.forks import when_forked

__all__ = ["Background", "background"]

T = TypeVar("T")


class Background:
    """One loop a process, started when it is needed; a child of a fork has its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        when_forked(self)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="affidavit-page", daemon=True).start()
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def before_fork(self) -> None:
        """Let nobody start the loop meanwhile."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """The thread has stayed with the parent."""
        if child:
            self._loop = None
        self._lock.release()


background = Background()
"""That of this process."""
