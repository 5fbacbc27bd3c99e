"""What a row and the page of an event show, from the stored event alone."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.core.event import (
    CI,
    Actor,
    Change,
    Draft,
    Location,
    Request,
    Resource,
    Session,
)
from affidavit.web.ui.detail import delay, present_detail
from affidavit.web.ui.present import present_row
from tests.unit.web.ui.memory import NOW, stored

ANA = Actor(type="user", id="usr_1", name="Ana Ferreira", email="ana@acme.example")


def title(action: str) -> str:
    """Stands for the catalogs."""
    return f"Title of {action}"


def row(**fields: Any) -> Any:
    """The row of an event with these fields."""
    columns = fields.pop("columns", {})
    draft = Draft(**{"action": "user.create", "actor": ANA, **fields})
    return present_row(stored(draft, **columns), title)


def test_a_person_in_a_browser() -> None:
    """Name, e-mail, coloured source, browser and system, city, region and address."""
    shown = row(
        source="web",
        session=Session(type="web", id="ses_1"),
        client="Chrome on macOS",
        ip="203.0.113.7",
        location=Location(city="Lisbon", region="Lisbon District", country="Portugal"),
        resources=(Resource(type="user", id="12345678-aaaa-bbbb", name="Eve"), Resource(type="team", id="7")),
        project="checkout",
    )
    assert (shown.actor.name, shown.actor.aside, shown.actor.kind) == ("Ana Ferreira", "ana@acme.example", "")
    assert (shown.source.kind, shown.source.words) == ("web", "web")
    assert shown.origin == "Chrome on macOS"
    assert (shown.place.words, shown.place.ip) == ("Lisbon, Lisbon District", "203.0.113.7")
    assert (shown.resource.type, shown.resource.short, shown.resource.name) == ("user", "12345678", "Eve")
    assert (shown.more, shown.project) == (1, "checkout")
    assert (shown.title, shown.action) == ("Title of user.create", "user.create")
    assert (shown.moment.day, shown.moment.clock) == ("21 Nov 2026", "05:29:42")
    assert shown.moment.exact == "2026-11-21T05:29:42.000000Z"
    assert shown.marks == ()


def test_a_token_in_a_pipeline() -> None:
    """``Automated`` with the token's name, and the CI platform in place of a city."""
    shown = row(
        source="api",
        session=Session(type="api_token", token_id="tok_1", token_name="deploy"),
        ci=CI(platform="github_actions", confidence="token"),
        ip="198.51.100.4",
    )
    assert shown.origin == "Automated · API token deploy"
    assert (shown.source.kind, shown.source.words) == ("api", "api")
    assert (shown.place.words, shown.place.known, shown.place.ip) == ("GitHub Actions", True, "198.51.100.4")


def test_an_agent_for_a_person() -> None:
    """The agent, for whom it acted, its OAuth2 client, the colour of MCP."""
    shown = row(
        actor=Actor(type="agent", id="agt_1", name="Copilot"),
        on_behalf_of=ANA,
        session=Session(type="oauth_client", token_name="copilot"),
        source="mcp",
    )
    assert (shown.actor.name, shown.actor.kind) == ("Copilot", "AI agent")
    assert (shown.behalf.name, shown.behalf.aside) == ("Ana Ferreira", "ana@acme.example")
    assert shown.origin == "Automated · OAuth2 client copilot"
    assert shown.source.kind == "mcp"


@pytest.mark.parametrize("source", ["sso_sync", "scheduler", "cli", "aws"])
def test_a_source_without_a_request_stands_in_parentheses(source: str) -> None:
    """Such as ``(sso_sync)``; nothing is known of its place."""
    shown = row(source=source, actor=Actor(type="system", id=source))
    assert (shown.source.kind, shown.source.words) == ("other", f"({source})")
    assert shown.origin == "Automated"
    assert (shown.place.words, shown.place.known, shown.place.ip) == ("Unknown", False, "")


def test_a_guessed_platform_is_called_a_guess() -> None:
    """Nobody takes a guess for a fact."""
    assert row(ci=CI(platform="jenkins", confidence="guess")).place.words == "Jenkins (guess)"


@pytest.mark.parametrize(
    ("actor", "name", "aside"),
    [
        (Actor(type="user", id="u1", email="a@x.example"), "a@x.example", ""),
        (Actor(type="user", id="u1"), "u1", ""),
        (Actor(type="user", id="u1", name="A", email="a@x.example"), "A", "a@x.example"),
        (Actor(type="user", id="u1", name="a@x.example", email="a@x.example"), "a@x.example", ""),
    ],
)
def test_the_best_name_there_is(actor: Actor, name: str, aside: str) -> None:
    """Display name, else e-mail, else id; the e-mail beside a name once."""
    shown = row(actor=actor)
    assert (shown.actor.name, shown.actor.aside, shown.actor.key) == (name, aside, "u1")


def test_outcome_and_severity_have_a_sign_and_a_word() -> None:
    """Colour is never the only difference."""
    shown = row(action="auth.login.failed", outcome="failure")
    assert (shown.outcome.kind, shown.outcome.words) == ("failure", "Failure")
    assert (shown.severity.kind, shown.severity.words) == ("critical", "Critical")
    assert (row().outcome.kind, row().outcome.words) == ("success", "Success")


