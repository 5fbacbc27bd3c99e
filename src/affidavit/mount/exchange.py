"""One request of a thread that blocks, answered by an ASGI application on the loop in the background.

The answer comes through in pieces, a few ahead of whoever reads them: an export of any length needs little
memory. When the application asks who is signed in, the thread of the request is the one that answers, as its
database connections and its language are bound to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Literal

from starlette.types import Message, Receive, Scope, Send

from affidavit.access.viewers import Viewer
from affidavit.mount.background import background

__all__ = ["Exchange"]

AHEAD = 4
"""Pieces of an answer that wait for their reader."""

Answer = Callable[[Scope, Receive, Send, Callable[[], Awaitable[Viewer | None]]], Awaitable[None]]
_Item = tuple[Literal["ask", "message", "end"], Any]


class Exchange:
    """A request and its answer.

    Args:
        answer: the application; gets a way to ask who is signed in.
        scope: of the request.
        body: all of it.
        asked: answers who is signed in; runs in the thread that calls :meth:`begin`.
    """

    def __init__(self, answer: Answer, scope: Scope, body: bytes, asked: Callable[[], Viewer | None]) -> None:
        self._answer = answer
        self._scope = scope
        self._body: bytes | None = body
        self._asked = asked
        self._items: SimpleQueue[_Item] = SimpleQueue()
        self._gone = False
        self._next: Message | None = None
        self._running: Future[None]
        self._loop: asyncio.AbstractEventLoop
        self._room: asyncio.Semaphore

    def begin(self) -> tuple[int, list[tuple[bytes, bytes]], bool]:
        """Send the request, and wait for what the answer begins with.

        Returns:
            Status and headers, and whether the answer has more than one piece.
        """
        self._running = background.run(self._run())
        self._running.add_done_callback(lambda _: self._items.put(("end", None)))
        start = self._message()
        self._next = first = self._message()
        return start["status"], list(start["headers"]), first.get("more_body", False)

    def __iter__(self) -> Iterator[bytes]:
        """The answer's body in pieces; raises where it was cut off. Whoever stops reading closes it."""
        return self

    def __next__(self) -> bytes:
        """The next piece."""
        while (message := self._next) is not None:
            self._next = self._message() if message.get("more_body", False) else None
            if piece := message.get("body"):
                return bytes(piece)
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Nobody reads any more: the application hears of it with the next piece that it sends."""
        self._gone = True
        self._next = None
        self._items.put(("end", None))
        self._release()

    def _message(self) -> Message:
        while True:
            kind, value = self._items.get()
            if kind == "message":
                self._release()
                return value  # type: ignore[no-any-return]
            if kind == "end":
                if not self._gone:
                    self._running.result()
                raise ConnectionAbortedError("The answer was broken off.")
            self._reply(value)

    def _reply(self, answered: asyncio.Future[Viewer | None]) -> None:
        try:
            viewer = self._asked()
        except Exception as error:  # noqa: BLE001 - the application makes an answer of it
            refused = error
            self._loop.call_soon_threadsafe(lambda: answered.set_exception(refused))
        else:
            self._loop.call_soon_threadsafe(lambda: answered.set_result(viewer))

    def _release(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits on it
            self._loop.call_soon_threadsafe(self._room.release)

    async def _run(self) -> None:
        self._loop, self._room = asyncio.get_running_loop(), asyncio.Semaphore(AHEAD)
        await self._answer(self._scope, self._receive, self._send, self._ask)

    async def _ask(self) -> Viewer | None:
        answered: asyncio.Future[Viewer | None] = self._loop.create_future()
        self._items.put(("ask", answered))
        return await answered

    async def _receive(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        await self._room.acquire()
        if self._gone:
            raise ConnectionAbortedError("Nobody reads the answer any more.")
        self._items.put(("message", message))
