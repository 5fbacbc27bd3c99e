"""When a mounted page opens what, where from, in how many processes; and what it says when it cannot."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from affidavit.embed import Audit
from affidavit.errors import ConfigError
from affidavit.storage.sqlite.database import migrate_file
from tests.recorder.apps import App
from tests.recorder.mounted import audit_of, browser, host, record, who


@pytest.fixture
def product(tmp_path: Path) -> App:
    """A product's database on SQLite."""
    path = tmp_path / "app.db"
    migrate_file(path)
    return App("sqlite", f"sqlite:///{path}", tmp_path)


def open_files(folder: Path) -> set[str]:
    """Names of the files below a folder that this process has open."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        try:
            target = Path(os.readlink(each))  # noqa: PTH115 - the text as it is
        except OSError:
            continue
        if folder in target.parents:
            found.add(target.name)
    return found


def recorded(app: App, *actions: str) -> None:
    """Events of the product, from somewhere else."""
    with closing(audit_of(app)) as audit:
        record(audit, *actions)


def test_the_first_request_opens_and_close_closes(product: App) -> None:
    """Mounting opens nothing and makes no folder; ``close()`` leaves nothing open; the next request opens."""
    audit = audit_of(product)
    web = host(audit)
    assert open_files(product.folder) == set()
    assert not (product.folder / "keys").exists()
    with browser(web) as client:
        for _ in range(2):
            assert client.get("/audit/").status_code == 200
            assert "app.db" in open_files(product.folder)
            audit.close()
            assert open_files(product.folder) == set()


def test_the_last_read_is_recorded_too(app: App) -> None:
    """What is noted beside an answer is stored although the loop that answered ends at once."""
    for _ in range(5):
        audit = audit_of(app)
        with browser(host(audit)) as client:
            assert client.get("/audit/").status_code == 200
        audit.close()
    assert app.events("action") == [("audit.log.read",)] * 5


def _url(app: App) -> Any:
    return app.url


def _engine(app: App) -> Any:
    return sqlalchemy.create_engine(app.sqlalchemy_url)


def _async_engine(app: App) -> Any:
    url = app.url.replace("sqlite://", "sqlite+aiosqlite://").replace(
        "postgresql://", "postgresql+asyncpg://"
    )
    return create_async_engine(url)


def _function(app: App) -> Any:
    return app.connect


def _creator(app: App) -> Any:
    if app.engine == "sqlite":
        return _engine(app)
    return sqlalchemy.create_engine("postgresql+psycopg://nobody@nowhere.invalid/none", creator=app.connect)


@pytest.mark.parametrize("given", [_url, _engine, _async_engine, _function, _creator])
def test_the_page_is_served_from_what_the_audit_has(app: App, given: Callable[[App], Any]) -> None:
    """A URL, an engine of either kind, one with connections of its own making, and a function."""
    audit = Audit(given(app), organization="acme", data_dir=app.folder / "keys")
    recorded(app, "user.create")
    with browser(host(audit)) as client:
        answer = client.get("/audit/api/v1/events")
    audit.close()
    assert [event["action"] for event in answer.json()["events"]] == ["user.create"]


def test_a_database_that_no_page_can_be_served_from_is_named(tmp_path: Path) -> None:
    """In memory, of another kind, nowhere to be found: an error when the page is mounted says what to do."""
    memory = Audit(sqlalchemy.create_engine("sqlite://"), organization="acme")
    with pytest.raises(ConfigError, match="in memory has no log, no worker and no page; use a file"):
        memory.ui(authorize=who)
    with pytest.raises(ConfigError, match="mysql:// is no database of ours"):
        Audit("mysql://localhost/x", organization="acme").ui(authorize=who)
    with pytest.raises(ConfigError, match="give data_dir="):
        Audit("postgresql://localhost/x", organization="acme").ui(authorize=who)
    with pytest.raises(ConfigError, match="unknown setting 'listenn'"):
        Audit(f"sqlite:///{tmp_path}/a.db").ui(authorize=who, listenn="x")


def test_the_page_may_have_a_database_url_of_its_own(product: App) -> None:
    """Where the app's own connections may only record, the page is given a role that reads."""
    recorded(product, "user.create")
    audit = Audit("postgresql://recorder@nowhere.invalid/app", organization="acme")
    web = host(audit, database=product.url, data_dir=product.folder / "keys")
    with browser(web) as client:
        assert len(client.get("/audit/api/v1/events").json()["events"]) == 1
    audit.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"authorize": None}, "authorize must be a function of the request, not None"),
        ({"authorize": who, "login_url": 7}, "login_url must be an address, such as /login, not 7"),
        ({"authorize": who, "login_url": ""}, "login_url must be an address"),
        ({"authorize": who, "login_url": "/login\r\nX-Y: z"}, "login_url must be an address"),
    ],
)
def test_arguments_that_break_a_rule_are_named(product: App, arguments: Any, said: str) -> None:
    """When the page is mounted, not when the first person looks at it."""
    with pytest.raises(ConfigError, match=said):
        audit_of(product).ui(**arguments)


