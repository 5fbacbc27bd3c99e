"""Affidavit: the audit log that any product can adopt and any auditor can check."""

from __future__ import annotations

from typing import Any

__all__ = [
    "Actor",
    "Audit",
    "Catalog",
    "EventType",
    "Resource",
    "Session",
    "Viewer",
    "__version__",
    "anonymous",
    "system",
]

__version__ = "0.1.0"

_HOMES = {
    "Actor": "core.event",
    "Audit": "embed",
    "Catalog": "core.catalog",
    "EventType": "core.catalog",
    "Resource": "core.event",
    "Session": "core.event",
    "Viewer": "access.viewers",
    "anonymous": "embed",
    "system": "embed",
}


def __getattr__(name: str) -> Any:
    """The public names (typed in ``__init__.pyi``), imported when they are first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'affidavit' has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"affidavit.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
