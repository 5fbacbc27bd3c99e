"""Takes the context along into threads that the app starts: they begin with an empty one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial, wraps
from typing import Any

from affidavit.recorder.context import Context, current, entered

__all__ = ["carry_into_threads"]

_carried = False
_guard = threading.Lock()


def carry_into_threads() -> None:
    """Let what runs in other threads have the context of whoever started it.

    From now on ``threading.Thread`` and ``ThreadPoolExecutor`` take it along. Once a process; asking again
    changes nothing. The threads of ``multiprocessing.pool.ThreadPool`` have none: they serve whoever comes.
    """
    global _carried  # noqa: PLW0603 - what is changed is global, too
    with _guard:
        if _carried:
            return
        _carried = True
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    @wraps(start)
    def start_within(self: threading.Thread) -> None:
        context = current()
        if context is not None and type(self).__module__ != _SERVES_ANYBODY:
            self.run = partial(_run_thread, self, context, self.run)  # type: ignore[method-assign]
        start(self)

    @wraps(submit)  # type: ignore[arg-type] # it takes any function
    def submit_within(
        self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        # Without a context, too: the thread may have been started by somebody who had one.
        return submit(self, _run, current(), fn, *args, **kwargs)

    threading.Thread.start = start_within  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = submit_within  # type: ignore[method-assign, assignment]


_SERVES_ANYBODY = "multiprocessing.dummy"


def _run_thread(thread: threading.Thread, context: Context, run: Callable[[], None]) -> None:
    del thread.run  # it refers to the thread: nobody would free the two
    with entered(context):
        run()


def _run(context: Context | None, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with entered(context):
        return fn(*args, **kwargs)
