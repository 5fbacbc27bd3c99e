"""From the parts of an HTTP request to the fields of a context: address, agent, request, trace."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from affidavit.core.event import Request
from affidavit.core.rules import normal_address
from affidavit.enrich.client import label
from affidavit.enrich.proxy import Proxies
from affidavit.recorder.watchers import request_watchers

__all__ = ["RequestReader", "clean", "headers_of"]

AGENT = 1_000
"""Characters of a user agent that are kept."""
METHOD = 64
"""Characters of a method."""
PATH = 1_000
"""Characters of a path."""

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?P<more>-.*)?\Z", re.DOTALL
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,256}\Z", re.ASCII)


class RequestReader:
    """Reads what every event of a request has in common.

    Args:
        trusted_proxies: addresses and networks whose ``X-Forwarded-For`` is believed, read from the right.
        source: channel of the events.
        request_id_header: where the request's id stands, lower case; one is made where there is none.
    """

    def __init__(
        self,
        *,
        trusted_proxies: Iterable[str] = (),
        source: str = "web",
        request_id_header: str = "x-request-id",
    ) -> None:
        self._proxies = Proxies(trusted_proxies)
        self._source = source
        self._id_header = request_id_header.lower()

    def fields(
        self, method: str, path: str, peer: str | None, header: Callable[[str], Iterable[str]]
    ) -> dict[str, Any]:
        """The fields of the request's context.

        Args:
            method: of HTTP.
            path: without the query, which may hold secrets.
            peer: address of the other end, where it has one.
            header: the values of a header by its lower-case name, in order.
        """
        for each in request_watchers:
            each(method, path)
        found: dict[str, Any] = {
            "source": self._source,
            "request": Request(
                id=self._id(header), method=clean(method)[:METHOD], endpoint=clean(path)[:PATH]
            ),
        }
        address = _address(self._proxies.client(peer, list(header("x-forwarded-for"))))
        if address is not None:
            found["ip"] = address
        agent = clean(next(iter(header("user-agent")), ""))[:AGENT]
        if agent:
            found["user_agent"] = agent
            client = label(agent)
            if client is not None:
                found["client"] = client
        trace = _trace(list(header("traceparent")))
        if trace is not None:
            found["trace_id"], found["span_id"] = trace
        return found

    def _id(self, header: Callable[[str], Iterable[str]]) -> str:
        given = list(header(self._id_header))
        return given[0] if len(given) == 1 and _REQUEST_ID.match(given[0]) else uuid4().hex


def _trace(given: Sequence[str]) -> tuple[str, str] | None:
    """Trace and span (W3C Trace Context, section 3.2); ``None`` where there is none that can be believed."""
    found = _TRACEPARENT.match(given[0].strip(" \t")) if len(given) == 1 else None
    # Version 00 ends with the flags, and all zeros is no id (sections 3.2.2.3 and 3.2.2.4).
    if found is None or (found[1] == "00" and found["more"]):
        return None
    return (found[2], found[3]) if found[2].strip("0") and found[3].strip("0") else None


def _address(peer: str | None) -> str | None:
    """An address as an event holds it; what stands for a socket or a test's client is none."""
    return None if peer is None else normal_address(peer.partition("%")[0])


def clean(text: str) -> str:
    """Without what would break an event, or the line that somebody prints it on."""
    return _CONTROL.sub("\ufffd", text).encode("utf-8", "replace").decode()


def headers_of(environ: Mapping[str, Any]) -> Callable[[str], Iterable[str]]:
    """The headers of a WSGI request."""

    def values(name: str) -> Iterable[str]:
        value = environ.get("HTTP_" + name.upper().replace("-", "_"))
        return () if value is None else (value,)

    return values
