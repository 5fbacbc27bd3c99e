"""The demonstration: the same for the same seed, in order, valid, and its stories can be found as told."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from affidavit.catalogs import ready_made
from affidavit.core.catalog import check_metadata
from affidavit.core.event import Draft
from affidavit.core.ids import microseconds_of
from affidavit.core.match import matches
from affidavit.core.query import parse_params, parse_search
from affidavit.core.row import StoredEvent
from affidavit.core.times import parse_time
from affidavit.demo import DAYS, ORGANIZATIONS, generate
from affidavit.recorder.intake import Intake, Rights

END = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
SEED = 1
PAGE = Path(__file__).parents[3] / "docs" / "demo.md"
RESERVED_NETWORKS = [
    ipaddress.ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]

Entry = tuple[int, str, Draft]


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    """The demonstration of the page."""
    return list(generate(SEED, END))


@pytest.fixture(scope="module")
def stored(entries: list[Entry]) -> list[StoredEvent]:
    """The same as stored, through the checks that every event goes through."""
    events = []
    now = 0
    intake = Intake(
        lambda _: [],
        clock=lambda: now,
        entropy=bytes,
        catalogs=ready_made,
        organization_secret=lambda _: bytes(32),
    )
    for number, (now, organization, draft) in enumerate(entries):
        (row,) = intake.prepare([draft], organization=organization, rights=Rights(may_set_id=True))
        events.append(StoredEvent(number, (*row.values, now)))
    return events


def test_the_same_seed_and_end_give_the_same_events(entries: list[Entry]) -> None:
    """Events, ids and times repeat exactly; another seed gives others."""
    assert list(generate(SEED, END)) == entries
    assert [entry[2].id for entry in generate(SEED + 1, END, days=1)] != [
        entry[2].id for entry in generate(SEED, END, days=1)
    ]


def test_an_earlier_hour_only_cuts(entries: list[Entry]) -> None:
    """The same last day at another hour gives the same events up to that hour."""
    earlier = list(generate(SEED, END - timedelta(hours=3)))
    assert earlier == entries[: len(earlier)]
    assert 0 < len(entries) - len(earlier) < 1000


def test_size_and_order(entries: list[Entry]) -> None:
    """15,000 to 25,000 events of ninety days, in the order of recording, 5 to 400 ms after they occurred."""
    assert 15_000 <= len(entries) <= 25_000
    times = [entry[0] for entry in entries]
    assert times == sorted(times)
    assert times[-1] <= END.timestamp() * 1e6
    assert (times[-1] - times[0]) / 86_400e6 == pytest.approx(DAYS, abs=1.5)
    for recorded_at, organization, draft in entries:
        occurred_at = parse_time(draft.occurred_at)
        assert 5_000 <= recorded_at - occurred_at <= 400_000
        assert draft.id is not None
        assert microseconds_of(draft.id.bytes) == occurred_at
        assert draft.organization == organization


def test_every_event_is_accepted_and_catalogued(entries: list[Entry], stored: list[StoredEvent]) -> None:
    """Each event passes the checks with no right but to name its id, and follows its catalogued schema."""
    assert len(stored) == len({event.id for event in stored}) == len(entries)
    for _, _, draft in entries:
        event_type = ready_made().event_type(draft.action)
        assert event_type is not None, draft.action
        assert check_metadata(event_type, draft.metadata) == [], draft.action


def test_it_shows_all_five_documents(entries: list[Entry]) -> None:
    """Every kind of actor, source, group and field that the documents speak of occurs."""
    drafts = [entry[2] for entry in entries]
    assert {entry[1] for entry in entries} == {organization.name for organization in ORGANIZATIONS}
    assert {draft.source for draft in drafts} >= {"web", "api", "mcp", "cli", "scheduler", "sso_sync"}
    actors = {draft.actor.type for draft in drafts if draft.actor}
    assert actors >= {"user", "api_token", "service", "agent", "system", "anonymous"}
    groups = {draft.action.partition(".")[0] for draft in drafts}
    assert groups >= {
        "auth",
        "user",
        "role",
        "organization",
        "member",
        "pipeline",
        "connection",
        "api_token",
        "agent",
    }
    assert groups >= {"api", "billing", "application", "project", "resource", "policy", "journey", "secret"}
    assert groups >= {"environment", "runner", "flow"}
    assert {draft.ci.confidence for draft in drafts if draft.ci} == {"token", "declared", "guess"}
    for part in (
        "on_behalf_of",
        "parent_id",
        "changes",
        "request",
        "location",
        "reason",
        "project",
        "session",
    ):
        assert sum(getattr(draft, part) is not None for draft in drafts) > 20, part
    assert any(draft.location is None and draft.ip for draft in drafts), "a place that is Unknown"
    assert all(draft.ip is None for draft in drafts if draft.source == "sso_sync")


def test_nobody_in_it_exists(entries: list[Entry]) -> None:
    """Every address and every domain is reserved for documentation."""
    for _, _, draft in entries:
        for actor in (draft.actor, draft.on_behalf_of):
            if actor is not None and actor.email is not None:
                assert actor.email.endswith(".example")
    addresses = {ipaddress.ip_address(draft.ip) for _, _, draft in entries if draft.ip}
    assert all(any(address in network for network in RESERVED_NETWORKS) for address in addresses)


def test_it_has_the_shape_of_work(entries: list[Entry]) -> None:
    """Weekends are quiet, a few people do most of it, a few actions are most of it, failures are rare."""
    people = [entry for entry in entries if entry[2].source == "web"]
    weekend = [entry for entry in people if datetime.fromtimestamp(entry[0] / 1e6, UTC).weekday() >= 5]
    assert len(weekend) < 0.08 * len(people)
    assert 0.01 < sum(entry[2].outcome == "failure" for entry in entries) / len(entries) < 0.05
    actions = Counter(entry[2].action for entry in entries)
    assert sum(count for _, count in actions.most_common(10)) > 0.5 * len(entries)
    assert len(actions) > 85
    actors = Counter(entry[2].actor.id for entry in people if entry[2].actor)
    top = actors.most_common()
    assert top[0][1] > 3 * top[len(top) // 2][1]


def told() -> list[tuple[str, str, int]]:
    """Organization, search line and number of each line of the page's tables."""
    found, organization = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if opening := re.match(r"`([a-z-]+)`\. ", line):
            organization = opening[1]
        if row := re.match(r"\| (?:`([a-z-]+)` \| )?`(.+)` \| (\d+): ", line):
            found.append((row[1] or organization, row[2], int(row[3])))
    return found


