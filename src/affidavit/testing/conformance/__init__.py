"""What every storage engine must keep, one suite of tests for each role.

An engine's own test module has a fixture ``engine`` (see :class:`affidavit.testing.engine.Engine`) and a
subclass of each suite for the roles that it implements::

    @pytest.fixture
    def engine(tmp_path, clock):
        made = SqliteEngine(tmp_path, clock=clock)
        yield made
        made.close()

    class TestEventStore(EventStoreSuite): ...

The fixture ``clock`` is a :class:`affidavit.testing.author.Clock`, the one that the engine reads.
"""

from affidavit.testing.conformance.event_index import EventIndexSuite
from affidavit.testing.conformance.event_store import EventStoreSuite
from affidavit.testing.conformance.follower import FollowerSuite
from affidavit.testing.conformance.log import (
    AlarmStoreSuite,
    LogWriterSuite,
    ManifestStoreSuite,
    QueueSuite,
)
from affidavit.testing.conformance.redaction import RedactorSuite
from affidavit.testing.conformance.retention import (
    HoldStoreSuite,
    PastStoreSuite,
    PolicyStoreSuite,
    RangeStoreSuite,
)
from affidavit.testing.conformance.settings import (
    CatalogStoreSuite,
    LoginStoreSuite,
    OrganizationStoreSuite,
    SessionStoreSuite,
    TokenStoreSuite,
)
from affidavit.testing.conformance.tasks import TaskStoreSuite

__all__ = [
    "AlarmStoreSuite",
    "CatalogStoreSuite",
    "EventIndexSuite",
    "EventStoreSuite",
    "FollowerSuite",
    "HoldStoreSuite",
    "LogWriterSuite",
    "LoginStoreSuite",
    "ManifestStoreSuite",
    "OrganizationStoreSuite",
    "PastStoreSuite",
    "PolicyStoreSuite",
    "QueueSuite",
    "RangeStoreSuite",
    "RedactorSuite",
    "SessionStoreSuite",
    "TaskStoreSuite",
    "TokenStoreSuite",
]
