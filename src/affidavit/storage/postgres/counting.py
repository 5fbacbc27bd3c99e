"""Where the counts of one organization stand in PostgreSQL: hourly ones, and the events beyond them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from affidavit.core.ids import first_id
from affidavit.core.sealing import home_of
from affidavit.core.times import HOUR
from affidavit.storage.postgres.connect import uid
from affidavit.storage.postgres.search import by_part, looked_up, scanned, tail_ids, where
from affidavit.storage.postgres.snapshot import PENDING, Part, Snapshot
from affidavit.storage.protocols import CountBy
from affidavit.storage.sql.conditions import Expression
from affidavit.storage.sql.counts import EDGE, HOURLY, Kinds

__all__ = ["PostgresCounted"]

_KINDS = "id, action, outcome, severity"
LONG_TAIL = 40_000
"""Events beyond the hourly counts that are counted one by one: more than are kept back."""


class PostgresCounted:
    """See :class:`affidavit.storage.sql.counts.Counted`."""

    def __init__(self, snapshot: Snapshot, organization: str) -> None:
        self._snapshot = snapshot
        self._organization = organization
        self._indexed = home_of(organization.encode()) == organization

    def hourly(
        self, narrowed: Sequence[Expression], by: CountBy, first: int, last: int
    ) -> tuple[Iterable[tuple[int | str, int, int]], bool]:
        """The whole hours; where they are too many, the newest of them."""
        if self._snapshot.state is None or not self._indexed:
            return (), False
        (found, oldest) = self._one(
            "SELECT count(*), min(hour) FROM (SELECT hour FROM affidavit_hourly"
            " WHERE organization = ? AND hour BETWEEN ? AND ? ORDER BY hour DESC LIMIT ?) h",
            (self._organization, first, last, HOURLY),
        )
        if found == HOURLY:
            first = oldest + 1
        tests, parameters = where(narrowed)
        rows = self._snapshot.execute(
            f"SELECT {by}, sum(n)::bigint, coalesce(sum(n) FILTER (WHERE outcome = 'failure'), 0)::bigint"
            f" FROM affidavit_hourly WHERE organization = ? AND hour BETWEEN ? AND ?{tests} GROUP BY {by}",
            (self._organization, first, last, *parameters),
        )
        return rows, found == HOURLY

    def _one(self, statement: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
        return self._snapshot.execute(statement, parameters).fetchone() or ()

    def tail(self, narrowed: Sequence[Expression], first: int, last: int) -> tuple[Iterable[Kinds], bool]:
        """What the hourly counts lack: its newest part, where that is long."""
        part = (first_id(first * HOUR), first_id((last + 1) * HOUR))
        snapshot = self._snapshot
        if not self._indexed:
            rows = self._newest(narrowed, part, LONG_TAIL)
            return rows, len(rows) == LONG_TAIL
        counted = snapshot.state.counted if snapshot.state is not None else 0
        since = max(counted, snapshot.last_seq - LONG_TAIL)
        ids = tail_ids(snapshot, self._organization, since, part)
        tests, parameters = where(narrowed)
        found: list[Kinds] = []
        for some_part, some in by_part(ids[:LONG_TAIL], snapshot.parts(*part)):
            found += snapshot.execute(
                f"SELECT e.* FROM unnest(?::uuid[]) k(id), {looked_up(some_part, tests, _KINDS)}",
                ([*map(uid, some)], self._organization, *parameters),
            ).fetchall()
        return found, since > counted or len(ids) > LONG_TAIL or snapshot.pending == PENDING

    def rows(self, narrowed: Sequence[Expression], low: bytes, high: bytes) -> Iterable[Kinds]:
        """Events of a closed range of ids."""
        return self._newest(narrowed, (low, high + b"\0"), EDGE)

    def _newest(self, narrowed: Sequence[Expression], part: Part, limit: int) -> list[Kinds]:
        tests, parameters = where(narrowed)
        found: list[Kinds] = []
        for each in self._snapshot.parts(*part):
            found += self._snapshot.execute(
                scanned(each, tests, limit - len(found), _KINDS),
                (self._organization, *parameters),
            ).fetchall()
            if len(found) == limit:
                break
        return found
