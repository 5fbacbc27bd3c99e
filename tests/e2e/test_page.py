"""The page in a real browser with JavaScript switched off, against a real server."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.e2e.program import Program
from tests.programs import Programs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

HOSTILE = "<img src=x onerror=alert(1)>\u202egnp.exe\u0007\"'>"
START = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=10)
"""Noon of the first of three days of events."""

ANA = {"type": "user", "id": "usr_ana", "name": "Ana Ferreira", "email": "ana@acme.example"}
BEN = {"type": "user", "id": "usr_ben", "name": "Ben Otieno", "email": "ben@acme.example"}


class Server(NamedTuple):
    """A running server, and the command on the same data."""

    address: str
    program: Program
    operator: str

    def login(self) -> str:
        """A fresh login link to acme."""
        listen = self.address.removeprefix("http://")
        done = self.program.run("login", "--name", "auditor", "--organization", "acme", "--listen", listen)
        assert done.code == 0, done
        return done.out.strip()

    def record(self, events: list[dict[str, Any]], organization: str = "acme") -> None:
        """Send events to the API."""
        request = urllib.request.Request(
            f"{self.address}/api/v1/events?organization={organization}",
            json.dumps({"events": events}).encode(),
            {"authorization": f"Bearer {self.operator}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 201


def event(action: str, minutes: int, actor: dict[str, str] = ANA, **fields: Any) -> dict[str, Any]:
    """An event so many minutes after the start."""
    at = (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    return {"action": action, "actor": actor, "occurred_at": at, "source": "web", **fields}


def story() -> list[dict[str, Any]]:
    """One event of each kind that a requirement names."""
    return [
        event(
            "user.create", 1,
            resources=[{"type": "user", "id": "12345678-9abc-def0", "name": "eve@acme.example"}],
            ip="203.0.113.7", client="Chrome on macOS", session={"type": "web", "id": "ses_1"},
            location={"city": "Lisbon", "region": "Lisbon District", "country": "Portugal"},
            metadata={"login_source": "password", "nested": {"invited_by": ["ana", {"via": "mail"}]}},
        ),
        event(
            "team.update", 2, BEN, resources=[{"type": "team", "id": "7", "name": "Platform"}],
            changes={
                "name": {"old": "Platform", "new": "Platform & Data"},
                "settings": {"old": {"region": "eu", "mfa": False}, "new": {"region": "eu", "mfa": True}},
            },
        ),
        event(
            "api_token.update", 3, source="api", resources=[{"type": "api_token", "id": "tok_5"}],
            session={"type": "api_token", "token_id": "tok_5", "token_name": "deploy"}, ip="198.51.100.4",
            ci={"platform": "github_actions", "confidence": "token"},
            changes={"abilities": {"old": ["runs:read", "assets:read"], "new": ["runs:read", "runs:write"]}},
        ),
        event(
            "api.request.pipelines.list", 4, source="api", project="warehouse",
            session={"type": "api_token", "token_name": "nightly"},
            request={"method": "GET", "endpoint": "/pipelines", "params": {"pipeline_id": "pl_9"}},
        ),
        event(
            "user.role.assign", 5, {"type": "agent", "id": "agt_1", "name": "Copilot"}, source="mcp",
            on_behalf_of=BEN, session={"type": "oauth_client", "token_name": "copilot"}, project="warehouse",
            description="Eve became an editor of Reports",
        ),
        event("user.update", 6, {"type": "system", "id": "directory"}, source="sso_sync"),
        event(
            "secret.rotate", 7, resources=[{"type": "secret", "id": "sec_1", "name": "payout-bank"}],
            reason="partial rotation",
        ),
        event(
            "auth.login.failed", 8, {"type": "anonymous", "id": "anonymous", "email": "eve@acme.example"},
            outcome="failure", ip="192.0.2.66",
        ),
        event("organization.update", 9, {"type": "user", "id": "evil", "name": HOSTILE},
              resources=[{"type": "organization", "id": "x" * 1000, "name": "Z" * 1000}],
              metadata={HOSTILE: HOSTILE, "long": "w" * 50_000}),
        # On the day before and the day after, at their very edges.
        event("journey.create", -12 * 60 - 1, BEN),
        event("journey.delete", 12 * 60 - 1, BEN),
        event("journey.update", 12 * 60, BEN),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Iterator[Server]:
    """A server with the story, 120 dull events before it, and another organization."""
    program = programs(tmp_path_factory.mktemp("page"))
    with program.serving() as serving:
        token = program.folder / "affidavit-data" / "operator.token"
        running = Server(serving.address, program, token.read_text(encoding="ascii").strip())
        running.record(story())
        running.record([event("pipeline.run.trigger", -3000 - number, BEN) for number in range(120)])
        running.record([event("user.create", 1, BEN, reason="of globex only")], "globex")
        yield running


@pytest.fixture(scope="module")
def cookies(server: Server, browser: Browser) -> list[Any]:
    """The cookies of somebody who signed in to acme through a login link."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.login())
    follow(page, page.get_by_role("button", name="Sign in as auditor"))
    assert page.title() == "Audit log of acme · Affidavit"
    kept = list(context.cookies())
    context.close()
    return kept


