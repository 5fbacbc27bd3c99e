"""``audit.aio`` in a Django project: who is signed in is asked in a thread, where the ORM may be used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar, Unpack

from asgiref.sync import sync_to_async

from affidavit.core.catalog import EventType
from affidavit.core.event import Draft
from affidavit.core.row import Recorded
from affidavit.recorder.aio import Aio
from affidavit.recorder.attempts import Attempt, CallFields
from affidavit.recorder.context import current
from affidavit.recorder.fields import Fields

__all__ = ["DjangoAio"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


async def _ask() -> None:
    """Find out what the context has to ask for, such as the user of the request."""
    context = current()
    if context is not None:
        await sync_to_async(context.known)()


class DjangoAio(Aio):
    """See :class:`affidavit.recorder.aio.Aio`. Django awaits no transactions: all record in their own."""

    async def record_now(self, action: str | EventType, /, **fields: Unpack[Fields]) -> Recorded:
        """Record an event in a transaction of its own."""
        await _ask()
        return await super().record_now(action, **fields)

    async def denied(self, action: str | EventType, /, **fields: Unpack[Fields]) -> Recorded:
        """Record that something was refused."""
        await _ask()
        return await super().denied(action, **fields)

    @asynccontextmanager
    async def attempt(  # type: ignore[override]
        self, action: str | EventType, /, **fields: Unpack[Fields]
    ) -> AsyncIterator[None]:
        """Record an attempt in a transaction of its own, when the block has ended."""
        await _ask()
        attempt = Attempt(self._recorder, action, fields)
        try:
            yield
        except BaseException as error:
            await self._failed(attempt, error)
            raise
        await self._store(attempt.succeeded())

    async def _store(self, draft: Draft) -> Recorded:
        # In the thread of the request, as the ORM does: in a test that is where its transaction is.
        return (await sync_to_async(lambda: self._now().record([draft]))())[0]

    def audited(
        self,
        action: str | EventType,
        /,
        *,
        resource: Callable[..., Any] | None = None,
        **fields: Unpack[CallFields],
    ) -> Callable[[Callable[_P, Coroutine[Any, Any, _R]]], Callable[_P, Coroutine[Any, Any, _R]]]:
        """Record each call of a coroutine function."""
        recorded = super().audited(action, resource=resource, **fields)

        def around(
            function: Callable[_P, Coroutine[Any, Any, _R]],
        ) -> Callable[_P, Coroutine[Any, Any, _R]]:
            inner = recorded(function)

            @wraps(function)
            async def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                await _ask()
                return await inner(*args, **kwargs)

            return called

        return around
