"""A ``logging.Handler`` that records: for programs that already log what they do."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import Any

from affidavit.core.event import Actor
from affidavit.recorder.client.client import AuditClient
from affidavit.recorder.client.sender import LOGGER
from affidavit.recorder.fields import system

__all__ = ["AuditHandler"]

_LONGEST = 128
_inside = threading.local()
_SEGMENT = re.compile(r"[^a-z0-9_-]+")
_SEVERITY = ((logging.CRITICAL, "critical"), (logging.WARNING, "warning"))


class AuditHandler(logging.Handler):
    """Records each log record as an event.

    ``extra={"audit": {...}}`` gives fields of the event, ``action`` among them. Without one the action is the
    logger's name under ``logging.``, such as ``logging.app.billing``.

    What the client itself logs, and what is logged while a record is handed in, is left out.

    Args:
        client: that sends.
        level: of the least record.
        actor: of records that name none.
    """

    def __init__(self, client: AuditClient, level: int = logging.INFO, *, actor: Actor | None = None) -> None:
        super().__init__(level)
        self._client = client
        self._actor = actor or system("logging")
        self.action: Callable[[logging.LogRecord], str] = _action

    def emit(self, record: logging.LogRecord) -> None:
        """Hand in one record; what fails is reported as :mod:`logging` does, and never stops the program."""
        if record.name == LOGGER or getattr(_inside, "emits", False):
            return  # what the recording itself has to say would be recorded for ever
        _inside.emits = True
        try:
            fields: dict[str, Any] = dict(getattr(record, "audit", None) or {})
            action = fields.pop("action", None) or self.action(record)
            fields.setdefault("description", record.getMessage()[:1_000])
            fields.setdefault("actor", self._actor)
            for level, severity in _SEVERITY:
                if record.levelno >= level:
                    fields.setdefault("severity", severity)
            if record.levelno >= logging.ERROR:
                fields.setdefault("outcome", "failure")
            self._client.record(action, **fields)
        except Exception:  # noqa: BLE001 - the rule of logging handlers
            self.handleError(record)
        finally:
            _inside.emits = False


def _action(record: logging.LogRecord) -> str:
    segments = (_SEGMENT.sub("_", part.lower()).strip("_") for part in record.name.split("."))
    return ".".join(["logging", *(part for part in segments if part)])[:_LONGEST].rstrip("._-")
