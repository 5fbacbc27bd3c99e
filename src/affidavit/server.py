"""The composition root of a server process: application, socket, worker, signals around an instance."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from affidavit.config import Settings
from affidavit.errors import ConfigError
from affidavit.web.app import create_app
from affidavit.wiring import Instance
from affidavit.worker import Supervisor

__all__ = ["serve"]

GRACE = 10
"""Seconds that requests under way get to finish after SIGTERM or Ctrl-C."""
BACKLOG = 2048


def serve(instance: Instance, settings: Settings, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish the requests under way, end the worker and return.

    Args:
        instance: what is served; it stays open.
        settings: the address to listen on, and the rest.
        ready: is told the port as soon as connections are accepted.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    server = _Server(
        uvicorn.Config(
            create_app(instance, settings=settings),
            log_config=None,
            # Its own starts and stops are news only for whoever looks for a fault.
            log_level="warning" if settings.log_level == "info" else settings.log_level,
            access_log=settings.log_level == "debug",
            # The application reads forwarded addresses itself, from the right.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
    )
    worker = Supervisor(settings) if settings.worker else contextlib.nullcontext()
    threading.Thread(target=instance.warm, name="affidavit-warm", daemon=True).start()
    with server.ended_by_signals(), _listen(settings) as listening, worker:
        ready(listening.getsockname()[1])
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
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


def _listen(settings: Settings) -> socket.socket:
    """A socket that queues connections from now on, so that the address that is printed works at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {settings.listen}: {error.strerror}; choose another address with --listen"
        ) from error
    return listening
