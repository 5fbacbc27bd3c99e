"""The parameters of a request, as an event may hold them: what is asked must not stop its recording."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from affidavit.recorder.request import clean

__all__ = ["BODY", "NAME", "VALUE", "parameters"]

QUERY = 16_384
"""Characters of a query that are read."""
PARAMS = 100
"""Parameters of a query that are kept."""
VALUE = 1_000
"""Characters of a value that are kept."""
NAME = 128
"""Characters of a parameter's name that are kept."""

BODY = 32_768
"""Bytes of a body that are read."""
DEPTH = 8
"""Levels of a body that are kept."""
VALUES = 500
"""Values of a body that are kept, about."""
CUT = "..."
"""Stands for what was not kept."""
EXACT = 2**53
"""Numbers beyond it are kept as text: others would read another number."""


def parameters(query: str, document: bytes) -> dict[str, Any]:
    """The parameters of a query, those that came more than once as a list, and under ``body`` a JSON object.

    Args:
        query: as it was sent.
        document: of the body, at most :data:`BODY` bytes; empty where there is none. Beside one, a parameter
            of the query that is called ``body``, too, is ``query.body``.
    """
    params: dict[str, Any] = {}
    for name, value in parse_qsl(query[:QUERY], keep_blank_values=True)[:PARAMS]:
        name, value = clean(name)[:NAME], clean(value)[:VALUE]
        if name not in params:
            params[name] = value
        elif isinstance(params[name], list):
            params[name].append(value)
        else:
            params[name] = [params[name], value]
    if document:
        try:
            body = msgspec.json.decode(document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return params  # the app has refused it, or reads something else in it
        if isinstance(body, dict):
            if "body" in params:
                params["query.body"] = params.pop("body")
            params["body"] = _plain(body, DEPTH, [VALUES])
    return params


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    """A value of a stranger without what an event may not hold: what is asked must not stop its recording."""
    left[0] -= 1
    if isinstance(value, str):
        return clean(value)[:VALUE]
    if isinstance(value, dict | list) and (depth == 0 or left[0] < 0):
        return CUT
    if isinstance(value, dict):
        return {clean(name)[:NAME]: _plain(value[name], depth - 1, left) for name in list(value)[: left[0]]}
    if isinstance(value, list):
        return [_plain(each, depth - 1, left) for each in value[: left[0]]]
    if isinstance(value, bool) or value is None or abs(value) <= EXACT:
        return value
    return str(value)[:VALUE]
