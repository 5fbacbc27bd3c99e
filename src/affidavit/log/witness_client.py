"""Asking a witness over HTTP (c2sp.org/tlog-witness, ``add-checkpoint``).

::

    WitnessError
    ├── WitnessUnreachable    no connection, no answer in time, or a server that failed (5xx, 408, 429)
    ├── WitnessConflict       it cosigned another size last, and says which (409)
    ├── WitnessRefused        it will not cosign this checkpoint (400, 403, 404, 409, 422)
    └── WitnessNonsense       an answer that the protocol does not have: redirect, oversize, another form

A witness may be anybody's server. Its answer is read within a bound of time and of bytes, no redirect is
followed, no proxy setting of the environment is used, and a cosignature is only believed once it was checked
(:mod:`affidavit.log.cosigning`).
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from affidavit.core.note import parse_signatures, signature_line
from affidavit.core.strict import integer
from affidavit.core.unsound import Malformed
from affidavit.errors import ConfigError, LogError

__all__ = [
    "MAX_ANSWER",
    "WitnessConflict",
    "WitnessError",
    "WitnessNonsense",
    "WitnessRefused",
    "WitnessUnreachable",
    "add_checkpoint",
    "check_url",
]

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read; a cosignature has about 150."""
_SIZE_TYPE = "text/x.tlog.size"
_SHOWN = 200


class WitnessError(LogError):
    """A witness did not cosign."""

    category = "witness"


class WitnessUnreachable(WitnessError):
    """The witness did not answer; it is asked again later."""


class WitnessNonsense(WitnessError):
    """The witness answered something that its protocol does not have."""


class WitnessRefused(WitnessError):
    """The witness will not cosign this checkpoint."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class WitnessConflict(WitnessError):
    """The witness cosigned another size last."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the witness last cosigned size {size}")
        self.size = size


class _Place(NamedTuple):
    secure: bool
    host: str
    port: int
    path: str


class _Answer(NamedTuple):
    status: int
    media_type: str
    body: bytes


def check_url(url: str) -> None:
    """Check that this can be the address of a witness.

    Raises:
        ConfigError: not ``http`` or ``https``, no host, or with a user, a query or a fragment.
    """
    _place_of(url)


def add_checkpoint(url: str, old_size: int, proof: Sequence[bytes], note: bytes, timeout: float) -> list[str]:
    """Ask a witness to cosign a checkpoint.

    Args:
        url: of the witness, its submission prefix.
        old_size: what it cosigned last of this log, 0 where that is not known.
        proof: the consistency proof from that size, 32 bytes each; empty from size 0 and to the same size.
        note: the signed checkpoint.
        timeout: seconds for all of it; only looking up the host's name may take longer.

    Returns:
        The signature lines of its answer, each with its newline. None of them has been checked.

    Raises:
        WitnessError: in one of its kinds.
        ConfigError: an address that cannot be that of a witness.
    """
    place = _place_of(url)
    lines = [f"old {old_size}", *(b64encode(each).decode() for each in proof), "", ""]
    answer = _post(url, place, "\n".join(lines).encode() + note, timeout)
    if answer.status == 200:
        return _signature_lines(answer)
    if answer.status == 409 and answer.media_type == _SIZE_TYPE:
        raise WitnessConflict(_size(answer))
    said = _shown(answer.body)
    if answer.status in (400, 403, 404, 409, 422):
        raise WitnessRefused(answer.status, f"the witness at {url} refused ({answer.status}): {said}")
    if answer.status >= 500 or answer.status in (408, 429):
        raise WitnessUnreachable(f"the witness at {url} failed ({answer.status}): {said}")
    raise WitnessNonsense(f"the witness at {url} answered with status {answer.status}, which is not followed")


def _place_of(url: str) -> _Place:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url:.200} is no address of a witness: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(f"{url:.200} is no address of a witness; it is http(s)://HOST[:PORT][/PREFIX]")
    if parts.query or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{url:.200} is no address of a witness: it has a query, a fragment or a space")
    secure = parts.scheme == "https"
    path = f"{parts.path.rstrip('/')}/add-checkpoint"
    return _Place(secure, parts.hostname, port or (443 if secure else 80), path)


def _post(url: str, place: _Place, body: bytes, timeout: float) -> _Answer:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Accept-Encoding": "identity"}
    headers["Connection"] = "close"
    try:
        with _connected(place, timeout) as connection:
            connection.request("POST", place.path, body, headers)
            with connection.getresponse() as response:
                read = response.read(MAX_ANSWER + 1)
                status, media_type = response.status, response.headers.get("Content-Type", "")
    except http.client.HTTPException as error:
        # A connection that ends or is cut without an answer is this kind of error too.
        gone = isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead)
        kind = WitnessUnreachable if gone else WitnessNonsense
        raise kind(f"the witness at {url} gave no answer of HTTP: {_named(error)}") from error
    except (OSError, ValueError) as error:
        raise WitnessUnreachable(f"the witness at {url} does not answer: {_named(error)}") from error
    if len(read) > MAX_ANSWER:
        raise WitnessNonsense(f"the witness at {url} answered more than {MAX_ANSWER} bytes")
    return _Answer(status, media_type.strip().lower(), read)


@contextmanager
def _connected(place: _Place, timeout: float) -> Iterator[http.client.HTTPConnection]:
    """A connection that is cut after ``timeout`` seconds, whatever the other side sends and how slowly."""
    plain = socket.create_connection((place.host, place.port), timeout)
    # The second descriptor reaches the connection also while TLS is being agreed on.
    cut = plain.dup()
    expired = threading.Event()
    timer = threading.Timer(timeout, _shut, (cut, expired))
    timer.daemon = True
    timer.start()
    try:
        with plain:
            wrapped = _tls().wrap_socket(plain, server_hostname=place.host) if place.secure else plain
            with wrapped:
                connection = http.client.HTTPConnection(place.host, place.port)
                connection.sock = wrapped
                try:
                    yield connection
                finally:
                    connection.close()
    except (http.client.HTTPException, OSError):
        if not expired.is_set():
            raise
    finally:
        timer.cancel()
        timer.join()
        cut.close()
    if expired.is_set():
        # To the reader of HTTP, what was cut may look like an answer that ended, or like none at all.
        raise TimeoutError(f"no whole answer within {timeout:g} seconds")


def _shut(descriptor: socket.socket, expired: threading.Event) -> None:
    expired.set()
    try:
        descriptor.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended by itself


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _signature_lines(answer: _Answer) -> list[str]:
    try:
        parsed = parse_signatures(answer.body.decode())
    except (Malformed, UnicodeDecodeError) as error:
        raise WitnessNonsense(f"the witness answered no signature lines: {str(error)[:_SHOWN]}") from error
    return [signature_line(*each) for each in parsed]


def _size(answer: _Answer) -> int:
    text = answer.body.decode("ascii", "replace")
    try:
        return integer(text.removesuffix("\n"), "the size that the witness cosigned last")
    except Malformed as error:
        raise WitnessNonsense(error.message) from error


def _shown(body: bytes) -> str:
    """The first words of an answer, made safe for a log and a terminal: it may be anybody's text."""
    text = body[:_SHOWN].decode("ascii", "replace")
    return "".join(character if character.isprintable() else " " for character in text).strip() or "-"


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:_SHOWN]}"