def test_missing_tables_name_the_command(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without our tables: 503 and the command, in the answer and in the product's log; then it works."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE teams (id INTEGER PRIMARY KEY)")
    audit = audit_of(App("sqlite", f"sqlite:///{path}", tmp_path))
    with browser(host(audit)) as client:
        with caplog.at_level(logging.ERROR, "affidavit.web"):
            answer = client.get("/audit/")
        assert answer.status_code == 503
        assert answer.json()["detail"] == (
            "The database has no Affidavit tables; make them with: affidavit migrate."
        )
        assert str(path) not in answer.text
        assert "content-security-policy" in answer.headers
        assert "affidavit migrate" in caplog.text
        audit.migrate()
        assert client.get("/audit/").status_code == 200
    audit.close()


def test_a_missing_package_is_named() -> None:
    """Without the extra [web] mounting says what to install; recording needs none of it."""
    code = """
        import sys
        for name in ("starlette", "jinja2", "cryptography", "anyio", "markupsafe"):
            sys.modules[name] = None
        from affidavit import Audit, Viewer
        audit = Audit("sqlite:///a.db")
        Viewer("7", role="admin")
        try:
            audit.ui(authorize=lambda request: None)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ConfigError: The page needs the package ")
    assert done.stdout.endswith("; install: pip install 'affidavit[web]'\n")


def test_the_server_extra_is_not_needed(tmp_path: Path) -> None:
    """With [web] alone the page answers: none of what only the server has is imported."""
    code = """
        import sys
        for name in ("uvicorn", "cyclopts", "rich", "httpx2", "limits", "maxminddb", "ua_parser", "psycopg",
                     "sqlalchemy", "django", "fastapi"):
            sys.modules[name] = None
        import asyncio
        from affidavit import Audit, Viewer
        audit = Audit("sqlite:///app.db", organization="acme")
        audit.migrate()
        page = audit.ui(authorize=lambda request: Viewer("7", role="admin"))
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
                 "scheme": "http", "path": "/audit/", "root_path": "/audit", "query_string": b"",
                 "headers": [(b"host", b"x")]}
        async def receive(): return {"type": "http.request", "body": b"", "more_body": False}
        async def send(message): print(message.get("status", ""), end="")
        asyncio.run(page(scope, receive, send))
        audit.close()
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("200", "")


def test_a_page_that_was_opened_survives_a_fork(app: App) -> None:
    """Parent and child go on, each with connections of its own; what both did is in the log."""
    audit = audit_of(app)
    with browser(host(audit)) as client:
        assert client.get("/audit/").status_code == 200
        opened = audit._pages[0]._opening.app
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of each fork in a process with threads
            child = os.fork()
        if child == 0:  # nothing of pytest may run on in here
            code = 1
            try:
                with browser(host_of(audit)) as inner:
                    asked = inner.get("/audit/api/v1/events/export?format=csv")
                    own = audit._pages[0]._opening.app is not opened
                    code = 0 if asked.status_code == 200 and own else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert client.get("/audit/api/v1/events/export?format=csv").status_code == 200
    audit.close()
    actions = [action for (action,) in app.events("action")]
    assert actions.count("audit.export.requested") == 2
    if app.engine == "sqlite":
        assert app.ask("PRAGMA integrity_check") == [("ok",)]


def host_of(audit: Audit) -> Any:
    """A product around the page that was opened before the fork."""
    from fastapi import FastAPI

    web = FastAPI()
    web.mount("/audit", audit._pages[0])
    return web


def test_workers_continue_each_others_pages(app: App) -> None:
    """A continuation token of one worker process is good in another: they share the key in ``data_dir``."""
    first, second = audit_of(app), audit_of(app)
    record(first, *["user.create"] * 3)
    with browser(host(first)) as client, browser(host(second)) as other:
        asked = {"limit": "2", "action": "user.create"}
        listed = client.get("/audit/api/v1/events", params=asked).json()
        asked["continuation_token"] = listed["continuation_token"]
        rest = other.get("/audit/api/v1/events", params=asked).json()
    for audit in (first, second):
        audit.close()
    assert len({event["id"] for event in listed["events"] + rest["events"]}) == 3
    assert json.dumps(rest).count("user.create") == 1
