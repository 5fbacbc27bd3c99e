"""Celery: a task acts in the context of whoever sent it."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any
from uuid import UUID

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
    "parent_id": UUID,
    "ip": str,
    "request": Request,
    "trace_id": str,
    "span_id": str,
}
"""What travels with a task. The agent and the place of the sender stay behind, and a request's parameters."""

_logger = logging.getLogger("affidavit.recorder")
_installed = False
_HELD = "affidavit_block"
"""Attribute of the running task's request, with which it goes: ids come again with each retry."""


def install(source: str = "task") -> None:
    """Send the context along with every task, and run every task in the one that it came with.

    Whoever can write to the broker can say who acts: Affidavit believes it as Celery does.

    Args:
        source: channel of what tasks record; the first call in a process decides.
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
        {
            name: _without_params(value)
            for name, value in context.known().items()
            if name in _CARRIED and value is not None
        }
    )


def _begin(source: str, task: Any = None, **_: Any) -> None:
    came = getattr(task.request, HEADER, None) or (task.request.headers or {}).get(HEADER)
    held = entered(Context({**_fields(came), "source": source}))
    held.__enter__()
    setattr(task.request, _HELD, held)


def _fields(came: object) -> dict[str, Any]:
    """What can be understood of the header: an app of another version may have sent it, or anybody."""
    fields: dict[str, Any] = {}
    if not isinstance(came, dict):
        return fields
    for name in came.keys() & _CARRIED.keys():
        try:
            fields[name] = msgspec.convert(came[name], _CARRIED[name])
        except msgspec.ValidationError as error:
            _logger.warning("A task came with a context whose %s cannot be understood: %s", name, error)
    return fields


def _end(task: Any = None, **_: Any) -> None:
    held = getattr(task.request, _HELD, None)
    if held is not None:
        setattr(task.request, _HELD, None)
        held.__exit__(None, None, None)


def _without_params(value: Any) -> Any:
    return msgspec.structs.replace(value, params=None) if isinstance(value, Request) else value
