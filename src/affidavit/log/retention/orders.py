"""What somebody ordered: a task for the worker, and under whose name its events are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affidavit.access.scope import Credential
from affidavit.storage.tasks import Task

__all__ = ["credential_of", "request_of"]

_BY = "by"


def request_of(by: Credential, **more: Any) -> dict[str, Any]:
    """The request of a task, with the name of whoever ordered it."""
    return {**more, _BY: {"kind": by.kind, "id": by.id, "name": by.name}}


def credential_of(task: Task) -> Credential:
    """Whoever ordered a task, as its events name them; it reaches nothing."""
    by: Mapping[str, Any] = task.request[_BY]
    return Credential(kind=by["kind"], id=by["id"], name=by["name"], organizations=(), abilities=frozenset())
