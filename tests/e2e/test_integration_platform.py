"""The integration platform of the examples as a real process, over HTTP and in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import httpx2
import pytest

from tests.e2e.examples import EXAMPLES, running, until
from tests.e2e.program import Program
from tools import plain_example

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.postgres import Server

EXAMPLE = EXAMPLES / "integration-platform"
README = EXAMPLES.parent / "README.md"
PASSWORD = "trellis-demo"
ANA, BEN, CHIYO = (f"{name}@harbor.example" for name in ("ana", "ben", "chiyo"))
LEA = "lea@lumen.example"
CANARY = "sk-canary-4f7a"
"""Begins every secret that the tests give away; no event may hold it."""


class Visitor:
    """Somebody's browser, without the browser."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """Ask for something."""
        return self.client.get(path, **options)

    def post(self, path: str, **fields: Any) -> httpx2.Response:
        """Send a form."""
        return self.client.post(path, data=fields)

    def done(self, path: str, **fields: Any) -> str:
        """Send a form that must be accepted; where the answer leads."""
        answer = self.post(path, **fields)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def id_of(self, page: str, pattern: str) -> str:
        """An id from the text of a page."""
        found = re.search(pattern, self.get(page).text, re.DOTALL)
        assert found is not None, (page, pattern)
        return found[1]

    def role(self, name: str) -> str:
        """The id of a role."""
        return self.id_of("/people", rf'value="(\w{{32}})"[^>]*>{name}<')

    def connection(self, name: str) -> str:
        """The id of a connection."""
        return self.id_of("/", rf'/connections/(\w{{32}})">(?:(?!</a>).)*<strong>{name}<')

    def token(self, name: str, *abilities: str) -> str:
        """A new token."""
        answer = self.post("/tokens", name=name, abilities=list(abilities))
        found = re.search(r'class="secret">(trl_[\w-]+)<', answer.text)
        assert found is not None, answer.text
        return found[1]

    def events(self, **filters: str) -> list[dict[str, Any]]:
        """What the audit log shows, oldest first, without that somebody read it."""
        asked = {"limit": "1000", "not_action": "audit.*", **filters}
        answer = self.get("/audit/api/v1/events", params=asked)
        assert answer.status_code == 200, answer.text
        events: list[dict[str, Any]] = answer.json()["events"]
        return events[::-1]


