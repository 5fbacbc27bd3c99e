"""The example on Django as a process of its own: driven over HTTP on both engines, and in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx2
import pytest
from psycopg import sql

from tests.e2e.examples import EXAMPLES, Running, running, until
from tests.postgres import Server
from tools import plain_example

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EXAMPLE = EXAMPLES / "data-pipelines"
PASSWORD = "over the weir"
INES, NOOR, KOFI = "ines@harbor.example", "noor@harbor.example", "kofi@lumen.example"
AUDIT = "/team/settings/audit/"


@contextmanager
def millrace(folder: Path, database: str, *, example: Path = EXAMPLE) -> Iterator[Running]:
    """Run ``manage.py up``, with its data in a folder."""
    keys = str(folder / "keys")
    environment = {"DATABASE_URL": database, "AFFIDAVIT_DATA_DIR": keys, "PYTHONUNBUFFERED": "1"}
    words = ("manage.py", "up", "127.0.0.1:0")
    with running(example, *words, log=folder / "said.log", environment=environment) as process:
        yield process


class Client:
    """Somebody, or a program, at the address of the product."""

    def __init__(self, address: str, token: str | None = None) -> None:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._http = httpx2.Client(
            base_url=address,
            headers=headers,
            trust_env=False,
            timeout=60,
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """Ask."""
        return self._http.get(path, **options)

    def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Ask a program's way."""
        return self._http.request(method, path, **options)

    def post(self, path: str, **fields: Any) -> httpx2.Response:
        """Send a form; where it leads to."""
        if "csrftoken" not in self._http.cookies:
            self._http.get("/login/")
        headers = {"x-csrftoken": self._http.cookies["csrftoken"]}
        return self._http.post(path, data=fields, headers=headers, follow_redirects=True)

    def sign_in(self, email: str, password: str = PASSWORD) -> httpx2.Response:
        """Begin a session."""
        return self.post("/login/", email=email, password=password)

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        """What the page's own API shows, oldest first."""
        answer = self.get(f"{AUDIT}api/v1/events", params={"limit": 1000, **filters})
        assert answer.status_code == 200, answer.text
        shown: list[dict[str, Any]] = answer.json()["events"]
        return [
            event
            for event in reversed(shown)
            if not event["action"].startswith(("access.", "audit.", "log."))
        ]


def found(pattern: str, text: str) -> str:
    """What a page shows at a place."""
    match = re.search(pattern, text, re.DOTALL)
    assert match is not None, text
    return match[1]