@pytest.fixture
def visit(server: Server, browser: Browser, cookies: list[Any]) -> Iterator[Page]:
    """A signed-in page without JavaScript, that fails on anything its policy forbids."""
    context = browser.new_context(java_script_enabled=False, base_url=server.address)
    context.add_cookies(cookies)
    refused: list[str] = []
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on(
        "console",
        lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None,
    )
    page.on("dialog", lambda dialog: refused.append(dialog.message))
    yield page
    context.close()
    assert refused == []


def follow(page: Page, what: Locator, key: str | None = None) -> None:
    """Click, or press a key on, what leads to another page, and wait until it is there."""
    with page.expect_navigation():
        if key is None:
            what.click()
        else:
            what.press(key)


def actions(page: Page) -> list[str]:
    """The dotted actions of the rows, in order."""
    return [text.strip() for text in page.locator("tbody .action .code").all_inner_texts()]


def row(page: Page, action: str) -> str:
    """The text of the one row with this action."""
    return page.locator("tbody tr", has=page.get_by_text(action, exact=True)).inner_text()


@pytest.mark.requirement("R43", "R47", "R48", "R55", "R103", "R112", "R123", "R168", "R179")
def test_the_table_stands_below_its_filters(visit: Page) -> None:
    """Reached at /audit: filters above, newest first, who, what, from where, when in UTC."""
    answer = visit.goto("/audit")
    assert answer is not None
    assert answer.status == 200
    headers = visit.get_by_role("columnheader").all_inner_texts()
    assert [header.split("\n")[0] for header in headers] == [
        "Time UTC", "Actor", "Event", "Resource", "Location · IP", "Outcome", "Severity",
    ]  # fmt: skip
    stamps = visit.locator("tbody time").evaluate_all("all => all.map(t => t.dateTime)")
    assert stamps == sorted(stamps, reverse=True)
    assert all(stamp.endswith("Z") for stamp in stamps)
    assert "12:01:00" in row(visit, "user.create")
    assert "UTC" in row(visit, "user.create")
    form = visit.get_by_role("search").bounding_box()
    table = visit.get_by_role("table").bounding_box()
    assert form is not None
    assert table is not None
    assert form["y"] + form["height"] <= table["y"]


@pytest.mark.requirement("R7", "R44", "R45", "R87", "R90", "R91", "R114", "R117")
def test_a_person_is_shown_with_everything_beside(visit: Page) -> None:
    """Name, e-mail, browser and system, event title, resource with a short id, city, region, address."""
    visit.goto("/audit?action=user.create")
    text = row(visit, "user.create")
    for words in ("Ana Ferreira", "ana@acme.example", "Chrome on macOS", "User created", "eve@acme.example",
                  "user / 12345678", "Lisbon, Lisbon District", "203.0.113.7"):  # fmt: skip
        assert words in text
    assert "9abc" not in text


