"""A mounted page under real servers with several worker processes, one of them forked after it was opened."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.recorder.apps import App
from tests.recorder.mounted import audit_of, record
from tests.recorder.started import eventually

ASGI = """
import os
from fastapi import FastAPI
from affidavit import Audit, Viewer

audit = Audit(os.environ["APP_DATABASE"], organization="acme", data_dir=os.environ["APP_KEYS"])
app = FastAPI()
app.mount("/audit", audit.ui(authorize=lambda request: Viewer("u-7", role="admin")))
"""

WSGI = """
import json, os
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="of a test", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, USE_TZ=True,
    DATABASES={"default": json.loads(os.environ["APP_DJANGO"])}, INSTALLED_APPS=["affidavit.django"],
    MIDDLEWARE=["affidavit.django.AuditMiddleware"],
    AFFIDAVIT={"organization": "acme", "data_dir": os.environ["APP_KEYS"]},
)
django.setup()

from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.urls import path
from affidavit.django import Viewer, audit

urlpatterns = [path("audit/", audit.urls(authorize=lambda request: Viewer("u-7", role="admin")))]
app = get_wsgi_application()
# Somebody has looked at the page before the server forks: files, threads and connections are open.
assert Client().get("/audit/").status_code == 200
"""

UVICORN = "uvicorn served:app --uds {socket} --workers 2 --log-level warning"
SERVERS = {
    "uvicorn": (ASGI, UVICORN),
    "gunicorn": (WSGI, "gunicorn served:app --bind unix:{socket} --workers 2 --threads 2 --preload"),
    "Django under uvicorn": (WSGI.replace("wsgi", "asgi"), UVICORN),
}


@contextmanager
def served(app: App, module: str, command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A product under a server that listens on a Unix socket."""
    (app.folder / "served.py").write_text(module)
    path, log = app.folder / "s", app.folder / "server.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AFFIDAVIT_")}
    variables = {
        "APP_DATABASE": app.url,
        "APP_DJANGO": json.dumps(_django(app)),
        "APP_KEYS": str(app.folder / "keys"),
        "PYTHONPATH": str(app.folder),
    }
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", *command.format(socket=path).split()],
            cwd=app.folder,
            env=kept | variables,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    try:
        eventually(lambda: _listens(path, process), lambda: f"nobody listens: {log.read_text()}")
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listens(path: Path, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the server has ended"
    with socket.socket(socket.AF_UNIX) as tried:
        return tried.connect_ex(str(path)) == 0


def _django(app: App) -> dict[str, Any]:
    if app.engine == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(app.file)}
    name = app.url.rpartition("/")[2]
    parts = httpx2.URL(app.url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": parts.host,
        "PORT": parts.port,
    }


def ask(app: App, path: str, **params: str) -> httpx2.Response:
    """An answer over a connection of its own, which any of the workers may take."""
    transport = httpx2.HTTPTransport(uds=str(app.folder / "s"))
    with httpx2.Client(transport=transport, base_url="http://product", timeout=60) as client:
        answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer


def worker_of(answer: httpx2.Response) -> str:
    """The process that answered: ids of requests begin alike in each."""
    return answer.headers["x-request-id"].partition("-")[0]


@pytest.mark.parametrize(
    ("app", "server"),
    [
        ("sqlite", "uvicorn"),
        ("sqlite", "gunicorn"),
        ("postgresql", "gunicorn"),
        ("postgresql", "Django under uvicorn"),
        ("sqlite", "Django under uvicorn"),
    ],
    indirect=["app"],
)
def test_several_workers_serve_one_page(app: App, server: str) -> None:
    """Each opens its own; pages go on in any of them; exports are whole; all end when they are told to."""
    audit = audit_of(app)
    record(audit, *["user.create"] * 25)
    audit.close()
    with served(app, *SERVERS[server]) as process:
        workers: set[str] = set()
        until = time.monotonic() + 60
        while len(workers) < 2:
            assert time.monotonic() < until, "one worker only answers"
            workers.add(worker_of(ask(app, "/audit/")))
        seen: list[str] = []
        token: str | None = None
        for _ in range(30):
            asked = {"limit": "1", "action": "user.create"} | ({"continuation_token": token} if token else {})
            page = ask(app, "/audit/api/v1/events", **asked)
            seen += [event["id"] for event in page.json()["events"]]
            token = page.json()["continuation_token"]
            if token is None:
                break
        assert len(seen) == len(set(seen)) == 25
        export = ask(app, "/audit/api/v1/events/export", format="ndjson", action="user.create")
        assert json.loads(export.text.splitlines()[-1])["trailer"]["events"] == 25
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
    assert "Traceback" not in (app.folder / "server.log").read_text()
    actions = [action for (action,) in app.events("action")]
    assert actions.count("audit.export.requested") == 1
    assert actions.count("audit.log.read") >= 2
    if app.engine == "sqlite":
        assert app.ask("PRAGMA integrity_check") == [("ok",)]
