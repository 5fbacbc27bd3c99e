"""ASGI: FastAPI, Starlette, Django under ASGI, and whatever else speaks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from affidavit.recorder.context import Context, entered
from affidavit.recorder.parameters import BODY
from affidavit.recorder.request import RequestReader
from affidavit.recorder.requests import REFUSAL, Asked, RequestRecorder

__all__ = ["AuditMiddleware", "RequestRecorder"]

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
        requests: records chosen endpoints.
    """

    def __init__(
        self,
        app: App,
        *,
        trusted_proxies: Iterable[str] = (),
        source: str = "web",
        request_id_header: str = "x-request-id",
        fill: Filled | None = None,
        requests: RequestRecorder | None = None,
    ) -> None:
        self._app = app
        self._requests = requests
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
            return [
                value.decode("latin-1") for key, value in scope.get("headers", ()) if key.lower() == wanted
            ]

        context = Context(
            self._reader.fields(
                scope.get("method", "GET"), scope.get("path", ""), client[0] if client else None, header
            )
        )
        if self._fill is not None:
            self._fill(scope, context)
        with entered(context):
            if self._requests is None or scope["type"] != "http":
                await self._app(scope, receive, send)
            else:
                reads = self._requests.keeps_body(next(iter(header("content-type")), ""))
                answer = _Answer(self._requests, context, scope, send)
                await answer.of(self._app, answer.overhearing(receive) if reads else receive)


class _Answer:
    """The answer to one request, which goes out once that was recorded."""

    def __init__(self, requests: RequestRecorder, context: Context, scope: Scope, send: Send) -> None:
        self._requests = requests
        self._context = context
        self._scope = scope
        self._send = send
        self._begun = False
        self._refused = False
        # Now: a router moves the root path along.
        path, root = scope.get("path", ""), scope.get("root_path", "")
        query = scope.get("query_string", b"").decode("latin-1")
        self._asked = Asked(
            scope.get("method", "GET"),
            path.removeprefix(root) if path.startswith(root + "/") else path,
            query,
        )

    def overhearing(self, receive: Receive) -> Receive:
        """The body as the app reads it, which is kept where it is short and was read to its end."""
        heard = bytearray()

        async def pass_on() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "http.request":
                heard.extend(message.get("body", b"")[: BODY + 1])
                if not message.get("more_body", False) and len(heard) <= BODY:
                    self._asked = self._asked._replace(body=bytes(heard))
                elif len(heard) > BODY:
                    del heard[BODY + 1 :]
            return message

        return pass_on

    async def of(self, app: App, receive: Receive) -> None:
        """Let the app handle the request."""
        try:
            await app(self._scope, receive, self._pass_on)
        except Exception:
            if not self._begun:
                await self._record(500)
            raise
        if not self._begun:
            await self._record(500)

    async def _record(self, status: int) -> bool:
        self._begun = True
        return await self._requests.record_async(self._asked, self._context, status, _route(self._scope))

    async def _pass_on(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and not self._begun:
            self._refused = not await self._record(message["status"])
            if self._refused:
                headers = [
                    (b"content-type", b"application/problem+json"),
                    (b"content-length", str(len(REFUSAL)).encode()),
                ]
                await self._send({"type": "http.response.start", "status": 503, "headers": headers})
                await self._send({"type": "http.response.body", "body": REFUSAL})
        if not self._refused:
            await self._send(message)


def _route(scope: Scope) -> str | None:
    """The template that the router took: of Starlette and FastAPI, without what routers around it add."""
    route = scope.get("route")
    # A mount has no methods; what it leads to may be no router.
    return getattr(route, "path", None) if hasattr(route, "methods") else None
