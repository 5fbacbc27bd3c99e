"""Counts stop at their bounds and say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.core.credentials import ALL
from affidavit.core.filter import Filter
from affidavit.core.times import HOUR
from affidavit.storage.protocols import CountBy
from affidavit.storage.sqlite import counting
from affidavit.testing.author import NOW, Author, Clock
from affidavit.testing.sqlite import SqliteEngine, SqliteStores

HOURS = 12


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[SqliteStores]:
    """Twelve hours with an event of two actions each, all in the index."""
    clock = Clock()
    engine = SqliteEngine(tmp_path, clock=clock)
    stores = engine.open(engine.create())
    author = Author(clock)
    for hour in range(HOURS):
        stores.events.insert([author.row(action, occurred_at=NOW - hour * HOUR) for action in ("a.b", "a.c")])
    follower = stores.follower()
    follower.step()
    follower.close()
    yield stores
    engine.close()


@pytest.mark.parametrize("by", ["hour", "action"])
def test_more_hourly_counts_than_the_bound_read_at_least(
    stores: SqliteStores, monkeypatch: pytest.MonkeyPatch, by: CountBy
) -> None:
    """The newest hours count whole, older ones not at all; below the bound everything counts."""
    whole = stores.index.counts(ALL, Filter(), by)
    assert (sum(row.events for row in whole.rows), whole.at_least) == (2 * HOURS, False)
    monkeypatch.setattr(counting, "HOURLY", 7)
    newest = stores.index.counts(ALL, Filter(), by)
    assert newest.at_least
    assert sum(row.events for row in newest.rows) == 6
    if by == "hour":
        assert {int(row.key) for row in newest.rows} == {NOW // HOUR - hour for hour in range(3)}


def test_a_long_tail_reads_at_least(stores: SqliteStores, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the index is gone, the newest events alone are counted."""
    stores.lose_index()
    assert not stores.index.counts(ALL, Filter(), "action").at_least
    monkeypatch.setattr(counting, "LONG_TAIL", 5)
    newest = stores.index.counts(ALL, Filter(), "action")
    assert newest.at_least
    assert sum(row.events for row in newest.rows) == 5