class Story:
    """What happened in the product before anybody looked at its audit log.

    Attributes:
        ines: signed in, an admin of the team harbor; ``noor`` is an analyst there.
        kofi: an admin of another team.
        program: calls the API with the token ``ci deploy``, that may read and run.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.ines, self.noor, self.kofi = Client(address), Client(address), Client(address)
        assert Client(address).sign_in(NOOR, "a guess").status_code == 422
        assert Client(address).sign_in("nobody@harbor.example").status_code == 422
        for who, email in ((self.ines, INES), (self.noor, NOOR), (self.kofi, KOFI)):
            assert who.sign_in(email).url.path == "/"
        self._people()
        self.program = Client(address, self._token())
        self._calls()
        self._runs()
        self._connections()
        self.kofi.post("/team/settings/", name="Lumen Power", region="eu-central")

    def _people(self) -> None:
        page = self.ines.get("/team/settings/members/").text
        analyst = found(r'<option value="(\d+)"[^>]*>Analyst', page)
        person = {
            "name": "Eve Ross",
            "email": "eve@harbor.example",
            "password": "quiet water",
            "role": analyst,
        }
        assert "Eve Ross can sign in now" in self.ines.post("/team/settings/members/", **person).text
        assert self.ines.post("/team/settings/members/", **person).status_code == 422
        refused = self.noor.post("/team/settings/members/", **person | {"email": "mallory@harbor.example"})
        assert refused.status_code == 403
        may = ["pipelines:run", "connections:manage"]
        page = self.ines.post(f"/team/settings/roles/{analyst}/", permissions=may).text
        assert "Analyst: added connections:manage." in page

    def _token(self) -> str:
        abilities = ["pipelines:read", "pipelines:run"]
        made = self.ines.post("/team/settings/tokens/", name="ci deploy", abilities=abilities)
        return found(r'<code id="token">(\S+)</code>', made.text)

    def _calls(self) -> None:
        one = "/api/v1/pipelines/orders-to-warehouse"
        answers = [
            self.program.get("/api/v1/pipelines", params={"enabled": "true", "api_key": "hush"}),
            self.program.get(f"{one}/runs", params={"status": "success"}),
            self.program.send("POST", f"{one}/runs"),
            self.program.send("POST", f"{one}/disable"),
            self.program.get("/api/v1/runs/999999"),
            Client(self.address, "mill_of-nobody").get(one),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 201, 403, 404, 401]

    def _runs(self) -> None:
        slugs = ["clicks-archive", "clicks-to-warehouse", "orders-archive", "orders-to-warehouse"]
        page = self.ines.post("/run/", pipeline=slugs).text
        assert "Nothing was run. Orders archive is switched off." in page
        assert "2 ran." in self.ines.post("/run/", pipeline=slugs[:2]).text

    def _connections(self) -> None:
        place = {"name": "ledger", "kind": "postgres", "host": "ledger.internal", "account": "reader"}
        page = self.ines.post("/connections/", secret="first secret", **place).text
        key = found(r'/connections/(\d+)/secret/">(?:(?!/secret/).)*New secret of ledger', page)
        self.ines.post(f"/connections/{key}/secret/", secret="second secret")
        self.ines.post(f"/connections/{key}/delete/")

    def runs(self, pipeline: str) -> int:
        """How often a pipeline ran."""
        return self.ines.get(f"/pipelines/{pipeline}/").text.count("/again/")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The story on an engine; the tests only read."""
    folder = tmp_path_factory.mktemp("pipelines")
    database = f"sqlite:///{folder / 'millrace.db'}"
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        name = f"millrace_{uuid4().hex}"
        with server.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        database = server.url(name)
    with millrace(folder, database) as process:
        yield Story(process.address)


@pytest.mark.requirement("R107", "R147")
def test_who_created_this_user(story: Story) -> None:
    """Group Users, search for the address, read the actor of ``user.create``."""
    (event,) = story.ines.events(action_group="user", q="eve@harbor.example")
    assert (event["action"], event["outcome"]) == ("user.create", "success")
    assert (event["actor"]["name"], event["actor"]["email"]) == ("Ines Duarte", INES)
    assert event["resources"][0]["name"] == "eve@harbor.example"
    assert (event["source"], event["ip"], event["session"]) == ("web", "127.0.0.1", {"type": "web"})


@pytest.mark.requirement("R108", "R149", "R150")
def test_who_changed_permissions_on_this_role(story: Story) -> None:
    """Group Roles, search for its name, read ``role.permission.update`` with the difference."""
    (event,) = story.ines.events(action_group="role", resource="Analyst")
    assert (event["action"], event["actor"]["email"]) == ("role.permission.update", INES)
    old, new = ["pipelines:run"], ["pipelines:run", "connections:manage"]
    assert event["changes"] == {"permissions": {"old": old, "new": new}}
    assert event["metadata"]["diff"] == {"added": ["connections:manage"], "removed": []}


@pytest.mark.requirement("R23", "R78", "R127")
def test_failed_attempts_stand_there_with_their_reason(story: Story) -> None:
    """A wrong password, a missing permission and a bulk run that could not be."""
    failed = [(each["action"], each["reason"]) for each in story.ines.events(outcome="failure", source="web")]
    assert failed == [
        ("auth.login.failed", "The password is wrong"),
        ("security.access.denied", "The role Analyst lacks members:manage"),
        ("pipeline.run.bulk.trigger", "Orders archive is switched off."),
    ]
    guess, denied, _bulk = story.ines.events(outcome="failure", source="web")
    assert (guess["severity"], guess["actor"]["type"]) == ("critical", "anonymous")
    assert guess["resources"][0]["name"] == NOOR
    assert (denied["actor"]["email"], denied["metadata"]["attempted"]) == (
        NOOR,
        "POST /team/settings/members/",
    )


