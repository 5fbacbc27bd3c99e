"""ASGI: FastAPI, Starlette, Django under ASGI, and whatever else speaks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from affidavit.recorder.context import Context, entered
from affidavit.recorder.request import RequestReader

__all__ = ["AuditMiddleware"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Filled = Callable[[Scope, Context], None]


class AuditMiddleware:
    """Puts a fresh context around each request, which dependencies and views fill in.

    Args:
        app: what is wrapped.
        trusted_proxies: addresses and networks whose ``X-Forwarded-For`` is believed.
        source: channel of the events.
        request_id_header: where the request's id stands.
        fill: is told each request and its context before the app is, for what only the app knows, such as the
            organization in a host name.
    """

    def __init__(
        self,
        app: App,
        *,
        trusted_proxies: Iterable[str] = (),
        source: str = "web",
        request_id_header: str = "x-request-id",
        fill: Filled | None = None,
    ) -> None:
        self._app = app
        self._reader = RequestReader(
            trusted_proxies=trusted_proxies, source=source, request_id_header=request_id_header
        )
        self._fill = fill

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; what is no request goes through as it is."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        client = scope.get("client")

        def header(name: str) -> list[str]:
            wanted = name.encode()
            return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted]

        context = Context(
            self._reader.fields(
                scope.get("method", "GET"), scope.get("path", ""), client[0] if client else None, header
            )
        )
        if self._fill is not None:
            self._fill(scope, context)
        with entered(context):
            await self._app(scope, receive, send)
