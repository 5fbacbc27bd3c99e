"""A body is refused as soon as it is known to be too large."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from affidavit.errors import TooLarge
from affidavit.web.body import read_body


class Sender:
    """Sends chunks, and counts how many were taken."""

    def __init__(self, *chunks: bytes, leaves: bool = False) -> None:
        self._chunks = list(chunks)
        self._leaves = leaves
        self.taken = 0

    async def __call__(self) -> dict[str, Any]:
        if not self._chunks:
            return {"type": "http.disconnect"}
        self.taken += 1
        chunk = self._chunks.pop(0)
        more = bool(self._chunks) or self._leaves
        return {"type": "http.request", "body": chunk, "more_body": more}


def read(sender: Sender, *headers: tuple[bytes, bytes], limit: int = 10) -> bytes:
    """Read a body with a limit of ten bytes."""
    return asyncio.run(read_body({"headers": list(headers)}, sender, limit))


def test_chunks_are_put_together() -> None:
    """Whole, in pieces, or empty."""
    assert read(Sender(b"0123456789")) == b"0123456789"
    assert read(Sender(b"01", b"", b"23")) == b"0123"
    assert read(Sender(b"")) == b""


def test_an_announced_length_is_believed_before_anything_is_read() -> None:
    """Too long, or no number: nothing is taken."""
    for length in (b"11", b"-1", b"x", b"9" * 30):
        sender = Sender(b"0")
        with pytest.raises(TooLarge):
            read(sender, (b"content-length", length))
        assert sender.taken == 0


def test_chunks_are_counted() -> None:
    """Without a length, reading stops at the chunk that is too much."""
    sender = Sender(*[b"0123"] * 100)
    with pytest.raises(TooLarge):
        read(sender)
    assert sender.taken == 3
    with pytest.raises(TooLarge):
        read(Sender(b"0" * 11))


def test_a_client_that_leaves_is_noticed() -> None:
    """Half a body is no body."""
    with pytest.raises(ClientDisconnect):
        read(Sender(b"01", leaves=True))


def test_an_encoding_is_refused() -> None:
    """Only ``identity`` passes."""
    assert read(Sender(b"0"), (b"content-encoding", b"identity")) == b"0"
    with pytest.raises(HTTPException):
        read(Sender(b"0"), (b"content-encoding", b"gzip"))
