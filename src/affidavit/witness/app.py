"""The witness over HTTP: ``POST /add-checkpoint`` and ``GET /<sha256 of the origin>/checkpoint``.

Whoever reaches it may ask; only what a trusted log has signed changes anything. A request has a bounded body,
and a bounded time to arrive.
"""

from __future__ import annotations

import asyncio
import logging
import re

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from affidavit.errors import StorageError
from affidavit.witness.rules import MAX_BODY, Refusal, StaleSize
from affidavit.witness.witness import Witness

__all__ = ["BODY_SECONDS", "SIZE_TYPE", "create_app"]

log = logging.getLogger("affidavit.witness")

BODY_SECONDS = 10.0
"""How long the body of a request may take."""
SIZE_TYPE = "text/x.tlog.size"

_is_hash = re.compile(r"[0-9a-f]{64}\Z", re.ASCII).match


def create_app(witness: Witness, *, body_seconds: float = BODY_SECONDS) -> Starlette:
    """Build the application.

    Args:
        witness: who answers.
        body_seconds: how long the body of a request may take.
    """

    async def add_checkpoint(request: Request) -> Response:
        try:
            async with asyncio.timeout(body_seconds):
                body = await _read(request)
        except TimeoutError:
            return _text("the body took too long\n", 408, close=True)
        except ClientDisconnect:
            return _text("", 400, close=True)
        if body is None:
            return _text(f"the body must be at most {MAX_BODY} bytes\n", 413, close=True)
        try:
            line = await run_in_threadpool(witness.add_checkpoint, body)
        except StaleSize as refusal:
            # Given as a header, because a media type that begins with text/ would get a charset.
            return Response(f"{refusal.size}\n", refusal.status, {"content-type": SIZE_TYPE})
        except Refusal as refusal:
            return _text(f"{refusal}\n", refusal.status)
        except StorageError as error:
            return _failed(error)
        return _text(line, 200)

    async def checkpoint(request: Request) -> Response:
        wanted = request.path_params["origin_hash"]
        try:
            found = await run_in_threadpool(witness.checkpoint, wanted) if _is_hash(wanted) else None
        except StorageError as error:
            return _failed(error)
        if found is None:
            return _text("this witness has cosigned no checkpoint of that log\n", 404)
        return _text(found, 200)

    routes = [
        Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
        Route("/{origin_hash}/checkpoint", checkpoint, methods=["GET"]),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app


async def _read(request: Request) -> bytes | None:
    """The body, or ``None`` as soon as it is known to be too long."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit() or len(announced) > 18 or int(announced) > MAX_BODY:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _text(content: str | bytes, status: int, *, close: bool = False) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    if close:
        headers["connection"] = "close"
    return PlainTextResponse(content, status, headers)


def _failed(error: StorageError) -> Response:
    log.error("%s", error.message)
    return _text("the memory of this witness failed; nothing was signed\n", 503)