@pytest.mark.requirement("R46", "R116")
def test_sources_have_their_colours_or_parentheses(visit: Page) -> None:
    """Web is blue, api purple, mcp amber; what came in without a request is in parentheses."""
    visit.goto("/audit")
    colours = {}
    for source in ("web", "api", "mcp"):
        badge = visit.locator(f"tbody .badge-{source}").first
        assert badge.inner_text().endswith(source)
        style = badge.evaluate("badge => getComputedStyle(badge).color")
        colours[source] = [int(part) for part in re.findall(r"\d+", style)[:3]]
    red, green, blue = colours["web"]
    assert blue > green > red
    red, green, blue = colours["api"]
    assert blue > red > green
    red, green, blue = colours["mcp"]
    assert red > green > blue
    assert "(sso_sync)" in row(visit, "user.update")


@pytest.mark.requirement("R88", "R92", "R93", "R172", "R187", "R188")
def test_machines_are_automated_with_token_and_session(visit: Page) -> None:
    """Token name, kind of session, CI platform, on whose behalf; Unknown where no place is known."""
    visit.goto("/audit")
    token = row(visit, "api_token.update")
    assert "Automated · API token deploy" in token
    assert "GitHub Actions" in token
    assert "198.51.100.4" in token
    agent = row(visit, "user.role.assign")
    assert "Copilot" in agent
    assert "for Ben Otieno" in agent
    assert "OAuth2 client copilot" in agent
    assert "warehouse" in agent
    assert "Unknown" in row(visit, "user.update")


@pytest.mark.requirement("R96", "R97", "R100")
def test_outcome_and_severity_are_a_sign_and_a_word(visit: Page) -> None:
    """A cross and "Failure", a check and "Success"; a failed sign-in is critical."""
    visit.goto("/audit")
    failed = visit.locator("tbody tr", has_text="auth.login.failed")
    assert failed.locator(".sign-failure use").get_attribute("href") == "#cross"
    assert "Failure" in failed.inner_text()
    assert "Critical" in failed.inner_text()
    created = visit.locator("tbody tr", has_text="user.create")
    assert created.locator(".sign-success use").get_attribute("href") == "#check"
    assert "Success" in created.inner_text()


@pytest.mark.requirement("R132", "R133", "R134", "R135")
def test_fifty_rows_a_page_and_previous_and_next(visit: Page) -> None:
    """Next and Previous walk by opaque tokens; every event once, the pages the same on the way back."""
    visit.goto("/audit?not_action=audit.*&not_action=access.*")
    pages = [actions(visit)]
    while visit.get_by_role("link", name="Next").count():
        follow(visit, visit.get_by_role("link", name="Next"))
        pages.append(actions(visit))
    assert [len(page) for page in pages] == [50, 50, 32]
    assert sum(page.count("pipeline.run.trigger") for page in pages) == 120
    assert visit.get_by_text("Page 3", exact=True).is_visible()
    for page in reversed(pages[:-1]):
        follow(visit, visit.get_by_role("link", name="Previous"))
        assert actions(visit) == page
    assert visit.get_by_role("link", name="Previous").count() == 0


@pytest.mark.requirement("R124", "R125", "R126", "R180")
def test_group_outcome_and_event_type_filter_on_the_server(visit: Page) -> None:
    """The form submits without a script and shows what was chosen."""
    visit.goto("/audit")
    titles = visit.get_by_label("Group").locator("option").all_inner_texts()
    assert titles[0] == "All"
    assert {"Authentication", "Users", "Roles", "Organizations"} <= set(titles)
    visit.get_by_label("Group").select_option(label="Users")
    follow(visit, visit.get_by_role("button", name="Apply").first)
    assert set(actions(visit)) == {"user.create", "user.role.assign", "user.update"}
    assert visit.get_by_label("Group").input_value() == "user"
    visit.get_by_label("Group").select_option(label="All")
    visit.get_by_label("Outcome").select_option(label="Failure")
    follow(visit, visit.get_by_role("button", name="Apply").first)
    assert actions(visit) == ["auth.login.failed"]


