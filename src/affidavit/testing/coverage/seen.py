"""What happened while tests ran: requests, and the events of each; as JSON it goes from a worker of xdist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from affidavit.testing.audit_log.event import RecordedEvent
from affidavit.testing.coverage.subject import ANY, UNSAFE, Subjects

__all__ = ["Seen", "merged"]


class Seen:
    """Counts for each route and model.

    An event counts when it is written: what a test rolls back afterwards was recorded nevertheless.

    Attributes:
        requests: method and path of each request, and how often.
        recorded: the same of the requests of events.
        types: of resources that events named.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.recorded: Counter[tuple[str, str]] = Counter()
        self.types: Counter[str] = Counter()

    def asked(self, method: str, path: str) -> None:
        """A middleware saw a request."""
        self.requests[method.upper(), path] += 1

    def heard(self, event: RecordedEvent) -> None:
        """An event was written."""
        for each in event.resources:
            self.types[each.type] += 1
        request = event.request
        if request is not None and request.method and request.endpoint:
            self.recorded[request.method.upper(), request.endpoint] += 1

    def counts(self, subjects: Subjects) -> dict[str, Any]:
        """Of each route and model how often it was called and recorded; JSON knows all of its types."""
        routes = {each.label: [0, 0] for each in subjects.routes}
        for place, counted in enumerate((self.requests, self.recorded)):
            for (method, path), number in counted.items():
                for route in subjects.routes:
                    if _takes(route.method, method) and route.fits(path):
                        routes[route.label][place] += number
                        break
        models = {each.label: sum(self.types[one] for one in each.types) for each in subjects.models}
        return {
            "routes": routes,
            "models": models,
            "unknown": list(subjects.unknown),
            "requests": self.requests.total(),
        }


def _takes(of_route: str, method: str) -> bool:
    return of_route == method or (of_route == ANY and method in UNSAFE)


def merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several processes together."""
    whole: dict[str, Any] = {"routes": {}, "models": {}, "unknown": [], "requests": 0}
    for part in parts:
        for label, (called, recorded) in part["routes"].items():
            sums = whole["routes"].setdefault(label, [0, 0])
            sums[0] += called
            sums[1] += recorded
        for label, number in part["models"].items():
            whole["models"][label] = whole["models"].get(label, 0) + number
        whole["unknown"] += [each for each in part["unknown"] if each not in whole["unknown"]]
        whole["requests"] += part["requests"]
    return whole
