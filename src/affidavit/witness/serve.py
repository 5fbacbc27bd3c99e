"""The witness as a process of its own: a socket, and limits on whoever connects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from affidavit.listener import GRACE, Server, listen
from affidavit.witness.app import create_app
from affidavit.witness.witness import Witness

__all__ = ["HEAD_SECONDS", "MOST_CONNECTIONS", "serve_witness"]

HEAD_SECONDS = 10.0
"""How long a connection may stand without a whole request line and headers."""
MOST_CONNECTIONS = 1_000
"""Beyond these, an answer is 503."""


class _Impatient(H11Protocol):
    """Closes a connection on which no request has come for a while; uvicorn would wait forever."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _watch(self, before: object) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._look, before)

    def _look(self, before: object) -> None:
        cycle = self.cycle
        if cycle is before and getattr(cycle, "response_complete", True):
            self.transport.close()
        else:
            self._watch(cycle)


def serve_witness(witness: Witness, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish the requests under way and return.

    Args:
        witness: who answers; it stays open.
        host: address to listen on.
        port: 0 takes a free one.
        ready: is told the port as soon as connections are accepted.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    server = Server(
        uvicorn.Config(
            create_app(witness),
            http=_Impatient,
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=GRACE,
        )
    )
    with server.ended_by_signals(), listen(host, port) as listening:
        ready(listening.getsockname()[1])
        server.run(sockets=[listening])