def test_what_was_rolled_back_left_no_event(story: Story) -> None:
    """Two pipelines ran before the one that is switched off: neither they nor their events are there."""
    runs = story.ines.events(action="pipeline.run.trigger")
    assert [(run["source"], run["resources"][0]["id"]) for run in runs] == [
        ("api", "orders-to-warehouse"),
        ("web", "clicks-archive"),
        ("web", "clicks-to-warehouse"),
    ]
    seeded = 4
    assert [story.runs(run["resources"][0]["id"]) for run in runs] == [seeded + 1] * 3
    assert story.ines.events(action="user.create", q="mallory") == []


@pytest.mark.requirement("R32", "R33", "R34", "R35", "R39", "R40", "R41", "R82")
def test_calls_of_the_api_say_whose_token_asked_for_what(story: Story) -> None:
    """Endpoint, method, token, parameters and identifiers of each call; a secret in a query is masked."""
    calls = story.ines.events(action="api.request.*", token="ci deploy")
    assert [(call["action"], call["metadata"]["status"], call["outcome"]) for call in calls] == [
        ("api.request.get_pipelines", 200, "success"),
        ("api.request.get_pipeline_runs", 200, "success"),
        ("api.request.trigger_pipeline_run", 201, "success"),
        ("api.request.disable_pipeline", 403, "failure"),
        ("api.request.get_pipeline_run", 404, "failure"),
    ]
    listed, runs, *_ = calls
    assert listed["request"]["params"] == {"enabled": "true", "api_key": "[masked]"}
    assert (listed["actor"]["type"], listed["actor"]["name"], listed["source"]) == (
        "api_token",
        "ci deploy",
        "api",
    )
    assert listed["session"]["token_name"] == "ci deploy"
    assert (runs["request"]["method"], runs["request"]["endpoint"]) == (
        "GET", "/api/v1/pipelines/<slug:pipeline>/runs",
    )  # fmt: skip
    assert runs["metadata"] == {
        "endpoint": "/api/v1/pipelines/<slug:pipeline>/runs", "method": "GET", "status": 200,
        "token_name": "ci deploy", "pipeline": "orders-to-warehouse",
    }  # fmt: skip
    assert [(each["type"], each["id"]) for each in runs["resources"]] == [("pipeline", "orders-to-warehouse")]


@pytest.mark.requirement("R8", "R24")
def test_a_run_by_the_api_is_told_apart(story: Story) -> None:
    """A run that a token triggered says so, and the token's own making stands before it."""
    run, *_ = story.ines.events(action="pipeline.run.trigger")
    assert (run["metadata"]["trigger"], run["actor"]["name"]) == ("api", "ci deploy")
    (made,) = story.ines.events(action="api_token.create")
    assert made["metadata"] == {"token_name": "ci deploy", "abilities": ["pipelines:read", "pipelines:run"]}
    assert made["resources"][0]["id"] == run["actor"]["id"]


@pytest.mark.requirement("R18", "R19")
def test_connections_are_captured_without_what_opens_them(story: Story) -> None:
    """Made, changed and deleted: three events without a line about them, and no secret in any."""
    events = [event for event in story.ines.events() if event["action"].startswith("connection.")]
    assert [event["action"] for event in events] == [
        "connection.create",
        "connection.update",
        "connection.delete",
    ]
    made, rotated, _deleted = events
    assert made["changes"]["name"] == {"old": None, "new": "ledger"}
    assert made["changes"]["secret"]["new"] == "[masked]"
    assert set(rotated["changes"]) == {"secret"}
    assert "first secret" not in repr(events)
    assert "second secret" not in repr(events)


