"""What recorded nothing, and in which words that is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

__all__ = ["Silence", "silence_in"]


class Silence(NamedTuple):
    """What recorded nothing, and what is known beside it.

    Attributes:
        routes: such as ``POST /teams/{id}``, in order, each with how often it was called.
        models: by name, of which no event named an object.
        allowed: of both, what may be silent, and is.
        idle: entries of the allow-list that fit nothing that is silent: they may go.
        counted: how many routes and models there are.
        requests: how many requests a middleware of ours saw.
        unknown: parts of the app that could not be looked into.
    """

    routes: dict[str, int]
    models: list[str]
    allowed: list[str]
    idle: list[str]
    counted: tuple[int, int]
    requests: int
    unknown: list[str]

    def __bool__(self) -> bool:
        """Whether anything is silent that may not be."""
        return bool(self.routes or self.models)

    def lines(self) -> Iterator[str]:
        """For a terminal. Labels are the app's own text, and are escaped like any other."""
        routes, models = self.counted
        yield f"{routes} routes that change something, {len(self.routes)} recorded nothing"
        for label, called in self.routes.items():
            times = f"called {called} times" if called != 1 else "called once"
            yield f"  {_plain(label)}  ({times if called else 'never called in this run'})"
        yield f"{models} models, {len(self.models)} that no event names"
        yield from (f"  {_plain(label)}" for label in self.models)
        if self.allowed:
            yield f"allowed: {', '.join(map(_plain, self.allowed))}"
        if self.idle:
            yield f"on the allow-list without need: {', '.join(map(_plain, self.idle))}"
        if self.unknown:
            yield f"not looked into: {', '.join(map(_plain, self.unknown))}"
        if routes and not self.requests:
            yield "no request was seen: is the middleware in place?"


def silence_in(counts: Mapping[str, Any], allow: Sequence[str] = ()) -> Silence:
    """What recorded nothing.

    Args:
        counts: see :meth:`affidavit.testing.coverage.seen.Seen.counts`.
        allow: labels that may be silent, or patterns of them, such as ``POST /webhooks/*``.
    """
    routes = {label: called for label, (called, recorded) in counts["routes"].items() if not recorded}
    models = [label for label, number in counts["models"].items() if not number]
    allowed = [label for label in (*routes, *models) if any(fnmatchcase(label, pattern) for pattern in allow)]
    return Silence(
        {label: called for label, called in routes.items() if label not in allowed},
        [label for label in models if label not in allowed],
        allowed,
        [pattern for pattern in allow if not any(fnmatchcase(label, pattern) for label in allowed)],
        (len(counts["routes"]), len(counts["models"])),
        counts["requests"],
        counts["unknown"],
    )


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
