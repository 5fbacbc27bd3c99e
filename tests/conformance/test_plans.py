"""The work of an answer does not grow with the table: plans and steps on 200,000 skewed rows.

Every statement that a question leads to is explained by the planner with the parameters that it was run with,
with and without statistics; and what a page costs is counted in steps of SQLite's machine, not in time.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from affidavit.access.ciphers import TokenCipher
from affidavit.core.cursor import Order
from affidavit.core.query import parse_params
from affidavit.log.reader import Page, Reader
from affidavit.storage.sqlite.database import SqliteDatabase
from affidavit.storage.sqlite.follower import BATCH, IndexFollower
from affidavit.testing.sqlite import empty_database
from tests.conformance import crowd
from tests.conformance.watched import Asked, Watch, watched

TAIL = 10_000
"""Events at least that the index lacks while the questions are asked."""

SMALL, TAILED, BOUNDED = 20_000, 120_000, 500_000
"""Steps of a page: from an index alone; with a look at the tail, for each value; until its time is over.

A scan of the table would take three million steps and more."""


class Question(NamedTuple):
    """Filters, the indexes that must answer them, and what a page may cost."""

    pairs: list[tuple[str, str]]
    indexes: set[str]
    steps: int


def question(indexes: str, steps: int, *pairs: str) -> Question:
    """``question("id", SMALL, "actor=ana")``."""
    named = [(pair.partition("=")[0], pair.partition("=")[2]) for pair in pairs]
    return Question(named, set(indexes.split()), steps)


QUESTIONS = {
    "everything": question("id", SMALL),
    "a day": question("id", SMALL, "start_date=2025-11-20", "end_date=2025-11-20"),
    "a hot actor": question("actor terms emails id", TAILED, f"actor={crowd.HOT_ACTOR}"),
    "a rare actor": question("actor terms emails id", 2 * TAILED, f"actor={crowd.RARE_ACTOR}"),
    "three actors": question(
        "actor terms emails id", 3 * TAILED, "actor=u-hot", "actor=u-rare", "actor=u-55"
    ),
    "an address of mail": question("actor terms emails id", 2 * TAILED, f"actor={crowd.HOT_EMAIL}"),
    "on behalf of": question("terms emails id", TAILED, "on_behalf_of=u-7"),
    "an action": question("action id", SMALL, "action=secret.rotate"),
    "a prefix of actions": question("action id", 2 * SMALL, "action=api.*"),
    "an action group": question("action id", SMALL, "action_group=user"),
    "failure": question("failure id", SMALL, "outcome=failure"),
    "not success": question("failure id", SMALL, "not_outcome=success"),
    "critical": question("severity id", SMALL, "severity=critical"),
    "above info": question("severity id", SMALL, "not_severity=info"),
    "a hot address": question("terms id", TAILED, f"ip={crowd.HOT_IP}"),
    "a rare address": question("terms id", TAILED, f"ip={crowd.RARE_IP}"),
    "a range of 256 addresses": question("terms id", TAILED, "ip=10.2.3.0/24"),
    "a range of 65,536 addresses": question("id", TAILED, "ip=10.2.0.0/16"),
    "a range without an event": question("id", BOUNDED, "ip=11.2.0.0/16"),
    "a hot resource": question("terms id", TAILED, f"resource={crowd.HOT_RESOURCE}"),
    "a rare resource": question("terms id", TAILED, f"resource={crowd.RARE_RESOURCE}"),
    "a resource by name": question("terms id", TAILED, f"resource=name of {crowd.RARE_RESOURCE}"),
    "a type that all have": question("terms id", TAILED, "resource_type=table"),
    "a token": question("terms id", TAILED, "token=token 7"),
    "a session": question("terms id", TAILED, "session=s-77"),
    "a trace": question("terms", TAILED, f"trace_id={77:032x}"),
    "actor and failure": question(
        "actor terms emails failure id", 2 * TAILED, "actor=u-hot", "outcome=failure"
    ),
    "rare actor and failure": question(
        "actor terms emails failure", 2 * TAILED, "actor=u-rare", "outcome=failure"
    ),
    "actor and resource": question("actor terms emails id", 3 * TAILED, "actor=u-hot", "resource=r-hot"),
    "hot actor and rare resource": question(
        "actor terms emails", 4 * TAILED, "actor=u-hot", "resource=r-rare"
    ),
    "actions and address": question("action terms id", 2 * TAILED, "action=api.*", f"ip={crowd.HOT_IP}"),
    "actor but not action": question(
        "actor terms emails id", 2 * TAILED, "actor=u-hot", "not_action=page.read"
    ),
    "actor and text": question("actor terms emails id", BOUNDED, "actor=u-hot", "q=note 77 "),
    "a text": question("id", BOUNDED, "q=note 77 "),
    "a text that is nowhere": question("id", BOUNDED, "q=no such text"),
    "a source": question("id", SMALL, "source=cli"),
    "a project": question("id", TAILED, "project=warehouse"),
    "a rare country": question("id", BOUNDED, "country_code=VN"),
    "late": question("id", BOUNDED, "late=true"),
    "imported, which none is": question("id", BOUNDED, "imported=true"),
    "all but one actor": question("id", SMALL, "not_actor=u-hot"),
    "all but one resource": question("id", SMALL, "not_resource=r-hot"),
    "a resource long ago": question("terms id", TAILED, "resource=r-hot", "end_date=2025-11-20"),
}
ORDERS: tuple[Order, ...] = ("desc", "asc")


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred thousand rows, all but the last ten thousand in the index."""
    path = tmp_path_factory.mktemp("crowd") / "a.db"
    empty_database(path)
    crowd.fill(path)
    follower = IndexFollower(path, path.with_name("a-index.db"))
    taken = 0
    while taken + BATCH <= crowd.EVENTS - TAIL:
        taken += follower.step()
        while follower.tidy():
            pass
    follower.close()
    return path


