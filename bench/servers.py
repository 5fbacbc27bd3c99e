"""Real servers in processes of their own: ``affidavit serve``, and the echo handler on the same server."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from affidavit.config import Settings

__all__ = ["Server", "echo", "serve", "token"]


class Server(msgspec.Struct, frozen=True):
    """A running server.

    Attributes:
        url: of its root, without the last slash.
        pid: of its first process.
    """

    url: str
    pid: int

    def private(self) -> int:
        """Bytes of private memory of all its processes."""
        return sum(map(_private, _family(self.pid)))


@contextmanager
def serve(settings: Settings, *, worker: bool) -> Iterator[Server]:
    """``affidavit serve`` on a database."""
    flags = _flags(settings)
    flags += ["--listen", "127.0.0.1:0", "--log-level", "error"]
    with _process(["-m", "affidavit.cli", "serve", *flags, *([] if worker else ["--no-worker"])]) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"(http://[\d.]+:\d+)", line):
                yield Server(found[1], process.pid)
                return
        raise RuntimeError("the server did not start")


@contextmanager
def echo() -> Iterator[Server]:
    """The echo handler."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with _process(["-m", "bench.echo", str(port)]) as process:
        for _ in range(200):
            try:
                http.client.HTTPConnection("127.0.0.1", port).connect()
                break
            except OSError:
                time.sleep(0.05)
        yield Server(f"http://127.0.0.1:{port}", process.pid)


def _flags(settings: Settings) -> list[str]:
    return ["--database", settings.database, "--data-dir", str(settings.data_dir)]


def token(settings: Settings, organization: str) -> str:
    """A token of the database that may write, read and export."""
    flags = _flags(settings)
    abilities = ["events:write", "audit-log:list", "audit-log:export"]
    command = [sys.executable, "-m", "affidavit.cli", "token", "create", *flags, "--json"]
    command += ["--organization", organization, *(f"--ability={ability}" for ability in abilities)]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    return str(msgspec.json.decode(output)["token"])


@contextmanager
def _process(arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        if process.stdout is not None:
            process.stdout.close()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [pid, *(one for child in children.read_text().split() for one in _family(int(child)))]
    except FileNotFoundError:
        return []


def _private(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(kib) * 1024 for kib in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.MULTILINE))
