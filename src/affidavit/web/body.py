"""Reading a request's body, refused as soon as it is known to be too large."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from affidavit.core.event import MAX_BATCH_BYTES
from affidavit.errors import TooLarge

__all__ = ["read_body"]


async def read_body(scope: Scope, receive: Receive, limit: int = MAX_BATCH_BYTES) -> bytes:
    """The whole body, whether its length was announced or it comes in chunks.

    Args:
        scope: of the request.
        receive: of the request.
        limit: bytes.

    Raises:
        TooLarge: announced or found to be above the limit; the rest is not read.
        HTTPException: a content encoding, which is not taken (415).
        ClientDisconnect: the client went away before it was complete.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or len(value) > 18 or int(value) > limit):
            raise TooLarge()
        if name == b"content-encoding" and value.lower() != b"identity":
            raise HTTPException(415, "Send the body without a Content-Encoding.")
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise TooLarge()
        return body
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise TooLarge()
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()
