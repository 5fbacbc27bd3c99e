"""Requests of an API as events, in a Django project: ``AFFIDAVIT["requests"]`` chooses the endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse, UnreadablePostError
from django.utils.module_loading import import_string

from affidavit.recorder.context import Context
from affidavit.recorder.parameters import BODY
from affidavit.recorder.requests import REFUSAL, Asked, HasRecorder, RequestRecorder

__all__ = ["Endpoints"]

_OPTIONS = {"request_source": "source", "request_bodies": "bodies", "request_on_error": "on_error"}


class Endpoints:
    """Records chosen endpoints around whatever answers them; see :class:`RequestRecorder`.

    Args:
        audit: records.
        settings: ``AFFIDAVIT`` of the project: ``requests``, a mapping or its dotted path, and its options.

    Raises:
        ConfigError: an endpoint, an action or an option breaks its rule.
    """

    def __init__(self, audit: HasRecorder, settings: Mapping[str, Any]) -> None:
        chosen = settings["requests"]
        options = {option: settings[name] for name, option in _OPTIONS.items() if name in settings}
        self._recorder = RequestRecorder(
            audit, import_string(chosen) if isinstance(chosen, str) else chosen, **options
        )

    def answer(self, answer: Callable[[Any], Any], request: Any, context: Context) -> Any:
        """Have a request answered and record it before its answer goes out."""
        asked = self._asked(request)
        try:
            response = answer(request)
        except Exception:  # only where the project has its exceptions propagated
            self._recorder.record(asked, context, 500, _route(request))
            raise
        recorded = self._recorder.record(asked, context, response.status_code, _route(request))
        return response if recorded else _refusal(response)

    async def answer_async(
        self, answer: Callable[[Any], Awaitable[Any]], request: Any, context: Context
    ) -> Any:
        """The same where it is awaited; events are written in the thread that the ORM is used in."""
        asked = self._asked(request)
        try:
            response = await answer(request)
        except Exception:
            await self._record_async(asked, context, 500, request)
            raise
        recorded = await self._record_async(asked, context, response.status_code, request)
        return response if recorded else _refusal(response)

    async def _record_async(self, asked: Asked, context: Context, status: int, request: Any) -> bool:
        route = _route(request)
        if not self._recorder.chooses(asked, route):
            return True
        return await sync_to_async(self._recorder.record)(asked, context, status, route)

    def _asked(self, request: Any) -> Asked:
        meta = request.META
        asked = Asked(request.method or "GET", request.path_info, meta.get("QUERY_STRING", ""))
        if not self._recorder.chooses(asked) or not self._recorder.keeps_body(meta.get("CONTENT_TYPE", "")):
            return asked
        length = str(meta.get("CONTENT_LENGTH") or "")
        if not length.isdecimal() or int(length) > BODY:
            return asked
        try:
            # Django keeps what was read, so that the view finds it.
            return asked._replace(body=request.body)
        except (UnreadablePostError, RequestDataTooBig):
            return asked


def _route(request: Any) -> str | None:
    """The template of ``path()`` that Django took; one that is a regular expression is not comparable."""
    match = getattr(request, "resolver_match", None)
    route = None if match is None else match.route
    return None if route is None or any(sign in route for sign in "^$(\\") else str(route)


def _refusal(response: Any) -> HttpResponse:
    """What goes out in place of an answer; what that one holds open is closed with it."""
    refusal = HttpResponse(REFUSAL, status=503, content_type="application/problem+json")
    refusal._resource_closers.extend(response._resource_closers)
    return refusal
