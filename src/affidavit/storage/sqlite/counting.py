"""Where the counts of one organization stand in SQLite: hourly in the index file, the rest in the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from affidavit.core.ids import first_id
from affidavit.core.times import HOUR
from affidavit.storage.protocols import CountBy
from affidavit.storage.sql.conditions import Expression
from affidavit.storage.sql.counts import EDGE, HOURLY, Kinds
from affidavit.storage.sqlite.readers import Session
from affidavit.storage.sqlite.search import LONG_TAIL

__all__ = ["SqliteCounted"]


class SqliteCounted:
    """See :class:`affidavit.storage.sql.counts.Counted`."""

    def __init__(self, session: Session, organization: str) -> None:
        self._session = session
        self._organization = organization

    def hourly(
        self, narrowed: Sequence[Expression], by: CountBy, first: int, last: int
    ) -> tuple[Iterable[tuple[int | str, int, int]], bool]:
        """The whole hours; where they are too many, the newest of them."""
        session = self._session
        if session.state is None or session.index is None:
            return (), False
        (found, oldest) = session.index.execute(
            "SELECT count(*), min(hour) FROM (SELECT hour FROM affidavit_hourly"
            " WHERE organization = ? AND hour BETWEEN ? AND ? ORDER BY hour DESC LIMIT ?)",
            (self._organization, first, last, HOURLY),
        ).fetchone()
        if found == HOURLY:
            first = oldest + 1
        where, parameters = _where(narrowed)
        rows = session.index.execute(
            f"SELECT {by}, sum(n), sum(n * (outcome = 'failure')) FROM affidavit_hourly"
            f" WHERE organization = ? AND hour BETWEEN ? AND ?{where} GROUP BY {by}",
            [self._organization, first, last, *parameters],
        )
        return rows, found == HOURLY

    def tail(self, narrowed: Sequence[Expression], first: int, last: int) -> tuple[Iterable[Kinds], bool]:
        """What was recorded beyond the watermark: its newest part, where that is long."""
        session = self._session
        where, parameters = _where(narrowed)
        since = max(session.watermark, session.last_seq - LONG_TAIL)
        rows = session.events.execute(
            # NOT INDEXED: with statistics the planner would skip through an index of the whole table.
            "SELECT id, action, outcome, severity FROM affidavit_events NOT INDEXED"
            f" WHERE seq > ? AND +organization = ? AND id >= ? AND id < ?{where}",
            [since, self._organization, first_id(first * HOUR), first_id((last + 1) * HOUR), *parameters],
        )
        return rows, since > session.watermark

    def rows(self, narrowed: Sequence[Expression], low: bytes, high: bytes) -> Iterable[Kinds]:
        """Events of a closed range of ids."""
        where, parameters = _where(narrowed)
        return self._session.events.execute(
            "SELECT id, action, outcome, severity FROM affidavit_events INDEXED BY affidavit_events_id"
            f" WHERE organization = ? AND id BETWEEN ? AND ?{where} ORDER BY id DESC LIMIT ?",
            [self._organization, low, high, *parameters, EDGE],
        )


def _where(narrowed: Sequence[Expression]) -> tuple[str, list[object]]:
    sql = "".join(f" AND {expression.sql}" for expression in narrowed)
    return sql, [p for expression in narrowed for p in expression.parameters]
