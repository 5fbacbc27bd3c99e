"""Clients that record without pause and never give up: each event goes out until it was answered."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any, Self
from urllib.parse import urlsplit

__all__ = ["ACTIONS", "ORGANIZATION", "Client", "Load", "eventually"]

PATIENCE = 60.0
ORGANIZATION = "acme"
ACTIONS = ("user.create", "user.delete", "team.update")


def eventually(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait for a condition of another process."""
    until = time.monotonic() + patience
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < until, what
        tick.wait(0.02)


class Client:
    """Asks a server over plain HTTP, one connection a request."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and document of an answer; ``OSError`` or ``HTTPException`` where there is none."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=PATIENCE)
        try:
            raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, raw, self.headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def events(self, query: str = "") -> list[dict[str, Any]]:
        """Every event of a question, page by page."""
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            path = f"/api/v1/events?organization={ORGANIZATION}&limit=500&{query}{token}"
            status, page = self.ask("GET", path)
            assert status == 200, page
            found += page["events"]
            if page["continuation_token"] is None:
                return found
            token = f"&continuation_token={page['continuation_token']}"


class Load:
    """Several threads that record batches; a batch without an answer is sent again, under the same keys.

    Attributes:
        answered: markers of events whose 201 came, in no order.
        sent: batches that went out, repeats included.
        refused: answers that were neither 201 nor a reason to try again.
    """

    def __init__(self, client: Callable[[], Client | None], *, threads: int = 4, seed: int = 0) -> None:
        self._client = client
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answered: dict[str, str] = {}
        self.refused: list[Any] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number, Random(seed * 100 + number)))
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, events: int) -> None:
        """Wait until that many further events were answered."""
        goal = len(self.answered) + events
        eventually(lambda: len(self.answered) >= goal or bool(self.refused), "the load came to a stop")
        assert self.refused == []

    def _run(self, number: int, random: Random) -> None:
        batch = 0
        while not self._stop.is_set():
            batch += 1
            markers = [f"{number}-{batch}-{event}" for event in range(random.choice((1, 1, 3, 20)))]
            self._send(markers, [self._event(marker, random) for marker in markers])

    def _send(self, markers: list[str], events: list[dict[str, Any]]) -> None:
        while True:
            client = self._client()
            try:
                if client is None:
                    raise OSError("no server")
                status, answer = client.ask(
                    "POST", f"/api/v1/events?organization={ORGANIZATION}", {"events": events}
                )
            except (OSError, http.client.HTTPException):
                if self._stop.wait(0.02):
                    return
                continue
            if status == 503:
                continue
            with self._lock:
                if status not in (200, 201):
                    self.refused.append((status, answer))
                    return
                ids = [event["id"] for event in answer["events"]]
                self.answered.update(zip(markers, ids, strict=True))
            return

    def _event(self, marker: str, random: Random) -> dict[str, Any]:
        moment = time.time()
        return {
            "action": random.choice(ACTIONS),
            "organization": ORGANIZATION,
            "idempotency_key": marker,
            "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
            + f".{int(moment % 1 * 1e6):06d}Z",
            "outcome": random.choice(("success", "success", "failure")),
            "actor": {
                "type": "user",
                "id": f"u-{random.randrange(9)}",
                "email": f"U{random.randrange(3)}@x.io",
            },
            "resources": [{"type": "team", "id": f"r-{random.randrange(5)}", "name": "Straße"}],
            "ip": f"10.0.0.{random.randrange(4)}",
            "request": {"id": marker},
        }
