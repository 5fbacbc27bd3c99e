"""WSGI: Flask, Django under WSGI, and whatever else speaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from typing import Any

from affidavit.recorder.context import Context, entered
from affidavit.recorder.request import RequestReader, headers_of

__all__ = ["AuditMiddleware"]

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class AuditMiddleware:
    """Puts a fresh context around each request, the streaming of its answer included.

    Args:
        app: what is wrapped.
        trusted_proxies: addresses and networks whose ``X-Forwarded-For`` is believed.
        source: channel of the events.
        request_id_header: where the request's id stands.
        fill: is told each request and its context before the app is.
    """

    def __init__(
        self,
        app: App,
        *,
        trusted_proxies: Iterable[str] = (),
        source: str = "web",
        request_id_header: str = "x-request-id",
        fill: Callable[[Environ, Context], None] | None = None,
    ) -> None:
        self._app = app
        self._reader = RequestReader(
            trusted_proxies=trusted_proxies, source=source, request_id_header=request_id_header
        )
        self._fill = fill

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle one request."""
        path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1", "replace")
        context = Context(
            self._reader.fields(
                environ.get("REQUEST_METHOD", "GET"),
                path.decode("utf-8", "replace"),
                environ.get("REMOTE_ADDR") or None,
                headers_of(environ),
            )
        )
        if self._fill is not None:
            self._fill(environ, context)
        with entered(context):
            # The answer is iterated by the server, outside of this block: each piece is made in this context.
            within = copy_context()
        body = within.run(self._app, environ, start_response)
        return _Within(within, body)


class _Within:
    """The pieces of an answer, each made in the request's context."""

    def __init__(self, context: Any, body: Iterable[bytes]) -> None:
        self._context = context
        self._body = body
        self._pieces = context.run(iter, body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece: bytes = self._context.run(next, self._pieces)
        return piece

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            self._context.run(close)
