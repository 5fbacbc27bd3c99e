"""Celery: a task acts in the context of whoever sent it."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from celery.signals import before_task_publish, task_postrun, task_prerun

from affidavit.core.event import Actor, Request, Session
from affidavit.recorder.context import Context, current, entered

__all__ = ["install"]

HEADER = "affidavit_context"
_CARRIED: dict[str, type] = {
    "organization": str,
    "project": str,
    "actor": Actor,
    "on_behalf_of": Actor,
    "session": Session,
    "ip": str,
    "request": Request,
    "trace_id": str,
    "span_id": str,
}
"""What travels with a task. The agent and the place of the sender stay behind, and a request's parameters."""

_installed = False
_running: dict[str, Any] = {}


def install(source: str = "task") -> None:
    """Send the context along with every task, and run every task in the one that it came with.

    Args:
        source: channel of what tasks record.
    """
    global _installed  # noqa: PLW0603 - the signals are global, too
    if _installed:
        return
    _installed = True

    before_task_publish.connect(_send, weak=False)
    task_prerun.connect(partial(_begin, source), weak=False)
    task_postrun.connect(_end, weak=False)


def _send(headers: dict[str, Any] | None = None, **_: Any) -> None:
    context = current()
    if headers is None or context is None or HEADER in headers:
        return
    headers[HEADER] = msgspec.to_builtins(
        {name: _without_params(value) for name, value in context.known().items() if name in _CARRIED}
    )


def _begin(source: str, task_id: str = "", task: Any = None, **_: Any) -> None:
    came = getattr(task.request, HEADER, None) or (task.request.headers or {}).get(HEADER) or {}
    fields: dict[str, Any] = {
        name: msgspec.convert(value, _CARRIED[name]) for name, value in came.items() if name in _CARRIED
    }
    held = entered(Context({**fields, "source": source}))
    held.__enter__()
    _running[task_id] = held


def _end(task_id: str = "", **_: Any) -> None:
    held = _running.pop(task_id, None)
    if held is not None:
        held.__exit__(None, None, None)


def _without_params(value: Any) -> Any:
    return msgspec.structs.replace(value, params=None) if isinstance(value, Request) else value