class Log(NamedTuple):
    """The table, opened under watch."""

    reader: Reader
    database: SqliteDatabase
    watch: Watch

    def page(self, pairs: list[tuple[str, str]], order: Order = "desc", token: str | None = None) -> Page:
        """One page, everything before it forgotten."""
        self.watch.reset()
        return self.reader.page((crowd.BIG,), parse_params(pairs), order=order, token=token)


def opened(path: Path, index: Path | None, watch: Watch) -> Log:
    """A reader of the table."""
    database = SqliteDatabase(path, index, clock=lambda: 0)
    cipher = TokenCipher(b"k" * 32, lambda n: b"n" * n)
    return Log(Reader(database.events, database.index, database.log, cipher), database, watch)


@pytest.fixture(scope="module", params=["no statistics", "statistics"])
def log(request: pytest.FixtureRequest, table: Path) -> Iterator[Log]:
    """The table as it is, and after ANALYZE."""
    connection = sqlite3.connect(table)
    connection.execute("ANALYZE")
    if request.param == "no statistics":
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'"
        ).fetchall():
            connection.execute(f"DROP TABLE {name}")
    connection.commit()
    connection.close()
    with watched() as watch:
        made = opened(table, None, watch)
        yield made
        made.database.close()


@pytest.fixture
def unindexed(log: Log, table: Path) -> Iterator[Log]:
    """The same table while its index is gone."""
    made = opened(table, table.with_name("no-such-index.db"), log.watch)
    yield made
    made.database.close()


SMALL_TABLES = {"affidavit_index", "affidavit_runs"}
"""One row, and one for each run: read whole."""


def faults(asked: Asked) -> list[str]:
    """What is wrong with the plan of a statement."""
    found = []
    for line in asked.plan():
        scanned = re.match(r"SCAN (affidavit_\w+)", line)
        if scanned and scanned[1] not in SMALL_TABLES:
            found.append(f"reads all of {scanned[1]}")
        if "ANY(" in line:
            found.append("skips through an index whose first column is unknown")
        # What is sorted is bounded by a LIMIT of its own: an arm of a union, or the few runs.
        bounded = re.search(r"LIMIT \?\)", asked.sql) or "FROM affidavit_runs" in asked.sql
        if "TEMP B-TREE" in line and "ORDER BY" in line and not bounded:
            found.append("sorts what is not bounded")
        if "AUTOMATIC" in line:
            found.append("builds an index for one question")
    return [f"{fault}: {asked.sql}" for fault in found]


