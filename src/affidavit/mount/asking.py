"""Asks the product who is signed in: its callback, sync or async, and what it may answer."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
from starlette.exceptions import HTTPException

from affidavit.access.viewers import Viewer
from affidavit.errors import ConfigError

__all__ = ["Authorize", "Run", "ask", "check_authorize", "checked"]

Authorize = Callable[[Any], "Viewer | Awaitable[Viewer | None] | None"]
"""Gets a request of the product's framework; ``None``: nobody is signed in."""

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function that blocks."""


def check_authorize(authorize: object) -> None:
    """Refuse what cannot be called, when the page is mounted and not when somebody looks at it.

    Raises:
        ConfigError: it cannot be called.
    """
    if not callable(authorize):
        raise ConfigError(f"authorize must be a function of the request, not {repr(authorize)[:100]}")


def is_async(function: Any) -> bool:
    """Whether a callback is awaited: a coroutine function, or an object whose call is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method itself is looked at
    )


async def ask(authorize: Authorize, request: Any, run: Run = anyio.to_thread.run_sync) -> Viewer | None:
    """Who is signed in.

    Args:
        authorize: the callback; one that is not awaited runs off the event loop.
        request: what it gets.
        run: runs it there.

    Raises:
        ConfigError: the answer is neither a ``Viewer`` nor ``None``.
        Exception: what the callback raised, but for the framework's own 401.
    """
    try:
        answer = authorize(request) if is_async(authorize) else await run(lambda: authorize(request))
        return checked(await answer if inspect.isawaitable(answer) else answer)
    except HTTPException as error:
        if error.status_code == 401:
            return None
        raise


def checked(answer: object) -> Viewer | None:
    """What a callback answered.

    Raises:
        ConfigError: it is neither a ``Viewer`` nor ``None``.
    """
    if answer is None or isinstance(answer, Viewer):
        return answer
    raise ConfigError(
        f"authorize must answer an affidavit.Viewer, or None where nobody is signed in, not a"
        f" {type(answer).__name__}"
    )