@contextmanager
def visiting(address: str, email: str | None = None, token: str | None = None) -> Iterator[Visitor]:
    """Somebody who signs in, or a program with its token, or nobody who is known."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=address, headers=headers, trust_env=False, timeout=60) as client:
        visitor = Visitor(client)
        if email is not None:
            visitor.done("/login", email=email, password=PASSWORD)
        yield visitor


class Trellis(NamedTuple):
    """The example on a database of its own.

    Attributes:
        address: ``http://127.0.0.1:PORT``.
        database: its URL.
        keys: folder of the log's keys.
    """

    address: str
    database: str
    keys: Path


@contextmanager
def trellis(folder: Path, database: str | None = None, example: Path = EXAMPLE) -> Iterator[Trellis]:
    """The example, started."""
    url = database or f"sqlite:///{folder / 'trellis.db'}"
    keys = folder / "affidavit-data"
    environment = {"DATABASE_URL": url, "PORT": "0", "AFFIDAVIT_DATA_DIR": str(keys)}
    command = ("-m", "integration_platform")
    with running(example, *command, log=folder / "said.log", environment=environment) as process:
        yield Trellis(process.address, url, keys)


@contextmanager
def database_on(server: Server) -> Iterator[str]:
    """An empty database."""
    name = f"trellis_{uuid4().hex}"
    with server.connect() as session:
        session.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield server.url(name)
        finally:
            session.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def started(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Trellis]]:
    """The example on an engine; started when it is asked for."""
    known: dict[str, Trellis] = {}
    with ExitStack() as stack:

        def on(engine: str) -> Trellis:
            if engine not in known:
                database = None
                if engine == "postgres":
                    database = stack.enter_context(database_on(request.getfixturevalue("postgres")))
                folder = tmp_path_factory.mktemp(engine)
                known[engine] = stack.enter_context(trellis(folder, database))
            return known[engine]

        yield on


@pytest.fixture(params=["sqlite", "postgres"])
def example(request: pytest.FixtureRequest, started: Callable[[str], Trellis]) -> Trellis:
    """The example, on each engine."""
    return started(request.param)


@pytest.fixture
def enter(example: Trellis) -> Iterator[Callable[..., Visitor]]:
    """Lets somebody in; see :func:`visiting`."""
    with ExitStack() as stack:
        yield lambda *who, **more: stack.enter_context(visiting(example.address, *who, **more))


@pytest.fixture
def ana(enter: Callable[..., Visitor]) -> Visitor:
    """An admin of Harbor Foods."""
    return enter(ANA)


def brief(event: dict[str, Any]) -> tuple[str, str, str, str | None]:
    """Action, outcome, actor and name of the resource."""
    actor = event["actor"]
    names = [each.get("name") for each in event.get("resources", [])]
    return event["action"], event["outcome"], actor.get("email") or actor["name"], *(names or [None])[:1]


@pytest.mark.requirement("R107", "R108", "R109", "R110", "R121")
def test_each_change_is_one_event(ana: Visitor) -> None:
    """Users, roles, the team, connections and tokens: an event for each change, in their order."""
    before = len(ana.events())
    name = uuid4().hex[:8]
    ana.done("/roles", name=f"Auditor {name}", permissions=["sync.run"])
    eve = {"email": f"{name}@x.example", "name": "Eve", "password": "long enough"}
    ana.done("/people", **eve, role=ana.role("Reader"))
    user = ana.id_of("/people", rf"{name}@x\.example.*?/people/(\w{{32}})/role")
    ana.done(f"/people/{user}/role", role=ana.role(f"Auditor {name}"))
    path = ana.done("/connect/jira", name=f"Board {name}", account="acme", secret=CANARY)
    ana.done(f"{path}/secret", secret=f"{CANARY}-2")
    ana.done(f"{path}/sync")
    ana.done(f"{path}/disconnect")
    ana.token(f"ci {name}", "sync.run")
    ana.done(ana.id_of("/tokens", rf'(/tokens/\w{{32}}/delete)"><button[^>]*aria-label="Revoke ci {name}"'))
    ana.done(f"/people/{user}/delete")
    ana.done("/settings", name=f"Harbor {name}")
    events = ana.events()[before:]
    assert [brief(event) for event in events] == [
        ("role.create", "success", ANA, f"Auditor {name}"),
        ("user.create", "success", ANA, f"{name}@x.example"),
        ("user.role.assign", "success", ANA, f"{name}@x.example"),
        ("integration.connect", "success", ANA, f"Board {name}"),
        ("integration.update", "success", ANA, f"Board {name}"),
        ("sync.run", "success", ANA, f"Board {name}"),
        ("integration.disconnect", "success", ANA, f"Board {name}"),
        ("api_token.create", "success", ANA, f"ci {name}"),
        ("api_token.delete", "success", ANA, f"ci {name}"),
        ("user.delete", "success", ANA, f"{name}@x.example"),
        ("organization.update", "success", ANA, events[-1]["resources"][0]["name"]),
    ]
    changes = {event["action"]: event.get("changes", {}) for event in events}
    assert changes["user.role.assign"] == {"role": {"old": "Reader", "new": f"Auditor {name}"}}
    assert changes["integration.update"] == {"secret": {"old": "[masked]", "new": "[masked]"}}
    assert changes["organization.update"]["name"]["new"] == f"Harbor {name}"
    assert {(event["source"], event["ip"]) for event in events} == {("web", "127.0.0.1")}
    assert {event["organization"] for event in events} == {"harbor-foods"}
    assert CANARY not in json.dumps(events)


@pytest.mark.requirement("R122")
def test_a_change_that_was_rolled_back_has_no_event(ana: Visitor) -> None:
    """A second person of one address, permissions that nobody could change back: no change and no event."""
    before = ana.events()
    answer = ana.post("/people", email=BEN, name="Ben again", password="long enough", role=ana.role("Reader"))
    assert (answer.status_code, "Somebody has the address" in answer.text) == (409, True)
    assert "Ben again" not in ana.get("/people").text
    admin = ana.role("Admin")
    answer = ana.post(f"/roles/{admin}", permissions=["sync.run"])
    assert (answer.status_code, "Somebody must remain" in answer.text) == (409, True)
    answer = ana.post(f"/roles/{ana.role('Operator')}", permissions=["sync.run", "user.create"])
    assert answer.status_code == 303, "the admin still may"
    after = ana.events()[len(before) :]
    assert [brief(event) for event in after] == [("role.permission.update", "success", ANA, "Operator")]


@pytest.mark.requirement("R100")
def test_a_failed_attempt_is_recorded_with_its_reason(ana: Visitor, enter: Callable[..., Visitor]) -> None:
    """What was refused by another product, and what somebody may not do, although nothing was changed."""
    path = ana.done("/connect/stripe", name="Old key", account="acct", secret=f"expired-{CANARY}")
    before = len(ana.events())
    answer = ana.post(f"{path}/sync")
    assert answer.status_code == 502
    chiyo = enter(CHIYO)
    assert chiyo.post(f"{path}/sync").status_code == 403
    assert (
        chiyo.post("/people", email="z@x.example", name="Z", password="long enough", role="r").status_code
        == 403
    )
    events = ana.events()[before:]
    assert [(*brief(event)[:3], event.get("reason")) for event in events] == [
        ("sync.run", "failure", ANA, "Refused: Stripe answered 401 Unauthorized: the secret has expired"),
        ("auth.login.success", "success", CHIYO, None),
        ("sync.run", "failure", CHIYO, "lacks the permission sync.run"),
        ("user.create", "failure", CHIYO, "lacks the permission user.create"),
    ]
    assert events[0]["resources"][0]["name"] == "Old key"
    assert [event["severity"] for event in events] == ["info", "info", "critical", "critical"]
    assert "Nothing was synchronized yet" in ana.get(path).text
    assert CANARY not in json.dumps(events)


@pytest.mark.requirement("R106")
def test_sign_ins_are_recorded_good_and_bad(enter: Callable[..., Visitor]) -> None:
    """With the address that was tried; one that belongs to nobody is seen by no team."""
    lea = enter(LEA)
    stranger = enter()
    for email in (LEA, "nobody@lumen.example"):
        assert stranger.post("/login", email=email, password="a wrong guess").status_code == 401
    lea.done("/logout")
    lea = enter(LEA)
    events = lea.events(action_group="auth")[-4:]
    assert [(event["action"], event["actor"].get("email"), event.get("reason")) for event in events] == [
        ("auth.login.success", LEA, None),
        ("auth.login.failed", LEA, "wrong password"),
        ("auth.logout", LEA, None),
        ("auth.login.success", LEA, None),
    ]
    assert events[1]["severity"] == "critical"


@pytest.mark.requirement("R34", "R40")
def test_a_call_of_the_api_names_its_token_and_parameters(
    ana: Visitor, enter: Callable[..., Visitor]
) -> None:
    """Reads and writes with a token, what it may not do, and nothing more once it was revoked."""
    name = f"nightly {uuid4().hex[:8]}"
    token = ana.token(name, "integration.read")
    program = enter(token=token)
    found = program.get("/api/v1/connections", params={"connector": "slack", "api_key": CANARY}).json()
    assert [each["name"] for each in found] == ["Warehouse channels"]
    one = found[0]["id"]
    assert program.get(f"/api/v1/connections/{one}/syncs", params={"limit": "5"}).status_code == 200
    assert program.post(f"/api/v1/connections/{one}/syncs").status_code == 403
    events = ana.events(token=name)
    assert [(event["action"], event["outcome"], event["request"].get("params")) for event in events] == [
        ("api.request.get_connections", "success", {"connector": "slack", "api_key": "[masked]"}),
        ("api.request.get_syncs", "success", {"limit": "5"}),
        ("sync.run", "failure", None),
        ("api.request.run_sync", "failure", None),
    ]
    for event in events:
        assert (event["actor"]["type"], event["actor"]["name"], event["source"]) == ("api_token", name, "api")
        assert event["session"]["token_name"] == name
    assert events[1]["resources"] == [{"type": "connection", "id": one}]
    assert events[3]["reason"] == "403 Forbidden"
    ana.done(ana.id_of("/tokens", rf'(/tokens/\w{{32}}/delete)"><button[^>]*aria-label="Revoke {name}"'))
    assert program.get("/api/v1/connections").status_code == 401
    assert len(ana.events(token=name)) == len(events)


@pytest.mark.requirement("R177", "R183")
def test_another_team_sees_nothing_of_it(ana: Visitor, enter: Callable[..., Visitor]) -> None:
    """People of another team find no event, not even by its id; who is no admin finds no page."""
    ana.done("/connect/github", name="Ours alone", account="harbor", secret=CANARY)
    event = ana.events(q="Ours alone")[0]["id"]
    assert ana.get(f"/audit/events/{event}").status_code == 200
    lea = enter(LEA)
    assert lea.get("/audit/").status_code == 200
    assert lea.events(q="Ours alone") == []
    assert {each["organization"] for each in lea.events()} == {"lumen-labs"}
    for path in (f"/audit/events/{event}", f"/audit/api/v1/events/{event}"):
        assert lea.get(path).status_code == 404
    everything = lea.get("/audit/api/v1/events/export", params={"format": "ndjson"}).text
    assert "lumen-labs" in everything
    assert "harbor" not in everything
    ben = enter(BEN)
    assert (ben.get("/").status_code, "Audit log" in ben.get("/").text) == (200, False)
    assert ben.get("/audit/").status_code == 404
    assert ben.get("/audit/api/v1/events").status_code == 403
    stranger = enter()
    answer = stranger.get("/audit/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Faudit%2F")
    assert stranger.get("/audit/api/v1/events").status_code == 401


def test_a_form_on_a_page_of_somebody_else_changes_nothing(ana: Visitor) -> None:
    """A browser that says where a form comes from is believed: no change, and no event."""
    before = len(ana.events())
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        answer = ana.client.post("/settings", data={"name": "Evil"}, headers=headers)
        assert answer.status_code == 401
    assert "Evil" not in ana.get("/settings").text
    assert len(ana.events()) == before


def test_the_log_is_sealed_beside_the_app_and_sound(ana: Visitor, example: Trellis, tmp_path: Path) -> None:
    """The worker that the app started puts each event under a signed checkpoint; the log is in order."""
    name = uuid4().hex
    ana.done("/settings", name=name)
    until(
        lambda: [event["state"] for event in ana.events(q=name)] == ["published"],
        "the event was not sealed under a signed checkpoint",
    )
    program = Program(tmp_path, database=example.database)
    verdict = program.run("fsck", "--data-dir", example.keys, "--json")
    assert verdict.code == 0, verdict
    found = verdict.documents[0]
    assert (found["verified"] > 0, found["failed"]) == (True, 0)


@pytest.fixture
def visit(started: Callable[[str], Trellis], browser: Browser) -> Iterator[Page]:
    """Ana's browser, signed in, on the first page; fails on an error of a script or of a policy."""
    context = browser.new_context(base_url=started("sqlite").address)
    refused: list[str] = []
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: refused.append(str(error)))
    page.on(
        "console", lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None
    )
    page.goto("/audit")
    sign_in(page, ANA)
    page.wait_for_url("**/audit/")
    page.goto("/")
    yield page
    context.close()
    assert refused == []