@pytest.mark.requirement("R4", "R5", "R158", "R183")
def test_nobody_else_sees_it(story: Story) -> None:
    """Another team finds its own events only, a mere analyst no page, and a stranger signs in first."""
    ours = story.ines.events()
    (theirs,) = story.kofi.events(action="team.update")
    assert set(theirs["changes"]) == {"name", "region"}
    assert {event["organization"] for event in ours} == {"harbor"}
    assert {event["organization"] for event in story.kofi.events()} == {"lumen"}
    for path in (f"{AUDIT}api/v1/events/{ours[0]['id']}", f"{AUDIT}api/v1/events?organization=harbor"):
        assert story.kofi.get(path).status_code == 404
    assert "harbor" not in story.kofi.get(AUDIT, params={"organization": "harbor"}).text
    assert story.noor.get(AUDIT).status_code == 404
    assert "Audit log" not in story.noor.get("/team/settings/members/").text
    stranger = Client(story.address)
    assert stranger.get(f"{AUDIT}api/v1/events").status_code == 401
    answer = stranger.get(AUDIT)
    assert answer.is_redirect
    there = stranger.post(answer.headers["location"], email=INES, password=PASSWORD)
    assert (there.url.path, there.status_code) == (AUDIT, 200)


def test_a_worker_seals_what_was_recorded(story: Story) -> None:
    """The worker beside the server has every event in the log, under a signed checkpoint."""
    for event in story.ines.events():
        path = f"{AUDIT}api/v1/events/{event['id']}/proof"
        until(lambda path=path: story.ines.get(path).status_code == 200, f"no proof of {event['action']}")
        assert "c2sp.org/tlog-proof@v1" in story.ines.get(path).text


def follow(page: Page, role: Any, name: str, **more: Any) -> None:
    """Click what leads to another page, and wait until it is there."""
    with page.expect_navigation():
        page.get_by_role(role, name=name, **more).click()


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Fill in the form."""
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    follow(page, "button", "Sign in")


@pytest.fixture
def visit(story: Story, browser: Browser) -> Iterator[Page]:
    """A page that fails on what its policy forbids and on errors of scripts."""
    context = browser.new_context(base_url=story.address, viewport={"width": 1280, "height": 800})
    wrong: list[str] = []
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text else None)
    yield page
    context.close()
    assert wrong == []


def ask(page: Page, group: str, search: str) -> str:
    """Choose a group and search, as the recipes say; the one row that is left."""
    page.get_by_label("Group").select_option(label=group)
    page.get_by_role("searchbox").or_(page.locator("input[name=q]")).first.fill(search)
    with page.expect_navigation():
        page.get_by_role("button", name="Apply").first.click()
    (row,) = page.locator("tbody tr").all_inner_texts()
    return str(row)


@pytest.mark.requirement("R3", "R55", "R63", "R147", "R149")
@pytest.mark.parametrize("story", ["sqlite"], indirect=True, scope="module")
def test_team_settings_answer_the_questions(visit: Page, story: Story) -> None:
    """Sign in, create a user, change a role, call the API; then Team Settings, Audit log, and who it was."""
    visit.goto("/login/")
    sign_in(visit, KOFI, "a guess")
    assert visit.get_by_role("alert").inner_text() == "Address and password do not belong together."
    sign_in(visit, KOFI)
    follow(visit, "link", "Team Settings")
    follow(visit, "link", "Members")
    visit.get_by_label("Name").fill("Eve Ross")
    visit.get_by_label("Email").fill("eve@lumen.example")
    visit.get_by_label("First password").fill("quiet water")
    visit.get_by_label("Role", exact=True).select_option(label="Analyst")
    follow(visit, "button", "Create user")
    assert visit.get_by_role("cell", name="Eve Ross").count() == 1
    follow(visit, "link", "Roles")
    visit.get_by_role("group", name="What Analyst may do").get_by_text("Add, change and delete").check()
    follow(visit, "button", "Save Analyst")
    follow(visit, "link", "API tokens")
    visit.get_by_label("Name").fill("ci deploy")
    follow(visit, "button", "Create token")
    program = Client(story.address, visit.locator("#token").inner_text())
    assert program.get("/api/v1/pipelines/orders-archive/runs?status=success").status_code == 200
    follow(visit, "link", "Audit log")
    assert visit.url.endswith(AUDIT)

    created = ask(visit, "Users", "eve@lumen.example")
    assert "User created" in created
    assert "Kofi Mensah" in created
    changed = ask(visit, "Roles", "Analyst")
    assert "role.permission.update" in changed
    assert "Kofi Mensah" in changed
    follow(visit, "link", "Permissions of role changed", exact=True)
    assert "connections:manage" in visit.locator("main").inner_text()

    visit.goto(AUDIT)
    failed = ask(visit, "Authentication", "wrong")
    assert "auth.login.failed" in failed
    assert "Failure" in failed
    follow(visit, "link", "Login failed", exact=True)
    assert "The password is wrong" in visit.locator("main").inner_text()

    visit.goto(AUDIT)
    call = ask(visit, "API requests", "orders-archive")
    assert "API: Get pipeline runs" in call
    follow(visit, "link", "API: Get pipeline runs", exact=True)
    told = visit.locator("main").inner_text()
    for part in ("ci deploy", "/api/v1/pipelines/<slug:pipeline>/runs", "GET", "orders-archive", "success"):
        assert part in told, told


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product as it was before Affidavit was added."""
    folder = tmp_path_factory.mktemp("plain") / "data-pipelines"
    plain_example.plain(EXAMPLE, folder)
    return folder


