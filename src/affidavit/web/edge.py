"""The outermost layer of every request: its id, who is really calling, headers, counting, errors.

It also hands ``POST /api/v1/events`` straight to its own function: recording single events is bound by the
work around them, and routing would be a large part of it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from affidavit.enrich.proxy import Proxies
from affidavit.web.errors import Answer, problem_of
from affidavit.web.metrics import Metrics

__all__ = ["HEADERS", "Edge"]

log = logging.getLogger("affidavit.web")

HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""On every answer that does not say otherwise itself."""

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Edge:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        record: takes ``POST`` requests to ``record_path``.
        record_path: below the application's root.
        metrics: counts requests and errors.
        proxies: those whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
        entropy: that many random bytes; used once, for the ids of requests.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        record: ASGIApp,
        record_path: str,
        metrics: Metrics,
        proxies: Proxies,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._app = app
        self._record = record
        self._record_path = record_path
        self._metrics = metrics
        self._proxies = proxies
        self._prefix = entropy(6).hex()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other protocols pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"{self._prefix}-{next(self._numbers):x}"
        scope.setdefault("state", {})["request_id"] = request_id
        if self._proxies:
            _believe(scope, self._proxies)
        status = 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _completed(message.get("headers", ()), request_id)
            await send(message)

        method = scope["method"]
        records = method == "POST" and scope["path"] == scope.get("root_path", "") + self._record_path
        try:
            await (self._record if records else self._app)(scope, receive, guarded)
        except ClientDisconnect:
            self._metrics.errors["client_disconnect"] += 1
        except Exception as error:  # the last place where an error can become an answer
            answer = problem_of(error)
            self._metrics.errors[answer.category] += 1
            if answer.unexpected:
                log.exception("%s %s failed (request %s)", method, scope["path"], request_id)
            if status:
                raise  # the answer has begun: the server cuts the connection, so nobody takes it for complete
            await _send_problem(answer, guarded)
        finally:
            label = self._record_path if records else getattr(scope.get("route"), "path", "none")
            self._metrics.requests[label, method if method in _METHODS else "OTHER", status] += 1


def _completed(
    given: list[tuple[bytes, bytes]] | tuple[tuple[bytes, bytes], ...], request_id: str
) -> list[tuple[bytes, bytes]]:
    present = {name for name, _ in given}
    return [
        *given,
        *(header for header in HEADERS if header[0] not in present),
        (b"x-request-id", request_id.encode()),
    ]


async def _send_problem(answer: Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


def _believe(scope: Scope, proxies: Proxies) -> None:
    """Put the client's own address and scheme into the scope where a trusted proxy names them."""
    client = scope.get("client")
    if client is None or not proxies.trusts(client[0]):
        return
    headers = scope["headers"]
    forwarded = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    address = proxies.client(client[0], forwarded)
    if address is not None and address != client[0]:
        scope["client"] = (address, 0)
    schemes = [value.decode("latin-1").strip() for name, value in headers if name == b"x-forwarded-proto"]
    if schemes and schemes[-1] in ("http", "https"):
        scope["scheme"] = schemes[-1]
