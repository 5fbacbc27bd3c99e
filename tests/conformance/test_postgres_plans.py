"""The work of an answer does not grow with the table on PostgreSQL: 200,000 skewed rows in their months.

Every statement that a question leads to is explained while it runs, with the parameters and the settings that
it was run with: what it scans, how many rows it takes up, and which partitions it opens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import psycopg
import pytest

from affidavit.core.cursor import Order, Position
from affidavit.core.query import parse_params
from affidavit.storage.postgres.connect import Address, Session, written
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.postgres.index import PostgresIndex
from affidavit.storage.protocols import Found
from affidavit.storage.sql.counts import EDGE
from affidavit.testing.postgres import PostgresEngine
from tests.conformance import crowd, postgres_crowd
from tests.conformance.test_plans import BOUNDED, COUNTED, QUESTIONS, SMALL
from tests.postgres import Server, Version

TAIL = 4_000
"""Events at least that the index lacks: half of them have no place either."""
FEW_ROWS, TAIL_ROWS = 3_000, 30_000
"""Rows of a page that its scans take up: from indexes alone; with a look at the tail."""
WINDOW_ROWS = 70_000
"""Rows of one statement that looks at rows until the time is over. The table has 200,000."""
SORTED = 20_000
"""Ids at most that are put in order: of up to 256 values, each as many as are asked for."""


class Ran(NamedTuple):
    """A statement as it was run: what it took, and the plan with what each part did."""

    sql: str
    plan: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every part of the plan that ran."""
        waiting = [self.plan]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", [])
            if node["Actual Loops"]:
                yield node

    def scans(self) -> Iterator[dict[str, Any]]:
        """Those that read a table."""
        return (node for node in self.nodes() if "Relation Name" in node)

    def taken_up(self) -> int:
        """Rows that the scans read, whether they were of use or not."""
        return sum(
            round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
            for node in self.scans()
        )


SMALL_TABLES = {"affidavit_index", "affidavit_position", "affidavit_partitioning", "affidavit_months"}
"""One row each, or one for each month: read whole."""


class Watch:
    """Explains statements as they are run.

    Attributes:
        ran: the statements since the last :meth:`reset`.
        generic: whether each is prepared and planned without knowing its parameters.
    """

    def __init__(self) -> None:
        self.ran: list[Ran] = []
        self.generic = False

    def reset(self) -> None:
        """Forget."""
        self.ran.clear()

    def execute(self, session: Session, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """In the place of :meth:`Session.execute`."""
        text = written(statement, session.address.schema)
        cursor = session.connection.cursor(binary=True)
        if statement.lstrip().startswith(("SELECT", "WITH", "(SELECT")):
            self.ran.append(Ran(statement, self._explained(session, text, parameters)))
        return cursor.execute(text, parameters)

    def _explained(self, session: Session, text: bytes, parameters: Sequence[Any]) -> dict[str, Any]:
        cursor = psycopg.ClientCursor(session.connection)
        asked = text.decode()
        if self.generic:
            for number in range(len(parameters)):
                asked = asked.replace("%s", f"${number + 1}", 1)
            cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            cursor.execute(f"PREPARE asked AS {asked.replace('%%', '%')}".encode())
            asked = f"EXECUTE asked({', '.join(['%s'] * len(parameters))})" if parameters else "EXECUTE asked"
        explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {asked}".encode()
        (found,) = cursor.execute(explain, parameters or None).fetchone() or ({},)
        if self.generic:
            cursor.execute("DEALLOCATE asked")
        plan: dict[str, Any] = found[0]["Plan"]
        return plan


@dataclass(frozen=True)
class Log:
    """The table, opened under watch."""

    index: PostgresIndex
    watch: Watch

    def page(
        self,
        pairs: list[tuple[str, str]],
        order: Order = "desc",
        *,
        start: Position | None = None,
        seconds: float | None = None,
    ) -> Found:
        """One page, everything before it forgotten. Without a time it goes on until it is full."""
        self.watch.reset()
        return self.index.page(
            (crowd.BIG,), parse_params(pairs), start or Position(order), limit=50, seconds=seconds
        )


@contextmanager
def opened(url: str) -> Iterator[Log]:
    """A reader of the table."""
    watch = Watch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Session,
            "execute",
            lambda session, statement, parameters=(): watch.execute(session, statement, parameters),
        )
        database = PostgresDatabase(Address(url), pool=1)
        yield Log(PostgresIndex(database), watch)
        database.close()


