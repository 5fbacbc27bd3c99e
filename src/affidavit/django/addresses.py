"""Addresses of the project, asked for in a thread that is not the request's."""

from __future__ import annotations

from contextvars import ContextVar

from django.shortcuts import resolve_url
from django.urls import get_script_prefix, set_script_prefix

__all__ = ["keep_prefix", "url_of"]

_prefix: ContextVar[str] = ContextVar("affidavit.script_prefix", default="/")


def keep_prefix() -> None:
    """In the thread of a request: note below which prefix a server serves the project.

    Django keeps it for that thread alone; what answers the request takes it along in its context.
    """
    _prefix.set(get_script_prefix())


def url_of(to: str) -> str:
    """An address, or that of the URL of this name, as the request that is being answered must be told it."""
    set_script_prefix(_prefix.get())
    return resolve_url(to)  # type: ignore[no-any-return]