@pytest.mark.requirement("R56", "R57", "R170")
def test_actors_and_event_types_are_multiple_choices(visit: Page) -> None:
    """Two event types and two people at once; what is chosen stays chosen."""
    visit.goto("/audit")
    visit.locator("summary", has_text="Event type").click()
    visit.get_by_role("checkbox", name="Team updated").check()
    visit.get_by_role("checkbox", name="User created").check()
    follow(visit, visit.get_by_role("button", name="Apply").first)
    assert actions(visit) == ["team.update", "user.create"]
    visit.locator("summary", has_text="Actor").click()
    visit.get_by_role("checkbox", name="Ben Otieno").check()
    follow(visit, visit.get_by_role("button", name="Apply").first)
    assert actions(visit) == ["team.update"]
    assert visit.get_by_text("2 chosen").is_visible()
    visit.locator("summary", has_text="Actor").click()
    assert visit.get_by_role("checkbox", name="Ben Otieno").is_checked()
    visit.get_by_label("E-mail or id").fill("ana@acme.example")
    follow(visit, visit.get_by_role("button", name="Apply").first)
    assert actions(visit) == ["team.update", "user.create"]


@pytest.mark.requirement("R58", "R59", "R130", "R136", "R169")
def test_dates_are_inclusive_utc_days(visit: Page) -> None:
    """From 00:00:00 of the first to 23:59:59 of the last day, both included."""
    visit.goto("/audit")
    day = START.strftime("%Y-%m-%d")
    visit.get_by_label("From UTC").fill(day)
    visit.get_by_label("To UTC").fill(day)
    follow(visit, visit.get_by_role("button", name="Apply").first)
    shown = actions(visit)
    assert shown[0] == "journey.delete"
    assert "journey.update" not in shown
    assert "journey.create" not in shown
    assert "user.create" in shown
    assert visit.get_by_label("From UTC").input_value() == day


@pytest.mark.requirement("R171", "R181")
def test_the_search_line_finds_payload_objects_and_qualifiers(visit: Page) -> None:
    """A phrase of the payload, the name of a secret, qualifiers and exclusions."""
    visit.goto("/audit")
    search = visit.locator('input[name="search"]')
    for line, found in (
        ("partial rotation", ["secret.rotate"]),
        ("resource:payout-bank", ["secret.rotate"]),
        ("actor:ben@acme.example action:user.*", ["user.role.assign"]),
        ("actor:ben@acme.example -action:pipeline.* -action:journey.*", ["user.role.assign", "team.update"]),
    ):
        search.fill(line)
        follow(visit, search, "Enter")
        assert actions(visit) == found
        assert search.input_value() == line
    search.fill('"open')
    follow(visit, search, "Enter")
    assert visit.get_by_role("alert").is_visible()
    assert search.input_value() == '"open'


def test_a_chip_removes_one_filter(visit: Page) -> None:
    """And leaves the others."""
    visit.goto("/audit?outcome=failure&not_source=api")
    follow(visit, visit.get_by_role("link", name="Remove the filter Source api"))
    assert visit.url.endswith("/audit?outcome=failure")


@pytest.mark.requirement("R131")
def test_refresh_asks_again_with_the_same_filters(visit: Page, server: Server) -> None:
    """A new event appears, the filter stays."""
    visit.goto("/audit?action=refresh.me")
    assert visit.get_by_role("heading", name="No events match").is_visible()
    server.record([event("refresh.me", 10)])
    follow(visit, visit.get_by_role("link", name="Refresh", exact=True))
    assert actions(visit) == ["refresh.me"]


