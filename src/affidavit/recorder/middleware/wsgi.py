"""WSGI: Flask, Django under WSGI, and whatever else speaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import Context as ContextVars
from contextvars import copy_context
from io import BytesIO
from typing import Any

from affidavit.recorder.context import Context, entered
from affidavit.recorder.parameters import BODY
from affidavit.recorder.request import RequestReader, headers_of
from affidavit.recorder.requests import REFUSAL, Asked, RequestRecorder

__all__ = ["AuditMiddleware", "RequestRecorder"]

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
        requests: records chosen endpoints.
    """

    def __init__(
        self,
        app: App,
        *,
        trusted_proxies: Iterable[str] = (),
        source: str = "web",
        request_id_header: str = "x-request-id",
        fill: Callable[[Environ, Context], None] | None = None,
        requests: RequestRecorder | None = None,
    ) -> None:
        self._app = app
        self._requests = requests
        self._reader = RequestReader(
            trusted_proxies=trusted_proxies, source=source, request_id_header=request_id_header
        )
        self._fill = fill

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle one request."""
        path = _path(environ, "SCRIPT_NAME") + _path(environ, "PATH_INFO")
        context = Context(
            self._reader.fields(
                environ.get("REQUEST_METHOD", "GET"),
                path,
                environ.get("REMOTE_ADDR") or None,
                headers_of(environ),
            )
        )
        if self._fill is not None:
            self._fill(environ, context)
        with entered(context):
            # The answer is iterated by the server, outside of this block: each piece is made in this context.
            within = copy_context()
        if self._requests is not None:
            return _Answer(self._requests, context, environ, start_response).of(self._app, within)
        body = within.run(self._app, environ, start_response)
        # What is made already stays what it is: servers look at its length.
        return body if isinstance(body, list | tuple) else _Within(within, body)


def _path(environ: Environ, name: str) -> str:
    """A part of the path: the bytes are UTF-8, dressed up as latin-1 (PEP 3333)."""
    text: str = environ.get(name, "")
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


class _Within:
    """The pieces of an answer, each made in the request's context."""

    def __init__(self, within: ContextVars, body: Iterable[bytes]) -> None:
        self._within = within
        self._body = body
        self._pieces = within.run(iter, body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._within.run(next, self._pieces)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            self._within.run(close)


class _Answer:
    """The answer to one request, which goes out once that was recorded: with its first piece or at its end.

    Until then an app may take its status back (PEP 3333, ``exc_info``).
    """

    def __init__(
        self, requests: RequestRecorder, context: Context, environ: Environ, start: Callable[..., Any]
    ) -> None:
        self._requests = requests
        self._context = context
        self._environ = environ
        self._start = start
        self._held: tuple[Any, ...] = ()
        self._write: Callable[[bytes], Any] | None = None
        self.begun = False
        self.refused = False
        # Now: a router moves the path to the script's name.
        self._asked = Asked(
            environ.get("REQUEST_METHOD", "GET"),
            _path(environ, "PATH_INFO") or "/",
            environ.get("QUERY_STRING", ""),
            self._body(environ),
        )

    def _body(self, environ: Environ) -> bytes:
        """A short body, which the app finds unread."""
        length = environ.get("CONTENT_LENGTH") or ""
        if not self._requests.keeps_body(environ.get("CONTENT_TYPE", "")) or not length.isdecimal():
            return b""
        if int(length) > BODY:
            return b""
        body: bytes = environ["wsgi.input"].read(int(length))
        environ["wsgi.input"] = BytesIO(body)
        return body

    def of(self, app: App, within: ContextVars) -> Iterable[bytes]:
        """Let the app handle the request; its errors stay its server's."""
        body = self.watch(within.run, app, self._environ, self._start_response)
        if isinstance(body, list | tuple):
            self.begin()
            return [REFUSAL] if self.refused else body
        return _Recorded(self, within, body)

    def watch(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call the app; where it raises before it has answered, that is a status of 500."""
        try:
            return call(*args)
        except StopIteration:
            raise
        except Exception:
            if not self.begun:
                self.begun = True
                self._requests.record(self._asked, self._context, 500)
            raise

    def begin(self) -> bool:
        """Record the request and send the head of its answer, once; whether the app's pieces may follow."""
        if not self.begun:
            self.begun = True
            status = int(self._held[0][:3]) if self._held else 500
            self.refused = not self._requests.record(self._asked, self._context, status)
            if self.refused:
                headers = [
                    ("Content-Type", "application/problem+json"),
                    ("Content-Length", str(len(REFUSAL))),
                ]
                self._write = self._start("503 Service Unavailable", headers)
            elif self._held:
                self._write = self._start(*self._held)
            self._held = ()
        return not self.refused

    def _start_response(self, *said: Any) -> Callable[[bytes], Any]:
        if self.begun and not self.refused:
            self._write = self._start(*said)
        else:
            self._held = said
        return self._write_piece

    def _write_piece(self, piece: bytes) -> None:
        first = not self.begun
        if self.begin() and self._write is not None:
            self._write(piece)
        elif first and self._write is not None:
            self._write(REFUSAL)


class _Recorded(_Within):
    """The pieces of an answer, the first of which waits for the event."""

    def __init__(self, answer: _Answer, within: ContextVars, body: Iterable[bytes]) -> None:
        self._answer = answer
        super().__init__(within, body)

    def __next__(self) -> bytes:
        if self._answer.refused:
            raise StopIteration
        try:
            piece: bytes = self._answer.watch(super().__next__)
            while not piece and not self._answer.begun:
                piece = self._answer.watch(super().__next__)
        except StopIteration:
            if self._answer.begun or self._answer.begin():
                raise
            return REFUSAL
        return piece if self._answer.begin() else REFUSAL
