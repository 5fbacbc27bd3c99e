"""Affidavit in a Django project: ``from affidavit.django import audit``.

``INSTALLED_APPS += ["affidavit.django"]`` and ``MIDDLEWARE += ["affidavit.django.AuditMiddleware"]`` (after
the authentication's) are all that is needed; ``AFFIDAVIT = {...}`` in the settings holds what differs from
the defaults.
"""

from typing import Any

__all__ = ["AuditMiddleware", "Viewer", "audit"]

_HOMES = {
    "audit": "affidavit.django.recording",
    "AuditMiddleware": "affidavit.django.middleware",
    "Viewer": "affidavit.access.viewers",
}


def __getattr__(name: str) -> Any:
    """The public names; Django imports this package before its settings and apps are ready."""
    if name not in _HOMES:
        raise AttributeError(f"module 'affidavit.django' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
