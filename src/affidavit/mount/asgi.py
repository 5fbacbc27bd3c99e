"""The page and the API as an ASGI application for any framework's mount."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from affidavit.core.rules import normal_address
from affidavit.mount.asking import Authorize, ask
from affidavit.mount.opening import Opening
from affidavit.recorder.context import current
from affidavit.web.edge import HEADERS
from affidavit.web.errors import problem_of
from affidavit.web.host import ASK
from affidavit.web.ui.links import below

__all__ = ["Mounted", "inner_scope"]

log = logging.getLogger("affidavit.web")


class Mounted:
    """What ``audit.ui()`` returns.

    Args:
        opening: opens what it works with.
        authorize: the product's callback; gets a Starlette request of the product itself.
    """

    def __init__(self, opening: Opening, authorize: Authorize) -> None:
        self._opening = opening
        self._authorize = authorize

    def close(self) -> None:
        """Close what is open; the next request opens it again."""
        self._opening.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Other protocols are not spoken here."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": ""})
        else:
            # Without the body: that is the page's, whoever asks for it first.
            request: Request[Any] = Request(scope)
            await self.answer(inner_scope(scope), receive, send, partial(ask, self._authorize, request))

    async def answer(self, scope: Scope, receive: Receive, send: Send, asked: Any) -> None:
        """Answer a request that was found to be ours.

        Args:
            scope: its own, as :func:`inner_scope` makes it.
            receive: its body.
            send: its answer.
            asked: answers who is signed in.
        """
        scope[ASK] = asked
        root = below(scope.get("root_path", ""))
        if scope["path"] == scope.get("root_path", ""):
            query = scope["query_string"].decode("latin-1")
            to_root = RedirectResponse(f"{root}/{'?' if query else ''}{query}", 307)
            await to_root(scope, receive, send)
            return
        app: ASGIApp | None = self._opening.app
        if app is None:
            try:
                app = await anyio.to_thread.run_sync(self._opening.open)
            except Exception as error:  # the last place where an error can become an answer
                log.exception("The audit log cannot be opened")
                app = _problem(error)
        await app(scope, receive, send)


def inner_scope(scope: Scope) -> Scope:
    """The scope of a request below the mount, its path complete, apart from that of the product.

    Servers and frameworks differ in whether ``path`` holds the ``root_path`` that a proxy took off; where one
    does not, what was matched here has it back.
    """
    root = scope.get("root_path", "").rstrip("/")
    path: str = scope["path"]
    if root and path != root and not path.startswith(f"{root}/"):
        outer: str = scope.get("app_root_path", "").rstrip("/")
        mount = root.removeprefix(outer)
        path = outer + path if mount and f"{path}/".startswith(f"{mount}/") else root + path
    return {
        **scope,
        "root_path": root,
        "path": path,
        "path_params": {},
        "state": {},
        "client": _client(scope),
    }


def _client(scope: Scope) -> tuple[str, int] | None:
    """Whoever asks, as the product's own middleware found out, which knows its proxies; else the peer."""
    context = current()
    known = None if context is None else context.fields.get("ip")
    if known is not None:
        return known, 0
    # Over a Unix socket, and in tests, the peer has a name that is no address.
    host, port = scope.get("client") or ("", 0)
    address = normal_address(host)
    return None if address is None else (address, port)


def _problem(error: Exception) -> ASGIApp:
    answer = problem_of(error)

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [*answer.headers, *HEADERS]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    return app


async def _live(receive: Receive, send: Send) -> None:
    """Served alone it may be asked; there is nothing to do."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