@pytest.mark.requirement("R61", "R62")
def test_the_menu_exports_what_the_filters_show(visit: Page) -> None:
    """CSV from the top-right menu, with every event of the current filters and no other."""
    visit.goto("/audit?actor=usr_ana&search=-action:refresh.me")
    shown = actions(visit)
    visit.locator("summary", has_text="Export").click()
    with visit.expect_download() as download:
        visit.get_by_role("link", name=re.compile("CSV")).click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert sum(text.count(action) for action in set(shown)) >= len(shown)
    assert "ben@acme.example" not in text
    assert "ana@acme.example" in text


@pytest.mark.requirement("R51", "R52")
def test_old_and_new_stand_side_by_side(visit: Page) -> None:
    """Every changed field, nested ones by their path, told apart by more than colour."""
    visit.goto("/audit?action=team.update")
    follow(visit, visit.get_by_role("link", name="Team updated", exact=True))
    assert re.search(r"/audit/events/[0-9a-f-]{36}$", visit.url)
    changes = visit.locator(".changes")
    assert changes.locator("thead").inner_text().split() == ["Field", "Old", "New"]
    name = changes.locator("tr", has_text="Platform & Data")
    assert name.locator(".old").inner_text().split() == ["−", "Old:", "Platform"]
    assert name.locator(".new").inner_text().split()[:3] == ["+", "New:", "Platform"]
    old, new = name.locator(".old").bounding_box(), name.locator(".new").bounding_box()
    assert old is not None
    assert new is not None
    assert old["y"] == new["y"]
    assert old["x"] < new["x"]
    mfa = changes.locator("tr", has_text="mfa")
    assert "false" in mfa.locator(".old").inner_text()
    assert "true" in mfa.locator(".new").inner_text()


@pytest.mark.requirement("R53")
def test_ability_lists_stand_side_by_side(visit: Page) -> None:
    """What stayed, what went, what came."""
    visit.goto("/audit?action=api_token.update")
    follow(visit, visit.get_by_role("link", name="API token updated", exact=True))
    rows = [
        [" ".join(cell.split()) for cell in line.locator("td").all_inner_texts()]
        for line in visit.locator(".changes tbody tr").all()
    ]
    assert rows == [
        ["runs:read", "runs:read"],
        ["− Old: assets:read", "Not there"],
        ["Not there", "+ New: runs:write"],
    ]


@pytest.mark.requirement("R50", "R54", "R119", "R189")
def test_the_page_of_an_event_shows_all_metadata_and_the_request(visit: Page) -> None:
    """JSON of any shape, endpoint, method, token name and identifiers."""
    visit.goto("/audit?action=api.request.pipelines.list")
    follow(visit, visit.locator(".row-link"))
    text = visit.locator("main").inner_text()
    for words in ("GET", "/pipelines", "nightly", "pipeline_id", "pl_9", "warehouse"):
        assert words in text
    visit.goto("/audit?action=user.create")
    follow(visit, visit.locator(".row-link"))
    text = visit.locator("main").inner_text()
    for words in ("login_source", "password", "invited_by", '"via"', '"mail"', "12345678-9abc-def0", "ses_1"):
        assert words in text


def test_clicking_anywhere_in_a_row_opens_the_event(visit: Page) -> None:
    """The whole row leads to the event, the keyboard too."""
    visit.goto("/audit?action=team.update")
    cell = visit.locator("tbody .cell-severity").bounding_box()
    assert cell is not None
    with visit.expect_navigation():
        visit.mouse.click(cell["x"] + 4, cell["y"] + 4)
    assert visit.get_by_role("heading", name="Team updated").is_visible()
    visit.goto("/audit?action=team.update")
    follow(visit, visit.locator(".row-link"), "Enter")
    assert visit.get_by_role("heading", name="Team updated").is_visible()


def test_more_like_this_leads_to_the_filtered_table(visit: Page) -> None:
    """From one event to all of its actor, resource and address, and to the minutes around it."""
    for name, found in (
        ("By this actor", "secret.rotate"),
        ("From this address", "user.create"),
        ("Around this time", "team.update"),
    ):
        visit.goto("/audit?action=user.create")
        follow(visit, visit.locator(".row-link"))
        follow(visit, visit.get_by_role("link", name=name))
        assert found in actions(visit)
        assert "user.create" in actions(visit)


