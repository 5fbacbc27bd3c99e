"""One HTTP connection to one server, by the standard library: kept open, opened again when it broke."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from affidavit import __version__
from affidavit.errors import ConfigError

__all__ = ["Reply", "Transport", "Unreachable"]

SECONDS = 30.0
MOST_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer that are read; one to 1,000 events has some 100 KiB."""
MOST_WAIT = 3_600.0
"""Seconds of ``Retry-After`` that are believed."""
_TOKEN = re.compile(r"[!-~]+\Z")
_PATH = re.compile(r"[!-~]*\Z")


class Unreachable(Exception):
    """The server was not reached, or did not answer: whether it stored anything is unknown."""


class Reply(NamedTuple):
    """What the server answered.

    Attributes:
        status: of HTTP.
        kind: media type of the body, in lower case and without parameters.
        body: whole.
        retry_after: seconds that it asks to wait, ``None`` where it asks for nothing.
    """

    status: int
    kind: str
    body: bytes
    retry_after: float | None


class Transport:
    """Posts to ``/api/v1/events`` of one server. Not safe for several threads at once.

    A redirect is an answer like any other: what it names gets neither events nor token.

    Args:
        url: of the server, ``http://`` or ``https://``; a path before ``/api`` may follow.
        token: with the ability ``events:write``; never shown.
        seconds: how long one request may take, from its first byte to the last of the answer.
        context: of TLS; the system's certificates by default.

    Raises:
        ConfigError: the URL is none, or the token cannot be sent.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        seconds: float = SECONDS,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._secure, self._host, self._port, path = _parts(url)
        if not _TOKEN.match(token):
            raise ConfigError("The token is empty or holds a character that no token has; it is not shown.")
        self._token = token
        self._path = f"{path}/api/v1/events"
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"affidavit-client/{__version__}",
        }
        self._seconds = seconds
        self._context = context
        self._connection: http.client.HTTPConnection | None = None

    def __repr__(self) -> str:
        """The address; the token is nobody's business."""
        return f"Transport({self._host!r}, port={self._port})"

    def masked(self, text: str) -> str:
        """A text of the server's without the token, which it has read and may repeat."""
        return text.replace(self._token, "[masked]")

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            context = self._context or ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._seconds, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)

    def post(self, body: bytes) -> Reply:
        """Post a body; a connection that the server closed while it was idle is opened again once.

        Raises:
            Unreachable: no answer; the caller sends it again, which the events' keys make harmless.
        """
        fresh = self._connection is None
        try:
            return self._post(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            if fresh or isinstance(error, _TooSlow):
                raise Unreachable(_words(error)) from error
        try:
            return self._post(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Unreachable(_words(error)) from error

    def _post(self, body: bytes) -> Reply:
        if self._connection is None:
            self._connection = self._connect()
            self._connection.connect()
        with _within(self._seconds, self._connection.sock):
            self._connection.request("POST", self._path, body, self._headers)
            answer = self._connection.getresponse()
            content = answer.read(MOST_ANSWER + 1)
        if len(content) > MOST_ANSWER:
            raise http.client.HTTPException(f"{answer.status}: an answer of more than {MOST_ANSWER:,} bytes")
        if answer.will_close or not answer.isclosed():
            self.close()
        kind = (answer.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        return Reply(answer.status, kind, content, _seconds(answer.getheader("Retry-After")))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class _TooSlow(OSError):
    """The whole request took too long, however steadily its bytes came."""


@contextmanager
def _within(seconds: float, connection: socket.socket) -> Iterator[None]:
    """Shut a connection down when its time is over: a timeout of the socket starts anew with each byte."""
    over = threading.Event()

    def end() -> None:
        over.set()
        with suppress(OSError):  # it is closed already
            # Not that of SSLSocket, which takes away what another thread is reading from.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError):
        if not over.is_set():
            raise
    finally:
        timer.cancel()
    if over.is_set():  # what was read may look whole, where its end is that of the connection
        raise _TooSlow(f"no whole answer within {seconds:g} s")


def _parts(url: str) -> tuple[bool, str, int | None, str]:
    """Whether by TLS, host, port and path; an address that may hold a password is not quoted."""
    help_ = "write https://audit.example.org, or https://example.org/path"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"The address of the server cannot be read; {help_}") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"The address of the server holds a user or password; {help_}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url!r} is no address of a server; {help_}")
    if parts.query or parts.fragment or not _PATH.match(parts.path + parts.hostname):
        raise ConfigError(f"{url!r} holds more than the address of a server; {help_}")
    return parts.scheme == "https", parts.hostname, port, parts.path.rstrip("/")


def _words(error: Exception) -> str:
    return f"{type(error).__name__.lstrip('_')}: {error}"[:1_000]


def _seconds(text: str | None) -> float | None:
    """``Retry-After`` of RFC 9110, section 10.2.3: seconds, or a date."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return min(MOST_WAIT, float(text[:10]))
    with suppress(ValueError, TypeError, OverflowError):
        return min(MOST_WAIT, max(0.0, parsedate_to_datetime(text).timestamp() - time.time()))
    return None
