"""What could have recorded something: a route with a method that changes, or a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["ANY", "UNSAFE", "Model", "Route", "Subjects", "fitting"]

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
"""The methods that RFC 9110 section 9.2.1 does not call safe, as far as apps use them."""
ANY = "*"
"""The method of a route that does not say which ones it takes."""


class Route(NamedTuple):
    """One method of one path.

    Attributes:
        method: of HTTP, or :data:`ANY`.
        path: as the app writes it, with its parameters.
        fits: whether a path is one of this route.
    """

    method: str
    path: str
    fits: Callable[[str], bool]

    @property
    def label(self) -> str:
        """What reports and allow-lists call it."""
        return f"{self.method} {self.path}"


class Model(NamedTuple):
    """A model of an ORM.

    Attributes:
        label: what reports and allow-lists call it.
        types: of resources that its objects may be.
    """

    label: str
    types: frozenset[str]


class Subjects(NamedTuple):
    """Everything that was looked for.

    Attributes:
        routes: in the order in which the app asks them.
        models: of the ORM.
        unknown: parts that could not be looked into.
    """

    routes: list[Route]
    models: list[Model]
    unknown: list[str]


def fitting(pattern: str) -> Callable[[str], bool]:
    """Whether a path is one of ``/teams/{id}`` or ``/files/{rest:path}``."""
    text, end = "", 0
    for found in re.finditer(r"\{(\w+)(?::(\w+))?\}", pattern):
        text += re.escape(pattern[end : found.start()]) + (".*" if found[2] == "path" else "[^/]+")
        end = found.end()
    whole = re.compile(text + re.escape(pattern[end:]))
    return lambda path: path == pattern or whole.fullmatch(path) is not None
