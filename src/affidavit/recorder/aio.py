"""The async forms: what waits for a database of its own does so in a thread, with the caller's context."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar, Unpack

from affidavit.core.catalog import EventType
from affidavit.core.event import Draft
from affidavit.core.row import Recorded
from affidavit.recorder.attempts import Attempt, CallFields, by_names, not_recorded
from affidavit.recorder.fields import Fields
from affidavit.recorder.now import Now
from affidavit.recorder.recorder import Recorder

__all__ = ["Aio"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Aio:
    """``audit.aio``: :class:`~affidavit.embed.Audit` for code that is awaited.

    Args:
        recorder: makes drafts.
        now: records in transactions of its own.
        record: of the ``Audit``, in the transaction of a target.
    """

    def __init__(self, recorder: Recorder, now: Callable[[], Now], record: Callable[..., Any]) -> None:
        self._recorder = recorder
        self._now = now
        self._record = record

    async def record_now(self, action: str | EventType, /, **fields: Unpack[Fields]) -> Recorded:
        """Record an event in a transaction of its own; see :meth:`affidavit.embed.Audit.record_now`."""
        return await self._store(self._recorder.draft(self._recorder.said(action, fields)))

    async def denied(self, action: str | EventType, /, **fields: Unpack[Fields]) -> Recorded:
        """Record that something was refused; see :meth:`affidavit.embed.Audit.denied`."""
        return await self._store(self._recorder.draft(self._recorder.refused(action, fields)))

    @asynccontextmanager
    async def attempt(
        self, target: Any, action: str | EventType, /, **fields: Unpack[Fields]
    ) -> AsyncIterator[None]:
        """Record an attempt; see :meth:`affidavit.embed.Audit.attempt`."""
        attempt = Attempt(self._recorder, action, fields)
        try:
            yield
        except BaseException as error:
            await self._failed(attempt, error)
            raise
        recorded = self._record(target, action, **fields)
        if inspect.isawaitable(recorded):
            await recorded

    def audited(
        self,
        action: str | EventType,
        /,
        *,
        resource: Callable[..., Any] | None = None,
        **fields: Unpack[CallFields],
    ) -> Callable[[Callable[_P, Coroutine[Any, Any, _R]]], Callable[_P, Coroutine[Any, Any, _R]]]:
        """Record each call of a coroutine function; see :meth:`affidavit.embed.Audit.audited`."""

        def around(
            function: Callable[_P, Coroutine[Any, Any, _R]],
        ) -> Callable[_P, Coroutine[Any, Any, _R]]:
            of_call = by_names(function, resource)

            @wraps(function)
            async def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                attempt = Attempt(self._recorder, action, {**fields, **of_call(*args, **kwargs)})
                try:
                    result = await function(*args, **kwargs)
                except BaseException as error:
                    await self._failed(attempt, error)
                    raise
                await self._store(attempt.succeeded())
                return result

            return called

        return around

    async def _failed(self, attempt: Attempt, error: BaseException) -> None:
        try:
            await self._store(attempt.failed(error))
        except Exception as missing:  # noqa: BLE001 - named on the error that goes on, and logged
            not_recorded(error, missing)

    async def _store(self, draft: Draft) -> Recorded:
        # The draft is made here: an ORM's object belongs to the thread and the task of its session.
        return (await asyncio.to_thread(lambda: self._now().record([draft])))[0]
