"""The pieces of a streamed answer, each made in the context of its request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from affidavit.recorder.context import Context, entered

__all__ = ["keep_context"]


def keep_context(response: Any, context: Context) -> None:
    """Let what streams an answer record as the rest of its request does; a file is left to the server."""
    if not response.streaming or getattr(response, "file_to_stream", None) is not None:
        return
    pieces = response.streaming_content
    wrapped = _AwaitedPieces(pieces, context) if response.is_async else _Pieces(pieces, context)
    response.streaming_content = wrapped


class _Pieces:
    def __init__(self, pieces: Iterator[bytes], context: Context) -> None:
        self._pieces = iter(pieces)
        self._context = context

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with entered(self._context):
            return next(self._pieces)


class _AwaitedPieces:
    def __init__(self, pieces: AsyncIterator[bytes], context: Context) -> None:
        self._pieces: Any = aiter(pieces)
        self._context = context

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with entered(self._context):
            piece: bytes = await anext(self._pieces)
        return piece

    async def aclose(self) -> None:
        with entered(self._context):
            await self._pieces.aclose()
