"""Requests of an API as events: which endpoint, by whose token, with which parameters, to what end."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal, NamedTuple, Protocol, get_args

import msgspec

from affidavit.core.catalog import EventType
from affidavit.core.event import RESERVED, Request, Resource
from affidavit.core.mask import is_secret
from affidavit.core.rules import is_action
from affidavit.errors import ConfigError
from affidavit.recorder.context import Context, entered
from affidavit.recorder.fields import Said, anonymous
from affidavit.recorder.now import Now
from affidavit.recorder.parameters import NAME, VALUE, parameters
from affidavit.recorder.recorder import Recorder
from affidavit.recorder.request import clean

__all__ = ["REFUSAL", "Asked", "RequestRecorder"]

REFUSAL = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,'
    b'"detail":"The request could not be recorded in the audit log, so it is not answered."}'
)
"""What is answered where an event could not be recorded: a problem document (RFC 9457)."""

OnError = Literal["refuse", "answer"]

_KEY = re.compile(r"(?P<method>[A-Z]+) (?P<template>/\S*)\Z")
_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}|<(?:(\w+):)?(\w+)>", re.ASCII)
_logger = logging.getLogger("affidavit.recorder")


class HasRecorder(Protocol):
    """What is needed of :class:`affidavit.Audit`."""

    recorder: Recorder

    @property
    def now(self) -> Now:
        """What records in a transaction of its own."""
        ...


class Asked(NamedTuple):
    """A request.

    Attributes:
        method: of HTTP.
        path: decoded, without the mount point and without the query.
        query: as it was sent.
        body: where bodies are recorded, and it is a JSON document of at most 32 KiB that the app has read.
    """

    method: str
    path: str
    query: str
    body: bytes = b""


class _Endpoint(NamedTuple):
    method: str
    template: str
    names_only: str
    pattern: re.Pattern[str]
    action: str


class RequestRecorder:
    """Records chosen endpoints, each request before its answer goes out: what was answered was recorded.

    The event has the template of the endpoint, the method and the parameters of the query (masked as
    everything is), the name of the token where the context's session has one, the status, and what the path
    names: in ``metadata``, and as resources. ``pipeline`` and ``pipeline_id`` in a template are both the
    ``pipeline``; an ``id`` alone is only in ``metadata``. The outcome is a failure from status 400 on.
    Somebody whom the context does not name is anonymous.

    Args:
        audit: records.
        endpoints: ``{"GET /pipelines/{pipeline_id}": ApiRequests.get_pipeline}``: method and template as the
            app has it, to the event type or its action. ``GET`` covers ``HEAD``. Of two templates that fit,
            the first counts, except where the framework says which one it took.
        source: channel of these events.
        bodies: whether the members of a JSON object in the body are parameters, too: under ``body``, without
            what lies deeper than 8 levels or comes after 500 values.
        on_error: what becomes of a request that cannot be recorded: ``refuse`` answers 503 in place of what
            the app had to say (what it did is done), ``answer`` lets its answer out. Either way it is logged.

    Raises:
        ConfigError: an endpoint or an action breaks its rule.
    """

    def __init__(
        self,
        audit: HasRecorder,
        endpoints: Mapping[str, str | EventType],
        *,
        source: str = "api",
        bodies: bool = False,
        on_error: OnError = "refuse",
    ) -> None:
        if on_error not in get_args(OnError):
            raise ConfigError(f"on_error must be refuse or answer, not {on_error!r}")
        self._audit = audit
        self._endpoints = [_endpoint(key, action) for key, action in endpoints.items()]
        self._source = source
        self._bodies = bodies
        self._on_error = on_error

    def record(self, asked: Asked, context: Context, status: int, route: str | None = None) -> bool:
        """Record a request, if its endpoint was chosen; durable on return.

        Args:
            asked: of the client.
            context: of the request.
            status: of the answer.
            route: the template that the framework took, or its end, where it is known.

        Returns:
            Whether the answer may go out.
        """
        try:
            said = self._said(asked, context, status, route)
            if said is not None:
                self._audit.now.record([self._audit.recorder.draft(said)])
        except Exception:
            _logger.exception(
                "A request could not be recorded: %s %s", clean(asked.method), clean(asked.path)[:VALUE]
            )
            return self._on_error == "answer"
        return True

    async def record_async(
        self, asked: Asked, context: Context, status: int, route: str | None = None
    ) -> bool:
        """The same without holding the event loop up."""
        if not self.chooses(asked, route):
            return True
        return await asyncio.to_thread(self.record, asked, context, status, route)

    def chooses(self, asked: Asked, route: str | None = None) -> bool:
        """Whether the endpoint of a request was chosen; see :meth:`record`."""
        return self._chosen(asked, route) is not None

    def keeps_body(self, content_type: str) -> bool:
        """Whether a body of this type is to be handed over, where it is no longer than ``BODY``."""
        kind = content_type.partition(";")[0].strip().lower()
        return self._bodies and (kind == "application/json" or kind.endswith("+json"))

    def _chosen(self, asked: Asked, route: str | None) -> tuple[_Endpoint, re.Match[str]] | None:
        method = "GET" if asked.method == "HEAD" else asked.method
        taken = None if route is None else _names_only(route)
        for endpoint in self._endpoints:
            if endpoint.method == method and (taken is None or endpoint.names_only.endswith(taken)):
                found = endpoint.pattern.match(asked.path)
                if found is not None:
                    return endpoint, found
        return None

    def _said(self, asked: Asked, context: Context, status: int, route: str | None) -> Said | None:
        chosen = self._chosen(asked, route)
        if chosen is None:
            return None
        endpoint, found = chosen
        with entered(context):
            known = context.known()
            given = {name: clean(value)[:VALUE] for name, value in found.groupdict().items()}
            named = {name.removesuffix("_id") or name: value for name, value in given.items()}
            fields: dict[str, Any] = {
                "source": self._source,
                "outcome": "failure" if status >= 400 else "success",
                "request": _request(known.get("request"), asked, endpoint),
                "resources": [_resource(*item) for item in named.items() if _is_thing(*item)],
                "metadata": {**named, **_metadata(known, asked, endpoint, status)},
            }
            if status >= 400:
                fields["reason"] = _phrase(status)
            if known.get("actor") is None:
                fields["actor"] = anonymous
            return self._audit.recorder.said(endpoint.action, fields)


def _endpoint(key: str, action: str | EventType) -> _Endpoint:
    found = _KEY.match(key)
    if found is None:
        raise ConfigError(
            f"{key!r} is no endpoint; write method and template: 'GET /pipelines/{{pipeline_id}}'"
        )
    name = action.action if isinstance(action, EventType) else action
    if not is_action(name) or name.startswith(RESERVED):
        raise ConfigError(f"{name!r} cannot be the action of {key!r}; write it as api.request.get_pipeline")
    template = found["template"]
    pattern, end = "", 0
    for part in _PARAMETER.finditer(template):
        parameter, kind = part[1] or part[4], part[2] or part[3]
        pattern += re.escape(template[end : part.start()])
        pattern += f"(?P<{parameter}>{'.+' if kind == 'path' else '[^/]+'})"
        end = part.end()
    try:
        compiled = re.compile(pattern + re.escape(template[end:]) + r"\Z", re.DOTALL)
    except re.error as error:
        raise ConfigError(f"The template of {key!r} cannot be read: {error}") from error
    return _Endpoint(found["method"], template, _names_only(template), compiled, name)


def _names_only(template: str) -> str:
    """A template without the kinds of its parameters: ``<int:run_id>`` and ``{run_id}`` are the same."""
    return _PARAMETER.sub(lambda part: "{" + (part[1] or part[4]) + "}", template)


def _request(known: Request | None, asked: Asked, endpoint: _Endpoint) -> Request:
    request = known if known is not None else Request()
    return msgspec.structs.replace(
        request,
        method=clean(asked.method)[:64],
        endpoint=endpoint.template,
        params=parameters(asked.query, asked.body) or None,
    )


def _metadata(
    known: Mapping[str, Any], asked: Asked, endpoint: _Endpoint, status: int
) -> dict[str, str | int]:
    metadata: dict[str, str | int] = {
        "endpoint": endpoint.template,
        "method": clean(asked.method)[:64],
        "status": status,
    }
    session = known.get("session")
    if session is not None and session.token_name is not None:
        metadata["token_name"] = session.token_name
    return metadata


def _is_thing(name: str, value: str) -> bool:
    return name != "id" and value != "" and not is_secret(name)


def _resource(name: str, value: str) -> Resource:
    return Resource(type=name[:NAME], id=value)


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
