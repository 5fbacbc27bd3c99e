"""The middleware: a fresh context around each request, with the signed-in user as the actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core import mail
from django.utils.module_loading import import_string

from affidavit.core.event import Actor, Session
from affidavit.django.people import actor_of, user_of
from affidavit.django.recording import audit
from affidavit.django.requests import Endpoints
from affidavit.django.settings import given
from affidavit.django.streams import keep_context
from affidavit.recorder.context import Context, entered
from affidavit.recorder.request import RequestReader, headers_of

__all__ = ["AuditMiddleware"]


class AuditMiddleware:
    """Sync and async.

    The user is looked at when the first event asks who acted: a request that records nothing costs no query.

    ``AFFIDAVIT["trusted_proxies"]`` names the proxies whose ``X-Forwarded-For`` is believed.
    ``AFFIDAVIT["organization_of"]`` is a function of the request, or its dotted path, that says whose its
    events are; it is asked with the first event, and ``None`` leaves that to ``AFFIDAVIT["organization"]``.
    ``AFFIDAVIT["requests"]`` chooses endpoints whose requests are events (docs/howto/django.md).
    ``AFFIDAVIT["start"]`` has a worker run beside the server, as ``audit.start()`` does, but in tests.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._reader = RequestReader(trusted_proxies=given().get("trusted_proxies", ()))
        self._endpoints = Endpoints(audit, given()) if given().get("requests") else None
        self._organization_of = _function(given().get("organization_of"))
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        if given().get("start") and not hasattr(mail, "outbox"):
            audit.start()

    def __call__(self, request: Any) -> Any:
        """Handle one request."""
        if self._is_async:
            return self._handle(request)
        context = self._context(request)
        with entered(context):
            if self._endpoints is None:
                response = self._get_response(request)
            else:
                response = self._endpoints.answer(self._get_response, request, context)
        keep_context(response, context)
        return response

    async def _handle(self, request: Any) -> Any:
        context = self._context(request)
        with entered(context):
            if self._endpoints is None:
                response = await self._get_response(request)
            else:
                response = await self._endpoints.answer_async(self._get_response, request, context)
        keep_context(response, context)
        return response

    def _context(self, request: Any) -> Context:
        peer = request.META.get("REMOTE_ADDR") or None
        context = Context(
            self._reader.fields(request.method or "GET", request.path, peer, headers_of(request.META))
        )
        context.ask("actor", lambda: _actor(request))
        context.ask("session", lambda: _session(request))
        if (organization_of := self._organization_of) is not None:
            context.ask("organization", lambda: organization_of(request))
        return context


def _function(given: Callable[[Any], str | None] | str | None) -> Callable[[Any], str | None] | None:
    if not isinstance(given, str):
        return given
    found: Callable[[Any], str | None] = import_string(given)
    return found


def _actor(request: Any) -> Actor | None:
    user = user_of(request)
    return None if user is None else actor_of(user)


def _session(request: Any) -> Session | None:
    session = getattr(request, "session", None)
    # The key itself opens the session, so no part of it is kept.
    return Session(type="web") if session is not None and session.session_key else None
