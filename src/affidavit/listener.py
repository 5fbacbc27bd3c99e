"""A uvicorn server that ends by signals as our processes do, and the socket that it listens on."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from affidavit.errors import ConfigError

__all__ = ["GRACE", "Server", "listen"]

GRACE = 10
"""Seconds that requests under way get to finish after SIGTERM or Ctrl-C."""
BACKLOG = 2048


class Server(uvicorn.Server):
    """Returns after SIGTERM and SIGINT; uvicorn's own raises the signal again and skips what comes after.

    The signals are taken before the worker is started, so that one that comes early leaves no worker behind.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: :meth:`ended_by_signals` does it, around more than uvicorn knows of."""
        yield

    @contextlib.contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """While the block runs, the signals end this server instead of the process."""
        before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for caught, handler in before.items():
                signal.signal(caught, handler)


def listen(host: str, port: int) -> socket.socket:
    """A socket that queues connections from now on, so that the address that is printed works at once.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise ConfigError(
            f"cannot listen on {address}: {error.strerror}; choose another address with --listen"
        ) from error
    return listening
