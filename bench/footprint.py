"""What it takes: bytes on disk of an event, and private memory of all processes of ``serve``."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from bench.base import Base
from bench.data import MAIN, Source
from bench.lag import Lag
from bench.load import post
from bench.recording import bodies
from bench.results import Results, at_most
from bench.servers import Server, serve, token

__all__ = ["measure_bytes", "measure_memory"]

MEGABYTE: Final = 1024 * 1024
SECONDS: Final = 15
BYTES: Final = {"SQLite": 1_000, "PostgreSQL": 1_500}
"""Of a lean event, proof, terms and counts included."""


def measure_bytes(results: Results, base: Base, events: int, label: str) -> None:
    """Add the row of bytes per event of a sealed store of lean events: everything with all in it."""
    sizes = base.sizes()
    results.add(
        at_most(
            f"bytes per event, {label}",
            sum(sizes.values()) / events,
            BYTES[base.engine],
            unit="B",
            note=", ".join(f"{name} {size / events:.0f}" for name, size in sizes.items()),
        )
    )


def measure_memory(results: Results, base: Base, label: str) -> None:
    """Add the rows of memory while events come in and while everything is exported."""
    served = base.copy_to("served")
    key = token(served.settings, MAIN)
    with serve(served.settings, worker=True) as server, Lag(served) as lag:
        with _greatest(server) as recording:
            post(
                f"{server.url}/api/v1/events",
                bodies(Source(19), 1_000, 10),
                token=key,
                connections=4,
                seconds=SECONDS,
            )
            lag.wait()
        with _greatest(server) as exporting:
            _export(server, key)
    for name, found in (("recording", recording), ("exporting", exporting)):
        results.add(at_most(f"private memory while {name}, {label}", max(found) / MEGABYTE, 250, unit="MiB"))
    served.drop()


def _export(server: Server, key: str) -> None:
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", "/api/v1/events/export?format=csv", headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {answer.read()!r}")
    while answer.read(1 << 20):
        pass
    connection.close()


@contextmanager
def _greatest(server: Server) -> Iterator[list[int]]:
    """Samples of the server's private memory while the block runs."""
    found: list[int] = [server.private()]
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.2):
            found.append(server.private())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