def sign_in(page: Page, email: str) -> None:
    """Fill in the form that is shown."""
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def look(page: Page, group: str, words: str) -> None:
    """Open the audit log from the menu, choose a group and search."""
    page.goto("/")
    page.get_by_role("link", name="Audit log").click()
    page.get_by_label("Group").select_option(label=group)
    page.get_by_role("searchbox").fill(words)
    with page.expect_navigation():
        page.get_by_role("button", name="Apply").first.click()


def rows(page: Page) -> list[str]:
    """The text of each row, on one line."""
    return [" ".join(text.split()) for text in page.locator("tbody tr").all_inner_texts()]


@pytest.mark.requirement("R103", "R147")
def test_who_created_this_user(visit: Page) -> None:
    """Added in the product; the log, under its settings, says by whom: group Users and the address."""
    email = f"dora-{uuid4().hex[:8]}@harbor.example"
    visit.get_by_role("link", name="People").click()
    visit.get_by_label("Name").fill("Dora Lindqvist")
    visit.get_by_label("E-mail").fill(email)
    visit.get_by_label("First password").fill("correct horse")
    visit.get_by_label("Role", exact=True).select_option(label="Operator")
    visit.get_by_role("button", name="Add").click()
    visit.get_by_role("cell", name=email).wait_for()
    look(visit, "Users", email)
    (row,) = rows(visit)
    for words in (
        "User created",
        "user.create",
        "Ana Ferreira",
        ANA,
        email,
        "Success",
        "127.0.0.1",
    ):
        assert words in row
    with visit.expect_navigation():
        visit.get_by_role("link", name="User created").click()
    text = visit.locator("main").inner_text()
    assert "Operator" in text
    assert "correct horse" not in visit.content()


