"""The PostgreSQL store keeps every role's promises: the suites on the oldest and the newest version."""

from __future__ import annotations

from collections.abc import Iterator

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
from affidavit.testing.postgres import PostgresEngine, empty_database
from tests.postgres import VERSIONS, Server


@pytest.fixture
def clock() -> Clock:
    """The clock that the store reads."""
    return Clock()


@pytest.fixture(scope="session", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each version in turn."""
    found: Server = request.getfixturevalue(f"postgres{request.param}")
    return found


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """An empty database, migrated once for all tests of a server."""
    return empty_database(server)


@pytest.fixture(scope="session")
def user(server: Server, template: str) -> str:
    """Whom the stores connect as: on the newest version the role that ``grants.sql`` makes for the server.

    Before PostgreSQL 17 nobody but the owner may vacuum, which erasure needs.
    """
    if server.version == "15":
        return "postgres"
    with server.connect() as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE app_server LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        connection.execute("GRANT affidavit_server TO app_server")
    return "app_server"


@pytest.fixture
def engine(server: Server, clock: Clock, template: str, user: str) -> Iterator[Engine]:
    """PostgreSQL, in databases of the test's own."""
    made = PostgresEngine(server, clock=clock, template=template, user=user)
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
