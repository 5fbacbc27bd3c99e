"""What docs/howto/embed.md tells a product to do: its code, served, and looked at in a real browser."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import pytest

from tests.e2e.test_documents import blocks
from tests.recorder.started import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "embed.md"
FASTAPI, DJANGO = blocks(PAGE, "python")

PRODUCT = """
from typing import Annotated
from urllib.parse import parse_qsl
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key="of a test")
USERS = {
    "ana": {"id": "usr_ana", "name": "Ana Ferreira", "role": "admin"},
    "ben": {"id": "usr_ben", "name": "Ben Otieno", "role": "viewer"},
}


@app.get("/")
def home(request: Request) -> HTMLResponse:
    name = request.session.get("user", {}).get("name", "nobody")
    return HTMLResponse(
        f"<title>Product</title><h1>Hello {name}</h1><a href='/audit'>Audit log</a>"
        "<form method=post action=/logout><button>Log out</button></form>"
    )


@app.get("/login")
def form(next: str = "/") -> HTMLResponse:
    return HTMLResponse(
        f"<title>Login of the product</title><form method=post><input name=next type=hidden value='{next}'>"
        "<input name=user><button>Log in</button></form>"
    )


@app.post("/login")
async def login(request: Request) -> RedirectResponse:
    given = dict(parse_qsl((await request.body()).decode()))
    request.session["user"] = USERS[given["user"]]
    return RedirectResponse(given["next"], 303)


@app.post("/logout")
def logout(request: Request) -> RedirectResponse:
    request.session.clear()
    return RedirectResponse("/", 303)
"""
EVENTS = """
from affidavit import Actor

ana = Actor(type="user", id="usr_ana", name="Ana Ferreira")
audit.migrate()
for number in range(60):
    audit.record_now("pipeline.run.trigger", actor=ana, resource=("pipeline", str(number)))
audit.record_now("team.update", actor=ana, resource=("team", "7"), changes={"name": ("Core", "Platform")})
audit.record_now("user.create", actor=ana, resource=("user", "usr_eve"), reason="<b>new</b> in the team")
"""
PROJECT = """
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="of a test", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], USE_TZ=True, LOGIN_URL="/in/",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "app.db"}},
    INSTALLED_APPS=[
        "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "affidavit.django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware", "affidavit.django.AuditMiddleware",
    ],
    AFFIDAVIT={"organization": "acme"},
)
django.setup()

from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("in/", lambda request: HttpResponse("the login"), name="login")]
"""
VISITS = """
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from affidavit import Actor

call_command("migrate", verbosity=0)
audit.record_now("team.update", actor=Actor(type="user", id="7"))
at = "/team/settings/audit/"
print(Client().get(at)["location"])
for staff in (True, False):
    browser = Client()
    browser.force_login(User.objects.create_user(f"of-{staff}", is_staff=staff))
    answer = browser.get(at)
    print(answer.status_code, "team.update" in answer.content.decode())
audit.close()
"""


class Product(NamedTuple):
    """A product that runs."""

    address: str
    folder: Path


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The how-to's app under uvicorn, with events of its own and the worker beside it."""
    folder = tmp_path_factory.mktemp("product")
    (folder / "product.py").write_text(f"{PRODUCT}\n{FASTAPI}\n{EVENTS}\naudit.start()\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AFFIDAVIT_")}
    log = folder / "server.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "product:app", "--port", "0"],
            cwd=folder,
            env=kept,
            stdin=subprocess.DEVNULL,
            stderr=written,
        )
    try:
        found = eventually(lambda: _address(process, log), log.read_text)
        yield Product(found[1], folder)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)


def _address(process: subprocess.Popen[bytes], log: Path) -> re.Match[str] | None:
    assert process.poll() is None, log.read_text()
    return re.search(r"running on (http://\S+)", log.read_text())


@pytest.fixture
def visit(product: Product, browser: Browser) -> Iterator[Page]:
    """A browser without JavaScript in which nobody is signed in; it fails on anything a policy forbids."""
    context = browser.new_context(java_script_enabled=False, base_url=product.address, accept_downloads=True)
    refused: list[str] = []
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on(
        "console",
        lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None,
    )
    yield page
    context.close()
    assert refused == []


def follow(page: Page, what: Locator) -> None:
    """Click what leads to another page, and wait until it is there."""
    with page.expect_navigation():
        what.click()


def log_in(page: Page, user: str) -> None:
    """Through the product's own form."""
    page.locator("[name=user]").fill(user)
    follow(page, page.get_by_role("button", name="Log in"))


