"""Load over HTTP: ``wrk`` where it is installed, else a client of our own in a process of its own.

Both keep each connection busy with one request after the other and cycle through ready bodies. One run uses
the same generator for both sides of a ratio.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

__all__ = ["Load", "generator", "post"]

_SCRIPT: Final = """
local bodies, headers = {}, {["Content-Type"] = "application/json"}
function init(args)
  if args[2] ~= "" then headers["Authorization"] = "Bearer " .. args[2] end
  for body in io.lines(args[1]) do bodies[#bodies + 1] = wrk.format("POST", nil, headers, body) end
end
local at = 0
function request() at = at % #bodies + 1; return bodies[at] end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\nRESULT {"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"errors":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


class Load(msgspec.Struct, frozen=True):
    """What one round of load got.

    Attributes:
        requests: answered.
        seconds: that it took.
        p50, p99: latency in milliseconds.
        errors: answers that were no success, and connections that broke.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def generator() -> str:
    """The name of the load generator in use."""
    return "wrk" if shutil.which("wrk") else "asyncio"


def post(url: str, bodies: Sequence[bytes], *, token: str = "", connections: int, seconds: int) -> Load:
    """Post ready bodies for some seconds.

    Raises:
        RuntimeError: an answer was no success; the measurement would mean nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "bodies")
        file.write_bytes(b"\n".join(bodies) + b"\n")
        script = Path(folder, "post.lua")
        script.write_text(_SCRIPT, encoding="utf-8")
        if generator() == "wrk":
            command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
            command += ["-s", str(script), url, "--", str(file), token]
        else:
            command = [
                sys.executable,
                "-m",
                "bench.load",
                url,
                str(file),
                token,
                str(connections),
                str(seconds),
            ]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    load = msgspec.json.decode(output.rpartition("RESULT ")[2], type=Load)
    if load.errors or not load.requests:
        raise RuntimeError(f"{load.errors} of {load.requests} requests to {url} failed")
    return load


class _Connection(asyncio.Protocol):
    def __init__(
        self, requests: Sequence[bytes], first: int, until: float, ended: asyncio.Future[None]
    ) -> None:
        self._requests = requests
        self._next = first
        self._until = until
        self._ended = ended
        self._buffer = b""
        self._sent = 0.0
        self.latencies: list[float] = []
        self.errors = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        self._buffer = b""
        now = time.perf_counter()
        self.latencies.append(now - self._sent)
        self.errors += not head.startswith(b"HTTP/1.1 2")
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.errors += exc is not None
        if not self._ended.done():
            self._ended.set_result(None)


async def _run(url: str, bodies: Sequence[bytes], token: str, connections: int, seconds: int) -> Load:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    made: list[_Connection] = []
    ends: list[asyncio.Future[None]] = []
    for number in range(connections):
        end: asyncio.Future[None] = loop.create_future()
        first = number * len(requests) // connections
        connection = _Connection(requests, first, begun + seconds, end)
        await loop.create_connection(lambda it=connection: it, parts.hostname, parts.port)  # type: ignore[misc]
        made.append(connection)
        ends.append(end)
    await asyncio.gather(*ends)
    elapsed = time.perf_counter() - begun
    latencies = sorted(latency * 1000 for connection in made for latency in connection.latencies)
    return Load(
        len(latencies),
        elapsed,
        latencies[len(latencies) // 2],
        latencies[len(latencies) * 99 // 100],
        sum(connection.errors for connection in made),
    )


if __name__ == "__main__":
    _url, _file, _token, _connections, _seconds = sys.argv[1:]
    _bodies = Path(_file).read_bytes().splitlines()
    _load = asyncio.run(_run(_url, _bodies, _token, int(_connections), int(_seconds)))
    sys.stdout.write(f"RESULT {msgspec.json.encode(_load).decode()}\n")
