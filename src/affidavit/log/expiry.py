"""Which events lost their values to age, for readers: what the recorded runs of expiry explain.

Nothing is proven here. Whoever verifies decides by himself, from the leaves alone
(:mod:`affidavit.core.explained`); a page only has to say *expired* or *erased*.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from affidavit.core.cursor import Position
from affidavit.core.query import parse_params
from affidavit.core.retention import Policy, parse_policy
from affidavit.core.row import StoredEvent
from affidavit.core.unsound import Malformed
from affidavit.storage.protocols import EventIndex

__all__ = ["Expiries"]

FRESH = 5.0
"""Seconds for which a look at the runs of an organization counts."""
_AT_ONCE = 500
_MOST_KNOWN = 1_000
_ASKED = parse_params([("action", "audit.retention.expired")])
_facts = msgspec.json.Decoder(dict[str, str | int]).decode


class _Runs:
    """The runs of one organization: each policy with the latest moment at which it was applied."""

    __slots__ = ("latest", "newest", "seen")

    def __init__(self) -> None:
        self.latest: dict[str, tuple[Policy, int]] = {}
        self.newest = b""
        self.seen = float("-inf")


class Expiries:
    """Tells expired events from erased ones. Safe to use from several threads.

    Args:
        index: finds the runs.
        monotonic: seconds.
    """

    def __init__(self, index: EventIndex, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._index = index
        self._monotonic = monotonic
        self._known: dict[str, _Runs] = {}
        self._lock = threading.Lock()

    def mark(self, events: Sequence[StoredEvent]) -> None:
        """Set ``expired`` on those events without any value that were past a policy when it was applied."""
        for event in events:
            if event.remains is not None and not any(event.texts):
                event.expired = any(
                    policy.is_past(event.action, event.recorded_at, moment)
                    for policy, moment in self._runs(event.organization)
                )

    def _runs(self, organization: str) -> list[tuple[Policy, int]]:
        with self._lock:
            runs = self._known.get(organization)
            if runs is None:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                runs = self._known[organization] = _Runs()
            if self._monotonic() - runs.seen >= FRESH:
                self._look(organization, runs)
                runs.seen = self._monotonic()
            return list(runs.latest.values())

    def _look(self, organization: str, runs: _Runs) -> None:
        """Take in the runs since the last look, the newest first."""
        position: Position | None = Position("desc")
        newest, until = runs.newest, runs.newest
        while position is not None:
            found = self._index.page((organization,), _ASKED, position, limit=_AT_ONCE, seconds=None)
            position = found.position
            for event in found.events:
                if event.id <= until:
                    position = None
                    break
                newest = max(newest, event.id)
                _take(runs, event)
        runs.newest = newest


def _take(runs: _Runs, event: StoredEvent) -> None:
    try:
        text = str(_facts(event.facts or "{}").get("policy", ""))
        policy = parse_policy(text)
    except (msgspec.MsgspecError, Malformed):
        return  # the row was edited; a verification names it
    _, moment = runs.latest.get(text, (policy, 0))
    runs.latest[text] = policy, max(moment, event.recorded_at)