@pytest.mark.requirement("R149", "R150")
def test_who_changed_permissions_on_this_role(visit: Page) -> None:
    """Changed in the product; group Roles and the role's name give who, old and new, and the difference."""
    name = f"Night shift {uuid4().hex[:8]}"
    visit.get_by_role("link", name="Roles").click()
    new = visit.get_by_role("form", name="Another role")
    new.get_by_label("Name").fill(name)
    new.get_by_label("Run syncs").check()
    new.get_by_label("Add people").check()
    new.get_by_role("button", name="Create").click()
    role = visit.get_by_role("form", name=name)
    role.get_by_label("Add people").uncheck()
    role.get_by_label("Disconnect products").check()
    with visit.expect_navigation():
        role.get_by_role("button", name="Save").click()
    look(visit, "Roles", name)
    changed, created = rows(visit)
    assert "role.create" in created
    for words in ("Permissions of role changed", "role.permission.update", "Ana Ferreira", name, "Warning"):
        assert words in changed
    with visit.expect_navigation():
        visit.get_by_role("link", name="Permissions of role changed").click()
    compared = [" ".join(text.split()) for text in visit.locator("table.changes tbody tr").all_inner_texts()]
    assert [line for line in compared if "Old:" in line and "user.create" in line], compared
    assert [line for line in compared if "New:" in line and "integration.disconnect" in line], compared
    text = " ".join(visit.locator("main").inner_text().split())
    assert '"added": [ "integration.disconnect" ], "removed": [ "user.create" ]' in text


