"""A request of a blocking thread on the loop in the background: in order, bounded ahead, never half."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from affidavit.access.viewers import Viewer
from affidavit.mount.exchange import AHEAD, Exchange

PATIENCE = 60.0
START = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}
ANA = Viewer("u-7")


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    """A message with a part of the answer."""
    return {"type": "http.response.body", "body": body, "more_body": more}


def exchange(app: Any, body: bytes = b"", asked: Callable[[], Any] = lambda: None) -> Exchange:
    """A request to an application."""
    return Exchange(app, {"type": "http"}, body, asked)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for the other thread."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_the_answer_comes_whole_and_in_order() -> None:
    """Status, headers, each piece once; the body of the request arrives in one piece."""

    async def app(_scope: Any, receive: Any, send: Any, _ask: Any) -> None:
        message = await receive()
        assert (await receive())["type"] == "http.disconnect"
        await send(START)
        for number in range(50):
            await send(piece(message["body"] + b"%d;" % number))
        await send(piece(b"", more=False))

    made = exchange(app, b"of ")
    assert made.begin() == (200, [(b"x-a", b"1")], True)
    assert b"".join(made) == b"".join(b"of %d;" % number for number in range(50))


def test_the_application_never_runs_far_ahead() -> None:
    """However long an answer is, only a few pieces of it wait for a slow reader."""
    sent: list[int] = []

    async def app(_scope: Any, _receive: Any, send: Any, _ask: Any) -> None:
        await send(START)
        for number in range(1000):
            await send(piece(b"x" * 1000, more=number < 999))
            sent.append(number)

    made = exchange(app)
    made.begin()
    read = 1  # begin has looked at the first piece
    pieces = iter(made)
    for _ in range(20):
        eventually(lambda least=read: len(sent) >= least)  # type: ignore[misc]
        assert len(sent) <= read + AHEAD + 1
        assert len(next(pieces)) == 1000
        read += 1
    assert sum(map(len, pieces)) == 980_000


def test_an_answer_that_breaks_off_is_an_error() -> None:
    """A failure in the middle is raised to the reader, so that the server cuts the connection."""

    async def app(_scope: Any, _receive: Any, send: Any, _ask: Any) -> None:
        await send(START)
        await send(piece(b"a"))
        raise RuntimeError("the disk is gone")

    made = exchange(app)
    made.begin()
    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(made)


def test_an_answer_that_does_not_end_is_an_error() -> None:
    """An application that returns without its last piece did not answer."""

    async def app(_scope: Any, _receive: Any, send: Any, _ask: Any) -> None:
        await send(START)
        await send(piece(b"a"))

    made = exchange(app)
    made.begin()
    with pytest.raises(ConnectionAbortedError):
        list(made)


def test_a_failure_before_the_answer_is_raised() -> None:
    """Nothing waits for an answer that will not come."""

    async def app(*_arguments: Any) -> None:
        raise RuntimeError("early")

    with pytest.raises(RuntimeError, match="early"):
        exchange(app).begin()


@pytest.mark.parametrize("read", [0, 3])
def test_the_application_hears_that_nobody_reads(read: int) -> None:
    """Whoever stops reading, or never began, lets the application go at its next piece."""
    ended: list[BaseException] = []

    async def app(_scope: Any, _receive: Any, send: Any, _ask: Any) -> None:
        try:
            await send(START)
            while True:
                await send(piece(b"x"))
        except ConnectionAbortedError as error:
            ended.append(error)
            raise

    made = exchange(app)
    made.begin()
    for _ in range(read):
        next(made)
    made.close()
    eventually(lambda: len(ended) == 1)
    assert list(made) == []


def test_the_thread_of_the_request_is_asked() -> None:
    """Who is signed in is found out where the request is, and its failure reaches the application."""
    threads: list[int] = []

    def knows() -> Viewer:
        threads.append(threading.get_ident())
        return ANA

    def fails() -> Viewer:
        raise LookupError("no such user")

    async def app(_scope: Any, _receive: Any, send: Any, ask: Any) -> None:
        try:
            said = (await ask()).id
        except LookupError as error:
            said = str(error)
        await send(START)
        await send(piece(said.encode(), more=False))

    for asked, said in ((knows, b"u-7"), (fails, b"no such user")):
        made = exchange(app, asked=asked)
        assert made.begin()[2] is False
        assert b"".join(made) == said
    assert threads == [threading.get_ident()]
