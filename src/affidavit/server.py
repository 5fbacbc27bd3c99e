"""The composition root of a server process: application, socket, worker, signals around an instance."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import uvicorn

from affidavit.config import Settings
from affidavit.listener import GRACE, Server, listen
from affidavit.supervisor import Supervisor
from affidavit.web.app import create_app
from affidavit.wiring import Instance, reapply_manifests

__all__ = ["serve"]


def serve(instance: Instance, settings: Settings, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish the requests under way, end the worker and return.

    Args:
        instance: what is served; it stays open.
        settings: the address to listen on, and the rest.
        ready: is told the port as soon as connections are accepted.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    # A backup may have brought back what was erased: it goes again before anybody can ask for it.
    reapply_manifests(settings, instance.database)
    server = Server(
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
    with server.ended_by_signals(), listen(settings.host, settings.port) as listening, worker:
        ready(listening.getsockname()[1])
        server.run(sockets=[listening])
