"""Which events readers call expired: those past a policy that a recorded run has applied, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.core.leaf import LEAF_GROUPS
from affidavit.core.row import StoredEvent
from affidavit.core.times import DAY
from affidavit.log.expiry import Expiries
from affidavit.storage.redaction import Redaction
from tests.evidence import Evidence


@pytest.fixture(params=["sqlite", "postgres"])
def evidence(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Evidence]:
    """An empty store with its log."""
    server = None if request.param == "sqlite" else request.getfixturevalue("postgres")
    made = Evidence(tmp_path, server)
    yield made
    made.close()


def empty(evidence: Evidence, event: StoredEvent, *groups: str) -> None:
    """Take values away."""
    redactor = evidence.stores.redactor()
    redactor.redact("expiry", "run", [Redaction(event.organization, event.id, groups or LEAF_GROUPS)])
    redactor.close()


def expired(evidence: Evidence, *events: StoredEvent) -> list[bool]:
    """What a reader that starts now says of these events."""
    found = [evidence.stores.events.fetch(event.organization, [event.id])[0] for event in events]
    Expiries(evidence.stores.index).mark(found)
    return [event.expired for event in found]


def test_only_what_was_past_the_policy_has_expired(evidence: Evidence) -> None:
    """Too young, of another class, with a value left, or before any run: erased."""
    old, other = evidence.record(2, action="auth.login.succeed")[0], evidence.record(action="user.create")[0]
    partly = evidence.record(action="auth.login.succeed")[0]
    evidence.clock.forward(30 * DAY)
    young = evidence.record(action="auth.login.succeed")[0]
    for event in (old, other, young):
        empty(evidence, event)
    empty(evidence, partly, "actor")
    assert expired(evidence, old, other, young, partly) == [False] * 4
    evidence.ours("audit.retention.expired", facts={"policy": "auth.*=30"})
    assert expired(evidence, old, other, young, partly) == [True, False, False, False]


def test_a_policy_that_became_longer_does_not_change_the_past(evidence: Evidence) -> None:
    """What expired under ninety days stays expired when the policy later says for ever."""
    (event,) = evidence.record(action="auth.login.succeed")
    evidence.clock.forward(91 * DAY)
    evidence.ours("audit.retention.expired", facts={"policy": "auth.*=90"})
    empty(evidence, event)
    evidence.ours("audit.retention.expired", facts={"policy": "auth.*=forever"})
    assert expired(evidence, event) == [True]


def test_a_run_of_another_organization_explains_nothing(evidence: Evidence) -> None:
    """Each has its own policies."""
    (event,) = evidence.record(action="auth.login.succeed")
    evidence.clock.forward(91 * DAY)
    empty(evidence, event)
    evidence.ours("audit.retention.expired", "other", facts={"policy": "*=1"})
    assert expired(evidence, event) == [False]


def test_a_run_is_seen_by_a_reader_that_had_looked_before(evidence: Evidence) -> None:
    """Within seconds, from the runs since its last look; a broken policy explains nothing."""
    now = 0.0
    expiries = Expiries(evidence.stores.index, lambda: now)
    (event,) = evidence.record(action="auth.login.succeed")
    evidence.clock.forward(91 * DAY)
    empty(evidence, event)

    def seen() -> bool:
        (found,) = evidence.stores.events.fetch("acme", [event.id])
        expiries.mark([found])
        return bool(found.expired)

    assert not seen()
    evidence.ours("audit.retention.expired", facts={"policy": "auth.*=ninety"})
    evidence.ours("audit.retention.expired", facts={"policy": "auth.*=90"})
    assert not seen()
    now += 6
    assert seen()
    evidence.ours("audit.retention.expired", facts={"policy": "auth.*=forever"})
    now += 6
    assert seen()
