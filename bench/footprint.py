"""What it takes: bytes on disk of an event, and private memory of all processes of ``serve``."""

from __future__ import annotations

import http.client
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from affidavit.storage.sqlite.connect import index_path
from affidavit.storage.sqlite.log_file import log_path
from bench.data import MAIN, Source
from bench.lag import Lag
from bench.load import post
from bench.recording import bodies
from bench.results import Results, at_most
from bench.servers import Server, serve, token
from bench.stores import copy

__all__ = ["measure_bytes", "measure_memory"]

MEGABYTE: Final = 1024 * 1024
SECONDS: Final = 15


def measure_bytes(results: Results, path: Path, events: int) -> None:
    """Add the row of bytes per event of a closed, sealed store of lean events: all files with all in them."""
    app, index, log = (each.stat().st_size / events for each in (path, index_path(path), log_path(path)))
    with closing(sqlite3.connect(index_path(path))) as file:
        (size,), (free,) = (
            file.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "freelist_count")
        )
    results.add(
        at_most(
            f"bytes per event, {events:,} events",
            app + index + log,
            1_000,
            unit="B",
            note=f"events {app:.0f}, index {index:.0f}, {free * size / events:.0f} of it free, log {log:.0f}",
        )
    )


def measure_memory(results: Results, folder: Path, filled: Path, label: str) -> None:
    """Add the rows of memory while events come in and while everything is exported."""
    path = copy(filled, folder / "served.db")
    key = token(path, MAIN)
    with serve(path, worker=True) as server, Lag(path) as lag:
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
    for file in folder.glob("served*"):
        file.unlink()


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
