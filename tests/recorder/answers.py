"""A server that answers what a test says, and remembers what it was sent."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = ["Answer", "Sent", "Server", "problem", "serving", "stored"]


class Sent(NamedTuple):
    """One request.

    Attributes:
        headers: by name in lower case.
        events: as JSON has them.
    """

    headers: dict[str, str]
    events: list[dict[str, Any]]


class Answer(NamedTuple):
    """What is answered; ``write`` instead of all of it has the connection for itself."""

    status: int = 201
    body: bytes = b""
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    write: Callable[[Any], None] | None = None


def stored(sent: Sent) -> Answer:
    """As a server of ours does."""
    return Answer(
        body=json.dumps({"events": [{"id": "x", "duplicate": False} for _ in sent.events]}).encode()
    )


def problem(status: int, detail: str = "no", **more: Any) -> Answer:
    """A problem document."""
    return Answer(status, json.dumps({"detail": detail, **more}).encode(), "application/problem+json")


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        url: of it.
        requests: everything that it was sent.
        answer: what it says; a list of one, so that a test can change it.
        enough: set at each request.
    """

    url: str
    requests: list[Sent]
    answer: list[Callable[[Sent], Answer]]

    @property
    def keys(self) -> list[str]:
        """The keys of all events that were stored, in the order of arrival."""
        return [event["idempotency_key"] for sent in self.requests for event in sent.events]


@contextmanager
def serving(answer: Callable[[Sent], Answer] = stored) -> Iterator[Server]:
    """Answer on a free port."""
    requests: list[Sent] = []
    answers = [answer]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            events = json.loads(self.rfile.read(size))["events"]
            sent = Sent({name.lower(): value for name, value in self.headers.items()}, events)
            requests.append(sent)
            said = answers[0](sent)
            if said.write is not None:
                said.write(self.wfile)
                self.close_connection = True
                return
            self.send_response(said.status)
            self.send_header("Content-Type", said.kind)
            self.send_header("Content-Length", str(len(said.body)))
            for name, value in said.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: object) -> None:
            """Nothing: the test looks at the requests."""

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is what some tests are about."""

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}", requests, answers)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