def test_a_failed_attempt_can_be_read_with_its_reason(visit: Page) -> None:
    """A sync that another product refused: nothing was changed, and the log says why."""
    visit.get_by_role("link", name="Invoices").click()
    visit.get_by_role("button", name="Sync now").click()
    why = "Stripe answered 401 Unauthorized: the secret has expired"
    assert visit.get_by_role("alert").inner_text() == why
    look(visit, "Syncs", "Invoices")
    row = rows(visit)[0]
    for words in ("Connection synchronized", "sync.run", "Ana Ferreira", "Invoices", "Failure"):
        assert words in row
    with visit.expect_navigation():
        visit.get_by_role("link", name="Connection synchronized").first.click()
    reason = visit.locator("blockquote.quote").inner_text()
    assert why in reason


def test_a_call_of_the_api_can_be_read_with_token_and_parameters(visit: Page) -> None:
    """A program asked with a token made on the page; the log shows its name and what it asked for."""
    visit.get_by_role("link", name="API tokens").click()
    name = f"warehouse report {uuid4().hex[:8]}"
    visit.get_by_label("Name").fill(name)
    visit.get_by_label("Read connections and their syncs").check()
    visit.get_by_role("button", name="Create").click()
    token = visit.locator("code.secret").inner_text()
    answer = httpx2.get(
        visit.url.removesuffix("/tokens") + "/api/v1/connections",
        params={"connector": "salesforce"},
        headers={"authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=60,
    )
    assert [each["name"] for each in answer.json()] == ["Wholesale customers"]
    look(visit, "API requests", name)
    (row,) = rows(visit)
    for words in ("API: Get connections", "api.request.get_connections", name, "Success"):
        assert words in row
    with visit.expect_navigation():
        visit.get_by_role("link", name="API: Get connections").click()
    text = " ".join(visit.locator("main").inner_text().split())
    for words in (f"API token {name}", "/api/v1/connections", "connector salesforce"):
        assert words in text


def test_another_teams_admin_finds_nothing_in_the_browser(visit: Page, browser: Browser) -> None:
    """Lea of Lumen Labs, on the same server: her own log, and not a row of Harbor Foods."""
    context = browser.new_context(base_url=visit.url)
    page = context.new_page()
    page.goto("/audit")
    sign_in(page, LEA)
    page.wait_for_url("**/audit/")
    assert "lumen-labs" in page.locator("main").inner_text()
    assert [row for row in rows(page) if "Ana" in row or "harbor" in row] == []
    context.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The platform as it was before Affidavit was added."""
    folder = tmp_path_factory.mktemp("plain") / "integration-platform"
    plain_example.plain(EXAMPLE, folder)
    return folder


def test_the_diff_is_what_was_added(plain: Path) -> None:
    """The platform without Affidavit and the diff make the platform with it; without, nothing names it."""
    diff = (EXAMPLE / plain_example.DIFF).read_text(encoding="utf-8")
    assert plain_example.between(plain, EXAMPLE) == diff
    texts = [path.read_text(encoding="utf-8").lower() for path in plain.rglob("*") if path.is_file()]
    assert len(texts) > 20
    assert [text for text in texts if "affidavit" in text or "audit" in text] == []


def test_what_was_added_is_ten_lines_beside_the_records(plain: Path) -> None:
    """At most ten lines beside the calls that record, none of a statement taken apart; README shows them."""
    lines = [line.strip() for line in plain_example.beside_records(EXAMPLE)]
    assert 0 < len(lines) <= 10
    assert all(len(line) <= 110 for line in lines)
    shown = [
        line[1:].strip()
        for block in re.findall(r"```diff\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.splitlines()
        if line.startswith("+")
    ]
    assert [line for line in shown if line in lines] == lines


def test_a_line_that_does_not_record_is_noticed(tmp_path: Path) -> None:
    """Wiring, and what is neither in a call that records nor in the header of its block, counts."""
    added = """\
import affidavit
audit.record(
    session,
    "a.b",
)
await audit.aio.denied("a.b")
with (
    audit.attempt(session, "a.b"),
    other(),
):
    extra = audit.recorder
@audit.audited("a.b")
def function():
    return audit.record
"""
    (tmp_path / "app.py").write_text(added, encoding="utf-8")
    lines = "".join(f"+{line}\n" for line in added.splitlines())
    count = len(added.splitlines())
    diff = f"--- /dev/null\n+++ b/app.py\n@@ -0,0 +1,{count} @@\n{lines}"
    (tmp_path / plain_example.DIFF).write_text(diff, encoding="utf-8")
    assert [line.strip() for line in plain_example.beside_records(tmp_path)] == [
        "import affidavit",
        "extra = audit.recorder",
        "def function():",
        "return audit.record",
    ]


def test_the_platform_runs_without_affidavit(plain: Path, tmp_path: Path) -> None:
    """Before it was added the platform served its pages and its API; nothing of Affidavit is needed."""
    (plain / "affidavit.py").write_text("raise ImportError('it was not added yet')\n", encoding="utf-8")
    with trellis(tmp_path, example=plain) as here, visiting(here.address, ANA) as ana:
        assert "Warehouse channels" in ana.get("/").text
        assert "Audit log" not in ana.get("/").text
        token = ana.token("nightly", "sync.run", "integration.read")
        path = f"/api/v1/connections/{ana.connection('Warehouse channels')}/syncs"
        answer = ana.client.post(path, headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["started_by"]) == (201, "nightly")
        assert ana.get("/audit").status_code == 404
    done = subprocess.run(
        [sys.executable, "-c", "import affidavit"], cwd=plain, capture_output=True, check=False
    )
    assert b"it was not added yet" in done.stderr