@pytest.fixture(scope="module")
def tables(request: pytest.FixtureRequest) -> Iterator[Callable[[Version], str]]:
    """The table on a version, made when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def made(version: Version) -> str:
            server: Server = request.getfixturevalue(f"postgres{version}")
            engine = PostgresEngine(server, clock=lambda: 0)
            stack.callback(engine.close)
            url = engine.create()
            with psycopg.connect(url, autocommit=True) as connection:
                # No statistics but what the tests gather.
                connection.execute(f"ALTER DATABASE {connection.info.dbname} SET track_counts = off")
            postgres_crowd.index(url, postgres_crowd.fill(url, pending=TAIL // 2) - TAIL // 2)
            return url

        yield made


@pytest.fixture(
    scope="module",
    params=[pytest.param("15 without statistics", marks=pytest.mark.soak), "15 prepared", "18 prepared"],
)
def log(request: pytest.FixtureRequest, tables: Callable[[Version], str]) -> Iterator[Log]:
    """The table as it is, the parameters known to the planner; after ANALYZE, prepared, and not known."""
    version, _, state = request.param.partition(" ")
    url = tables(version)
    if state == "prepared":
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ANALYZE")
    with opened(url) as made:
        made.watch.generic = state == "prepared"
        yield made


def faults(ran: Ran) -> list[str]:
    """What is wrong with how a statement was run."""
    found = []
    for node in ran.nodes():
        table = node.get("Relation Name", "")
        if node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan") and table not in SMALL_TABLES:
            found.append(f"reads {table} by {node['Node Type']}")
        if table.endswith("_default"):
            found.append(f"looks at {table}, which is empty")
        if node["Node Type"] in ("Sort", "Incremental Sort") and rows_into(node) > SORTED:
            found.append(f"sorts {rows_into(node)} rows")
        if node["Node Type"] in ("Hash", "Hash Join", "Merge Join"):
            found.append(f"makes a {node['Node Type']}")
    return [f"{fault}: {ran.sql}" for fault in found]


def rows_into(node: dict[str, Any]) -> int:
    """Rows that a part of a plan gets from the part below it."""
    below = node["Plans"][0]
    rows: int = round(below["Actual Rows"] * below["Actual Loops"])
    return rows


KINDS = {
    "actor_id": "actor",
    "action_id": "action",
    "severity_id": "severity",
    "idx1": "failure",
    "idx": "id",
}
"""The indexes of a month, by what is in the names that PostgreSQL gives them."""


ALMOST_EMPTY = "affidavit_events_202510"
"""A month of a few late events, for which one index is as good as another."""


def indexes(ran: Sequence[Ran]) -> set[str]:
    """``actor``, ``action``, ``failure``, ``severity`` and ``id`` of the events, ``terms`` and ``emails``."""
    used = set()
    for one in ran:
        for node in one.scans():
            table, name = node["Relation Name"], node.get("Index Name", "")
            if table == ALMOST_EMPTY:
                continue
            if table.startswith("affidavit_events"):
                used.add(next(kind for part, kind in KINDS.items() if part in name))
            elif table.startswith(("affidavit_terms", "affidavit_emails")):
                used.add(table.split("_")[1])
    return used


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_page_is_answered_from_its_indexes(log: Log, name: str) -> None:
    """No table is read whole or through a bitmap, nothing is hashed, what is sorted is bounded; few rows."""
    asked = QUESTIONS[name]
    bounded = asked.steps >= BOUNDED
    found = log.page(asked.pairs, seconds=0.0 if bounded else None)
    assert [fault for ran in log.watch.ran for fault in faults(ran)] == []
    assert indexes(log.watch.ran) <= asked.indexes | {"id"}
    if bounded:
        assert max(ran.taken_up() for ran in log.watch.ran) <= WINDOW_ROWS
        assert found.position is not None
    else:
        with_tail = bool(asked.indexes & {"terms", "emails"}) or asked.steps > 2 * SMALL
        most = TAIL_ROWS if with_tail else FEW_ROWS
        assert sum(ran.taken_up() for ran in log.watch.ran) <= most
        assert len(found.events) == 50 or found.position is None


@pytest.mark.parametrize("name", ["everything", "a rare actor", "a prefix of actions", "critical", "a text"])
def test_a_page_in_recording_order_looks_at_so_many_places(log: Log, name: str) -> None:
    """By place alone, a window at a time."""
    log.page(QUESTIONS[name].pairs, "asc", seconds=0.0)
    assert [fault for ran in log.watch.ran for fault in faults(ran)] == []
    assert indexes(log.watch.ran) <= {"id"}
    assert sum(ran.taken_up() for ran in log.watch.ran) <= FEW_ROWS


def test_only_the_months_concerned_are_opened(log: Log) -> None:
    """A day long ago; the newest page; a walk that goes from one month into the one before."""
    log.page([("start_date", "2025-11-20"), ("end_date", "2025-11-20"), ("actor", crowd.HOT_ACTOR)])
    assert months(log.watch.ran) == {"202511"}
    log.page([("actor", crowd.RARE_ACTOR), ("start_date", "2025-12-01")])
    assert "202511" not in months(log.watch.ran)
    log.page([("action", "user.*"), ("start_date", "2025-11-10"), ("end_date", "2025-11-12")])
    assert months(log.watch.ran) == {"202511"}


def months(ran: Sequence[Ran]) -> set[str]:
    """The months of all partitions that were looked into."""
    names = {node["Relation Name"] for one in ran for node in one.scans()}
    return {name[-6:] for name in names if name.startswith(("affidavit_events_", "affidavit_terms_"))}


@pytest.mark.parametrize("pairs", [[], [("actor", crowd.HOT_ACTOR)], [("outcome", "failure")]], ids=str)
def test_a_late_page_costs_what_an_early_one_costs(log: Log, pairs: list[tuple[str, str]]) -> None:
    """There is no OFFSET: a position leads right to where the page before ended."""
    found = log.page(pairs)
    first = worst = sum(ran.taken_up() for ran in log.watch.ran)
    for _ in range(40):
        assert found.position is not None
        assert len(found.events) == 50
        found = log.page(pairs, start=found.position)
        worst = max(worst, sum(ran.taken_up() for ran in log.watch.ran))
    assert worst <= 2 * first + 1_000


@pytest.mark.parametrize("name", COUNTED)
def test_counts_read_no_events_but_the_newest(log: Log, name: str) -> None:
    """Hourly counts, and what they lack."""
    filter_ = parse_params(COUNTED[name])
    if any(condition.field not in ("outcome", "action") for condition in filter_.conditions):
        return
    log.watch.reset()
    counted = log.index.counts((crowd.BIG,), filter_, "hour")
    assert [fault for ran in log.watch.ran for fault in faults(ran)] == []
    events = [node for ran in log.watch.ran for node in ran.scans() if "events" in node["Relation Name"]]
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in events) <= 3 * TAIL + EDGE
    assert sum(row.events for row in counted.rows) > 0


def test_the_check_notices_each_fault(log: Log) -> None:
    """It can fail: a scan, a sort, a look at the default partition."""
    with log.index._snapshots.open() as snapshot:
        snapshot.session.connection.execute("SET LOCAL enable_seqscan = on")
        for sql, fault in (
            ("SELECT count(*) FROM affidavit_events WHERE details LIKE '%no such%'", "reads"),
            ("SELECT id FROM affidavit_events ORDER BY recorded_at", "sorts"),
            ("SELECT id FROM affidavit_events_default", "looks at"),
        ):
            log.watch.reset()
            snapshot.execute(sql)
            assert any(fault in one for ran in log.watch.ran for one in faults(ran)), sql