def test_the_json_of_an_event_is_one_link_away(visit: Page) -> None:
    """The same session reads the API."""
    visit.goto("/audit?action=team.update")
    follow(visit, visit.locator(".row-link"))
    follow(visit, visit.get_by_role("link", name="JSON"))
    document = json.loads(visit.locator("pre").inner_text())
    assert document["action"] == "team.update"
    assert document["changes"]["name"] == {"new": "Platform & Data", "old": "Platform"}


def test_hostile_text_is_shown_and_does_nothing(visit: Page) -> None:
    """Markup stays text, overrides and control characters are named, long text breaks nothing."""
    visit.goto("/audit?action=organization.update")
    assert visit.locator("tbody img").count() == 0
    text = row(visit, "organization.update")
    assert "<img src=x onerror=alert(1)>" in text
    assert "U+202E" in text
    assert "\u202e" not in text
    wide = visit.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    follow(visit, visit.locator(".row-link"))
    assert visit.locator("main img").count() == 0
    assert "BEL" in visit.locator("main").inner_text()
    wide = visit.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0


@pytest.mark.parametrize("width", [360, 700, 1024, 1920])
def test_it_fits_every_width(visit: Page, width: int) -> None:
    """No page scrolls sideways; on a phone rows are cards and filters fold."""
    visit.set_viewport_size({"width": width, "height": 800})
    for path in ("/audit", "/audit?ip=bad", "/audit?action=organization.update"):
        visit.goto(path)
        wide = visit.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
    narrow = width < 560
    assert visit.get_by_label("Outcome").is_visible() is not narrow
    if narrow:
        visit.get_by_text("Filters", exact=True).first.click()
        assert visit.get_by_label("Outcome").is_visible()


def test_nobody_reads_without_signing_in_and_everybody_comes_back(server: Server, browser: Browser) -> None:
    """401 says how; the link leads back to the permalink that was asked for, and is used up."""
    context = browser.new_context(java_script_enabled=False, base_url=server.address)
    page = context.new_page()
    answer = page.goto("/audit?action=team.update")
    assert answer is not None
    assert answer.status == 401
    assert page.get_by_text("affidavit login").is_visible()
    link = server.login()
    page.goto(link)
    page.reload()
    follow(page, page.get_by_role("button", name="Sign in as auditor"))
    assert page.url == f"{server.address}/audit?action=team.update"
    assert actions(page) == ["team.update"]
    follow(page, page.get_by_role("button", name="Sign out"))
    assert page.get_by_role("heading", name="You are signed out").is_visible()
    answer = page.goto("/audit")
    assert answer is not None
    assert answer.status == 401
    answer = page.goto(link)
    assert answer is not None
    assert answer.status == 401
    context.close()


@pytest.mark.requirement("R4", "R183")
def test_without_the_ability_the_page_does_not_exist(server: Server, browser: Browser) -> None:
    """A credential that may not list events gets a 404."""
    words = ("token", "create", "--name", "writer", "--organization", "acme", "--ability", "events:write")
    (made,) = server.program.json(*words, "--json")
    headers = {"authorization": f"Bearer {made['token']}"}
    context = browser.new_context(base_url=server.address, extra_http_headers=headers)
    page = context.new_page()
    answer = page.goto("/audit")
    assert answer is not None
    assert answer.status == 404
    assert "Ana" not in page.content()
    context.close()


def test_another_organization_stays_unseen(visit: Page) -> None:
    """Somebody of acme finds nothing of globex, in no way."""
    for path in ("/audit?organization=globex", "/audit?organization=nobody"):
        answer = visit.goto(path)
        assert answer is not None
        assert answer.status == 404
    visit.goto("/audit?search=globex")
    assert actions(visit) == []
