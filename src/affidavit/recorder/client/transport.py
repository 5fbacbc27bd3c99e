"""One HTTP connection to one server, by the standard library: kept open, opened again when it broke."""

from __future__ import annotations

import http.client
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from affidavit import __version__
from affidavit.errors import ConfigError

__all__ = ["Reply", "Transport", "Unreachable"]

SECONDS = 30.0
_MOST_ERROR = 64 * 1024


class Unreachable(Exception):
    """The server was not reached, or did not answer: whether it stored anything is unknown."""


class Reply(NamedTuple):
    """What the server answered.

    Attributes:
        status: of HTTP.
        body: of an error at most 64 KiB.
        retry_after: seconds that it asks to wait, ``None`` where it asks for nothing.
    """

    status: int
    body: bytes
    retry_after: float | None


class Transport:
    """Posts to ``/api/v1/events`` of one server. Not safe for several threads at once.

    Args:
        url: of the server, ``http://`` or ``https://``; a path before ``/api`` may follow.
        token: with the ability ``events:write``; never shown.
        seconds: how long one request may take.
        context: of TLS; the system's certificates by default.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        seconds: float = SECONDS,
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{url!r} is no address of a server; write https://audit.example.org")
        self._parts = parts
        self._path = f"{parts.path.rstrip('/')}/api/v1/events"
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "User-Agent": f"affidavit-client/{__version__}",
        }
        self._seconds = seconds
        self._context = context
        self._connection: http.client.HTTPConnection | None = None

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname, self._parts.port
        assert host is not None
        if self._parts.scheme == "https":
            context = self._context or ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self._seconds, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._seconds)

    def post(self, body: bytes) -> Reply:
        """Post a body; a connection that the server closed while it was idle is opened again once.

        Raises:
            Unreachable: no answer; the caller sends it again, which the events' keys make harmless.
        """
        fresh = self._connection is None
        try:
            return self._post(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if fresh:
                raise Unreachable(f"{type(error).__name__}: {error}") from error
        try:
            return self._post(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    def _post(self, body: bytes) -> Reply:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", self._path, body, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        return Reply(answer.status, content[:_MOST_ERROR], _seconds(answer.getheader("Retry-After")))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