def test_what_a_reader_must_know_is_marked() -> None:
    """Late, imported, redacted and inconsistent events say so."""
    late = row(columns={"recorded_at": NOW + 2 * 86_400_000_000})
    assert [mark.kind for mark in late.marks] == ["late"]
    assert [mark.kind for mark in row(imported=True).marks] == ["imported"]
    erased = row(columns={"actor": None, "actor_id": None, "secret": None, "remains": "{}"})
    assert [mark.kind for mark in erased.marks] == ["redacted"]
    assert erased.actor is None
    edited = row(columns={"actor_id": "somebody-else"})
    assert [mark.kind for mark in edited.marks] == ["inconsistent"]


@pytest.mark.parametrize("actor", ['{"actor":[1]}', '{"actor":"x"}', '{"actor":null,"session":7}', "{}"])
@pytest.mark.parametrize("context", ['{"ip":5,"location":[],"ci":"x"}', "{}"])
@pytest.mark.parametrize("resources", ['{"resources":{}}', '{"resources":[1,{"id":2}]}', "{}"])
def test_groups_of_any_shape_are_shown(actor: str, context: str, resources: str) -> None:
    """A row that somebody edited in the database never breaks the page."""
    changes = '{"changes":{"a":[1],"b":{"old":1}}}'
    event = stored(
        Draft(action="user.create", actor=ANA),
        actor=actor,
        context=context,
        resources=resources,
        changes=changes,
        details='{"metadata":[1]}',
    )
    detail = present_detail(event, title)
    assert detail.row.actor is None
    assert detail.resources == ()
    assert detail.row.place.words == "Unknown"
    assert [field.name for field in detail.changes] == ["a", "b"]


def test_the_page_of_an_event_has_every_field() -> None:
    """Nothing that was recorded is missing from it."""
    draft = Draft(
        action="team.update",
        actor=ANA,
        on_behalf_of=Actor(type="user", id="usr_2", name="Ben"),
        session=Session(type="web", id="ses_9", token_id="tok_9", token_name="nine"),
        resources=(Resource(type="team", id="7", name="Ops"),),
        ip="203.0.113.7",
        location=Location(city="Lisbon", country="Portugal", country_code="PT"),
        user_agent="Mozilla/5.0",
        client="Chrome on macOS",
        ci=CI(platform="jenkins", confidence="declared", repository="a/b", run_id="12"),
        request=Request(id="req_1", method="PATCH", endpoint="/teams/7", params={"dry_run": False}),
        trace_id="a" * 32,
        span_id="b" * 16,
        changes={"plan": Change(old="free", new="pro")},
        description="Plan changed",
        reason="asked by the owner",
        metadata={"note": "partial rotation", "list": [1, [2]]},
        project="checkout",
    )
    detail = present_detail(stored(draft), title)
    shown = {field.value for section in detail.sections for field in section.fields}
    assert shown >= {
        "Ana Ferreira", "ana@acme.example", "usr_1", "Ben", "usr_2", "Web session", "ses_9", "tok_9", "nine",
        "ingest", "tok_1", "203.0.113.7", "Portugal", "Mozilla/5.0", "Chrome on macOS", "jenkins", "declared",
        "a/b", "12", "PATCH", "/teams/7", "req_1", "a" * 32, "b" * 16, "acme", "checkout", "api", "1 s",
        "2026-11-21T05:29:42.000000Z", "2026-11-21T05:29:43.000000Z",
    }  # fmt: skip
    assert (detail.reason, detail.row.description) == ("asked by the owner", "Plan changed")
    assert [(entry.key, entry.side.value) for entry in detail.params] == [("dry_run", "false")]
    assert [(entry.key, entry.side.value, entry.size) for entry in detail.metadata] == [
        ("list", [1, [2]], "2 items"),
        ("note", "partial rotation", ""),
    ]
    (plan,) = detail.changes
    assert [(change.kind, change.old.value, change.new.value) for change in plan.rows] == [
        ("changed", "free", "pro")
    ]


def test_more_like_this() -> None:
    """Links to what shares the actor, the resource, the address, the operation, and to the minutes around."""
    parent = stored(Draft(action="user.create", actor=ANA)).id
    draft = Draft(
        action="user.create",
        actor=ANA,
        ip="203.0.113.7",
        resources=(Resource(type="user", id="u7"),),
        session=Session(type="api_token", token_id="tok_7"),
    )
    links = dict(link.pairs[0] for link in present_detail(stored(draft, parent_id=parent), title).similar)
    assert links["actor"] == "usr_1"
    assert links["resource"] == "u7"
    assert links["ip"] == "203.0.113.7"
    assert links["token"] == "tok_7"
    assert links["action"] == "user.create"
    assert "parent_id" in links
    assert links["start_date"] == "2026-11-21T05:24:42.000000Z"


@pytest.mark.parametrize(
    ("microseconds", "words"),
    [
        (0, "0 ms"),
        (399_600, "400 ms"),
        (59_000_000, "59 s"),
        (61_000_000, "1 min 1 s"),
        (90_061_000_000, "1 d 1 h"),
    ],
)
def test_a_delay_in_words(microseconds: int, words: str) -> None:
    """At most two units."""
    assert delay(microseconds) == words
