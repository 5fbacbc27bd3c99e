"""The SQLite store keeps every role's promises: the conformance suites on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.testing.author import Clock
from affidavit.testing.conformance import (
    AlarmStoreSuite,
    CatalogStoreSuite,
    EventIndexSuite,
    EventStoreSuite,
    FollowerSuite,
    HoldStoreSuite,
    LoginStoreSuite,
    LogWriterSuite,
    ManifestStoreSuite,
    OrganizationStoreSuite,
    PastStoreSuite,
    PolicyStoreSuite,
    QueueSuite,
    RangeStoreSuite,
    RedactorSuite,
    SessionStoreSuite,
    TaskStoreSuite,
    TokenStoreSuite,
)
from affidavit.testing.engine import Engine
from affidavit.testing.sqlite import SqliteEngine, empty_database


@pytest.fixture
def clock() -> Clock:
    """The clock that the store reads."""
    return Clock()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty database, migrated once for all tests."""
    return empty_database(tmp_path_factory.mktemp("template") / "empty.db")


@pytest.fixture
def engine(tmp_path: Path, clock: Clock, template: bytes) -> Iterator[Engine]:
    """SQLite, in a folder of the test's own."""
    made = SqliteEngine(tmp_path, clock=clock, template=template)
    yield made
    made.close()


class TestEventStore(EventStoreSuite):
    pass


class TestEventIndex(EventIndexSuite):
    pass


class TestFollower(FollowerSuite):
    pass


class TestQueue(QueueSuite):
    pass


class TestLogWriter(LogWriterSuite):
    pass


class TestManifestStore(ManifestStoreSuite):
    pass


class TestAlarmStore(AlarmStoreSuite):
    pass


class TestOrganizationStore(OrganizationStoreSuite):
    pass


class TestPolicyStore(PolicyStoreSuite):
    pass


class TestHoldStore(HoldStoreSuite):
    pass


class TestPastStore(PastStoreSuite):
    pass


class TestRangeStore(RangeStoreSuite):
    pass


class TestTokenStore(TokenStoreSuite):
    pass


class TestLoginStore(LoginStoreSuite):
    pass


class TestSessionStore(SessionStoreSuite):
    pass


class TestCatalogStore(CatalogStoreSuite):
    pass


class TestTaskStore(TaskStoreSuite):
    pass


class TestRedactor(RedactorSuite):
    pass