def test_the_diff_is_what_was_added(plain: Path) -> None:
    """The product without Affidavit and the diff make the product with it; without, nothing names it."""
    diff = (EXAMPLE / plain_example.DIFF).read_text(encoding="utf-8")
    assert plain_example.between(plain, EXAMPLE) == diff
    assert re.findall(r"^-(?!-- [a/])", diff, re.MULTILINE) == []
    texts = [path.read_text(encoding="utf-8").lower() for path in plain.rglob("*") if path.is_file()]
    assert len(texts) > 30
    assert [text for text in texts if "affidavit" in text or "audit" in text] == []


def test_ten_lines_were_added_beside_the_calls_that_record(plain: Path) -> None:
    """At most ten, of the length that all lines have; the README shows each, and no other."""
    lines = plain_example.beside_records(EXAMPLE)
    assert 0 < len(lines) <= 10
    assert all(len(line) <= 110 for line in lines)
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    (block,) = [each for each in re.findall(r"```diff\n(.*?)```", readme, re.DOTALL) if "millrace" in each]
    assert sorted(re.findall(r"^\+(.*)$", block, re.MULTILINE)) == sorted(lines)


def test_the_product_runs_without_affidavit(plain: Path, tmp_path: Path) -> None:
    """Before it was added there were its pages and its API, and no line of Affidavit is needed for them."""
    (plain / "affidavit.py").write_text("raise ImportError('it was not added yet')\n", encoding="utf-8")
    with millrace(tmp_path, f"sqlite:///{tmp_path / 'plain.db'}", example=plain) as process:
        ines = Client(process.address)
        assert ines.sign_in(INES).url.path == "/"
        assert "Orders to warehouse" in ines.get("/").text
        assert "Audit log" not in ines.get("/team/settings/").text
        made = ines.post("/team/settings/tokens/", name="nightly", abilities=["pipelines:run"])
        program = Client(process.address, found(r'<code id="token">(\S+)</code>', made.text))
        assert program.send("POST", "/api/v1/pipelines/clicks-archive/runs").status_code == 201
        assert ines.get(AUDIT).status_code == 404
    done = subprocess.run(
        [sys.executable, "-c", "import affidavit"], cwd=plain, capture_output=True, check=False
    )
    assert b"it was not added yet" in done.stderr