@pytest.mark.parametrize(("organization", "line", "number"), told())
def test_each_story_is_found_as_told(
    stored: list[StoredEvent], organization: str, line: str, number: int
) -> None:
    """Each search line of ``docs/demo.md`` finds as many events as the page says."""
    filter_ = parse_params(parse_search(line))
    found = [event for event in stored if event.organization == organization and matches(filter_, event)]
    assert len(found) == number, [(event.action, event.details) for event in found[:5]]


def test_the_page_tells_every_story() -> None:
    """The page holds at least two lines for each story, so the test above cannot be empty."""
    assert len(told()) > 20


def test_bulk_operations_hang_together(entries: list[Entry]) -> None:
    """Every ``parent_id`` is the id of an earlier event of the same organization."""
    seen: dict[str, set[object]] = {}
    for _, organization, draft in entries:
        assert draft.parent_id is None or draft.parent_id in seen[organization]
        seen.setdefault(organization, set()).add(draft.id)


@pytest.mark.parametrize("days", [1, 7])
def test_fewer_days(days: int) -> None:
    """A short demonstration has the stories that fit, and no event before its first day."""
    first = datetime(2026, 11, 21 - days, tzinfo=UTC).timestamp() * 1e6
    found = list(generate(SEED, END, days=days))
    assert found
    assert found[0][0] >= first
