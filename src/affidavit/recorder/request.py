"""From the parts of an HTTP request to the fields of a context: address, agent, request, trace. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import uuid4

from affidavit.core.event import Request
from affidavit.enrich.client import label
from affidavit.enrich.proxy import Proxies

__all__ = ["RequestReader"]

AGENT = 1_000
"""Characters of a user agent that are kept."""
SHORT = 256
"""Characters of an id or a method that are taken from a request."""
PATH = 1_000
"""Characters of a path."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:\Z|-)", re.ASCII)
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
        found: dict[str, Any] = {
            "source": self._source,
            "request": Request(id=self._id(header), method=method[:SHORT], endpoint=_clean(path)[:PATH]),
        }
        address = self._proxies.client(peer, list(header("x-forwarded-for")))
        if address is not None:
            found["ip"] = address
        agent = _clean(next(iter(header("user-agent")), ""))[:AGENT]
        if agent:
            found["user_agent"] = agent
            client = label(agent)
            if client is not None:
                found["client"] = client
        trace = _TRACEPARENT.match(next(iter(header("traceparent")), ""))
        # All zeros is no id (W3C Trace Context, sections 3.2.2.3 and 3.2.2.4).
        if trace is not None and trace[1].strip("0") and trace[2].strip("0"):
            found["trace_id"], found["span_id"] = trace[1], trace[2]
        return found

    def _id(self, header: Callable[[str], Iterable[str]]) -> str:
        given = next(iter(header(self._id_header)), "")
        return given if _REQUEST_ID.match(given) else uuid4().hex


def _clean(text: str) -> str:
    """Without what no event may hold: a request is written by whoever sends it."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def headers_of(environ: Mapping[str, Any]) -> Callable[[str], Iterable[str]]:
    """The headers of a WSGI request."""

    def values(name: str) -> Iterable[str]:
        value = environ.get("HTTP_" + name.upper().replace("-", "_"))
        return () if value is None else (value,)

    return values
