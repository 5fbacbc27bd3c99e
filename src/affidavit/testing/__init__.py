"""What tests of Affidavit and of its storage engines are made of. Public; nothing here runs in production."""

from __future__ import annotations

from typing import Any

__all__ = ["AuditCoverage", "AuditLog", "RecordedEvent", "make_tables", "remove_triggers"]

_HOMES = {
    "AuditCoverage": "coverage.asked",
    "AuditLog": "audit_log.watch",
    "RecordedEvent": "audit_log.event",
    "make_tables": "tables",
    "remove_triggers": "tables",
}


def __getattr__(name: str) -> Any:
    """What tests of an app name (typed in ``__init__.pyi``): pytest loads this package in every run."""
    if name not in _HOMES:
        raise AttributeError(f"module 'affidavit.testing' has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"affidavit.testing.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
