"""Counters of this process and their text form for Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MEDIA_TYPE", "Metrics"]

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_GAUGES = {
    "events": "Events in the database.",
    "queue_events": "Events that have no leaf yet.",
    "queue_age_seconds": "Age of the oldest of them: how far sequencing is behind.",
    "alarms": "What an operator must look at; affidavit log status says what.",
    "index_position": "Place in recording order up to which the search index is complete.",
    "index_behind_events": "Events that the search index does not hold yet.",
    "index_behind_seconds": "Age of the oldest of them.",
}


class Metrics:
    """What this process has done since it started. Used on the event loop only."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """By route, method and status."""
        self.errors: Counter[str] = Counter()
        """By category of the error."""
        self.recorded = 0
        self.duplicates = 0

    def text(self, health: Mapping[str, Any]) -> str:
        """All counters, and those values of ``health`` that are numbers."""
        lines = [
            *_metric(
                "requests_total",
                "counter",
                "HTTP requests.",
                (
                    (f'route="{_escape(route)}",method="{_escape(method)}",status="{status}"', count)
                    for (route, method, status), count in sorted(self.requests.items())
                ),
            ),
            *_metric(
                "errors_total",
                "counter",
                "Requests that ended in an error, by category.",
                ((f'category="{_escape(name)}"', count) for name, count in sorted(self.errors.items())),
            ),
            *_metric("events_recorded_total", "counter", "Events recorded.", [("", self.recorded)]),
            *_metric(
                "events_duplicate_total",
                "counter",
                "Events that were recorded before.",
                [("", self.duplicates)],
            ),
        ]
        for name, value in health.items():
            if isinstance(value, bool | int | float):
                lines += _metric(name, "gauge", _GAUGES.get(name, "See the operations guide."), [("", value)])
        return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, text: str, samples: Iterable[tuple[str, bool | int | float]]) -> list[str]:
    full = f"affidavit_{name}"
    lines = [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
    for labels, value in samples:
        number = int(value) if isinstance(value, bool) else value
        lines.append(f"{full}{{{labels}}} {number}" if labels else f"{full} {number}")
    return lines


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