def indexes(asked: list[Asked]) -> set[str]:
    """The indexes of events that were used, and ``terms`` and ``emails`` of the index file."""
    used = set()
    for one in asked:
        for line in one.plan():
            if named := re.search(r"INDEX affidavit_events_(\w+)", line):
                used.add(named[1])
            elif (table := re.search(r"SEARCH affidavit_(terms|emails) USING PRIMARY KEY", line)) is not None:
                used.add(table[1])
    return used


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_page_is_answered_from_its_indexes(log: Log, name: str, order: Order) -> None:
    """No statement reads a table whole, none sorts without a bound; the indexes are those that are meant."""
    asked_for = QUESTIONS[name]
    log.page(asked_for.pairs, order)
    asked = list(log.watch.asked)
    assert [fault for one in asked for fault in faults(one)] == []
    if order == "desc":
        assert indexes(asked) == asked_for.indexes
    else:
        assert indexes(asked) == set(), "recording order is read by place alone"


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_work_of_a_page_is_bounded(log: Log, name: str) -> None:
    """Hot or rare, one filter or two, found or not; a page that stops early has a token."""
    asked_for = QUESTIONS[name]
    page = log.page(asked_for.pairs)
    assert log.watch.steps <= asked_for.steps
    assert len(page.events) == 50 or page.continuation_token is not None or asked_for.steps < BOUNDED
    recorded = log.page(asked_for.pairs, "asc")
    assert log.watch.steps <= BOUNDED
    assert recorded.continuation_token is not None


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_work_of_a_page_is_bounded_while_the_index_is_gone(unindexed: Log, name: str) -> None:
    """What the table's own indexes answer costs the same, the rest comes short, with a token."""
    asked_for = QUESTIONS[name]
    page = unindexed.page(asked_for.pairs)
    without = not asked_for.indexes & {"terms", "emails"}
    assert unindexed.watch.steps <= (asked_for.steps if without else BOUNDED)
    assert page.events or page.continuation_token is not None or name == "rare actor and failure"
    assert [fault for one in list(unindexed.watch.asked) for fault in faults(one)] == []
    assert indexes(unindexed.watch.asked) <= {"id", "action", "failure", "severity"}


@pytest.mark.parametrize("pairs", [[], [("actor", crowd.HOT_ACTOR)], [("outcome", "failure")]], ids=str)
def test_the_thousandth_page_costs_what_the_first_costs(log: Log, pairs: list[tuple[str, str]]) -> None:
    """There is no OFFSET: a token leads right to where the page before ended."""
    pages = 1_000 if not pairs else 30
    page = log.page(pairs)
    first, token = log.watch.steps, page.continuation_token
    worst = 0
    for _ in range(pages - 1):
        assert token is not None
        page = log.page(pairs, token=token)
        token = page.continuation_token
        assert len(page.events) == 50
        worst = max(worst, log.watch.steps)
    assert worst <= 1.5 * first + 1_000


def test_a_walk_that_finds_nothing_comes_to_an_end_in_bounded_pages(log: Log) -> None:
    """A text that is nowhere: empty pages with tokens, each bounded, until the oldest event."""
    pages, token = 0, None
    while True:
        page = log.page([("q", "no such text")], token=token)
        pages += 1
        assert page.events == []
        assert log.watch.steps <= BOUNDED
        token = page.continuation_token
        if token is None:
            break
    assert 2 <= pages <= 60


MANY_HOURS = 3_000_000
"""Steps to add up as many hourly counts as one answer may read."""

COUNTED = {
    "everything": [],
    "failure": [("outcome", "failure")],
    "a prefix": [("action", "api.*")],
    "an action": [("action", "secret.rotate")],
    "three months": [("start_date", "2025-10-01"), ("end_date", "2025-12-31")],
    "part of an hour": [("start_date", "2025-11-20T10:10:00Z"), ("end_date", "2025-11-20T10:40:00Z")],
    "an odd range": [("start_date", "2025-11-20T10:10:00Z"), ("end_date", "2025-12-20T10:40:00Z")],
    "an actor": [("actor", crowd.HOT_ACTOR)],
    "a text": [("q", "no such text")],
}


@pytest.mark.parametrize("name", COUNTED)
def test_counts_read_no_events_but_the_newest(log: Log, name: str) -> None:
    """Histogram and facets: hourly counts and the tail, or the newest events that fit into the bound."""
    filter_ = parse_params(COUNTED[name])
    log.watch.reset()
    log.reader.histogram((crowd.BIG,), filter_)
    log.reader.facets((crowd.BIG,), filter_)
    asked = list(log.watch.asked)
    assert [fault for one in asked for fault in faults(one)] == []
    # Four counts, each of at most 150,000 hourly rows, and the newest events.
    assert log.watch.steps <= 4 * MANY_HOURS + 2 * BOUNDED


def test_all_organizations_are_listed_by_a_few_looks(log: Log) -> None:
    """Three names among two hundred thousand rows."""
    log.watch.reset()
    assert log.reader.organizations() == [crowd.BIG, crowd.MIDDLE, crowd.SMALL]
    assert log.watch.steps <= 1_000
    assert [fault for one in list(log.watch.asked) for fault in faults(one)] == []


def test_the_check_notices_each_fault(log: Log) -> None:
    """It can fail: a full scan, a sort, a skip through an index."""
    with log.database.readers.session() as session:
        named = {
            "reads all": "SELECT details FROM affidavit_events WHERE details LIKE ?",
            "sorts": "SELECT id FROM affidavit_events WHERE seq > ? ORDER BY recorded_at",
            "reads all of affidavit_events": "SELECT count(*) FROM affidavit_events WHERE details = ?",
        }
        for fault, sql in named.items():
            assert any(one.startswith(fault) for one in faults(Asked(session.events, sql, ("x",)))), fault