def test_the_page_of_a_product_in_a_browser(product: Product, visit: Page) -> None:
    """In through the product's login, search, open, export; once logged out of the product, it is gone."""
    visit.goto("/audit?action_group=team")
    assert visit.title() == "Login of the product"
    log_in(visit, "ana")
    assert visit.url == f"{product.address}/audit/?action_group=team"
    assert visit.title() == "Audit log of acme · Affidavit"
    assert visit.locator("tbody .action .code").all_inner_texts() == ["team.update"]
    assert visit.locator("header .visitor").inner_text() == "Ana Ferreira"
    assert visit.get_by_role("button", name="Sign out").count() == 0

    follow(visit, visit.get_by_role("link", name="Clear", exact=True))
    follow(visit, visit.get_by_role("link", name="Next"))
    assert visit.locator("tbody tr").count() >= 12
    visit.get_by_role("searchbox").fill("action:user.create")
    follow(visit, visit.get_by_role("button", name="Apply").first)
    assert visit.url.startswith(f"{product.address}/audit/?")
    assert visit.locator("tbody .action .code").all_inner_texts() == ["user.create"]

    follow(visit, visit.locator("tbody tr a").first)
    assert re.fullmatch(rf"{product.address}/audit/events/[0-9a-f-]{{36}}", visit.url)
    assert "<b>new</b> in the team" in visit.inner_text("main")
    colour = visit.evaluate("getComputedStyle(document.querySelector('header')).display")
    assert colour == "flex", "the style sheet is there"
    follow(visit, visit.get_by_role("link", name="Audit log").first)
    assert visit.url == f"{product.address}/audit/"

    visit.get_by_text("Export", exact=True).click()
    with visit.expect_download() as download:
        visit.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
    recorded = [row for row in rows if not row["Action"].startswith("audit.")]
    assert len(recorded) == 62
    visit.goto("/audit/?action=audit.export.requested")
    assert "Ana Ferreira" in visit.locator("tbody tr").first.inner_text()

    visit.goto("/")
    assert "Hello Ana Ferreira" in visit.inner_text("h1")
    follow(visit, visit.get_by_role("button", name="Log out"))
    assert "Hello nobody" in visit.inner_text("h1")
    visit.goto("/audit/")
    assert visit.title() == "Login of the product"
    for _ in range(3):  # over the product's own pages to the last one of the log
        visit.go_back()
    assert visit.title() == "Login of the product", "no page of the log is kept by the browser"
    assert visit.request.get("/audit/api/v1/events").status == 401


def test_whoever_may_not_read_finds_no_page(visit: Page) -> None:
    """A person of the product without the ability is signed in and finds nothing."""
    visit.goto("/login?next=/audit/")
    log_in(visit, "ben")
    assert visit.locator("h1").inner_text() == "There is nothing here"
    assert visit.inner_text("main").find("team.update") == -1
    visit.goto("/")
    assert "Hello Ben Otieno" in visit.inner_text("h1")


def test_proofs_come_from_the_worker_beside_it(product: Product) -> None:
    """audit.start() and the page share their keys: what the one has signed the other proves."""
    with httpx2.Client(base_url=product.address, follow_redirects=True, timeout=60) as client:
        client.post("/login", content="user=ana&next=/", headers={"content-type": "text/plain"})
        asked = {"action": "team.update"}
        (event,) = client.get("/audit/api/v1/events", params=asked).json()["events"]
        address = f"/audit/api/v1/events/{event['id']}/proof"
        until = time.monotonic() + 60
        while (proof := client.get(address)).status_code == 409 and time.monotonic() < until:
            time.sleep(0.1)
        assert proof.status_code == 200
        assert proof.text.startswith("c2sp.org/tlog-proof@v1")
        document = client.get("/audit/api/openapi.json").json()
        assert document["servers"] == [{"url": "/audit"}]
    assert (product.folder / "affidavit-data" / "log.key").exists()


def test_the_django_part_runs(tmp_path: Path) -> None:
    """The how-to's urls.py: who is staff reads, others find nothing, nobody is sent to the login."""
    (tmp_path / "project.py").write_text(f"{PROJECT}\n{DJANGO}\n{VISITS}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AFFIDAVIT_")}
    done = subprocess.run(
        [sys.executable, "-c", "import project"],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["/in/?next=%2Fteam%2Fsettings%2Faudit%2F", "200 True", "404 False"]


def test_the_roles_of_the_page_are_those_of_the_code() -> None:
    """The table of the how-to names every role."""
    from affidavit.access.viewers import ROLES

    rows: list[Any] = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [role for role in rows if role in ROLES] == list(ROLES)
    assert json.dumps(rows).count("operator") == 1
