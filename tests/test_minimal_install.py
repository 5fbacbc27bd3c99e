"""An app that only records installs ``msgspec`` and nothing else; here nothing else is there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from tests.recorder.answers import serving, stored
from tests.test_wheel import build, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RECORDER = """
import json, sqlite3, sys
from importlib.metadata import requires

import affidavit
from affidavit import Audit, system
from affidavit.recorder.client import AuditClient

url, folder = sys.argv[1:]
me = system("app")
file = folder + "/app.db"
audit = Audit("sqlite:///" + file, organization="acme")
told = {"after import": sorted(sys.modules)}

audit.migrate()
connection = sqlite3.connect(file)
connection.execute("CREATE TABLE teams (name TEXT)")
connection.execute("INSERT INTO teams VALUES ('core')")
audit.record(connection, "team.create", actor=me, resource=("team", "core"))
audit.denied("team.delete", actor=me, reason="waits in the spool")
connection.commit()
connection.execute("INSERT INTO teams VALUES ('gone')")
audit.record(connection, "team.create", actor=me, resource=("team", "gone"))
connection.rollback()
audit.record_now("team.update", actor=me, changes={"password": ("a", "b")})
told["stored"] = connection.execute(
    "SELECT action, outcome, changes FROM affidavit_events ORDER BY id").fetchall()
connection.close()
audit.close()

with AuditClient(url, "token", spool=folder + "/client.db") as client:
    client.record("team.update", actor=me)
    told["sent"] = client.flush(60.0)

told["requires"] = [need for need in requires("affidavit") if "extra ==" not in need]
told["foreign"] = sorted(
    {name.partition(".")[0] for name, module in sys.modules.items()
     if "site-packages" in (getattr(module, "__file__", None) or "")})
told["ours"] = sorted(name for name in sys.modules if name.startswith("affidavit."))
try:
    audit.ui(authorize=lambda request: None)
except Exception as error:
    told["page"] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""

SERVER = ("access", "cli", "config", "export", "ingest", "log", "mount", "server", "web", "wiring", "worker")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with our wheel and ``msgspec``, made without a network."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    wheel = build(tmp_path_factory.mktemp("wheel"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    found = distribution("msgspec")
    for file in found.files or ():
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(found.locate_file(file)), target)
    return python


@pytest.fixture(scope="module")
def told(python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program of an app saw there."""
    folder = tmp_path_factory.mktemp("app")
    with serving(stored) as server:
        done = subprocess.run(
            [str(python), "-W", "error", "-c", RECORDER, server.url, str(folder)],
            cwd=folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        found["arrived"] = [event["action"] for sent in server.requests for event in sent.events]
    return found


def test_it_needs_one_package(told: dict[str, Any]) -> None:
    """The wheel says so, and nothing else was imported from anywhere."""
    assert [need.partition(">")[0] for need in told["requires"]] == ["msgspec"]
    assert told["foreign"] == ["affidavit", "msgspec"]


def test_it_records(told: dict[str, Any]) -> None:
    """With the change, not without it, in a transaction of its own, and out of the spool."""
    assert sorted(map(tuple, told["stored"])) == [
        ("team.create", "success", "{}"),
        ("team.delete", "failure", "{}"),
        ("team.update", "success", '{"changes":{"password":{"new":"[masked]","old":"[masked]"}}}'),
    ]


def test_it_sends(told: dict[str, Any]) -> None:
    """``AuditClient`` needs the standard library's HTTP alone."""
    assert told["sent"] is True
    assert told["arrived"] == ["team.update"]


def test_it_leaves_the_server_out(told: dict[str, Any]) -> None:
    """Nothing of the server is imported by an app that records; not even what makes the tables at first."""
    parts = {name.split(".")[1] for name in told["ours"]}
    assert parts & set(SERVER) == set()
    assert [name for name in told["after import"] if name.startswith("affidavit.storage")] == []


def test_the_page_names_what_it_needs(told: dict[str, Any]) -> None:
    """Whoever wants the page without its packages is told which extra has them."""
    assert told["page"].startswith("ConfigError: ")
    assert "affidavit[web]" in told["page"]


def test_nothing_leads_back_into_this_tree(python: Path, tmp_path: Path) -> None:
    """What was tried is the wheel."""
    command = [str(python), "-c", "import affidavit; print(affidavit.__file__)"]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(python.parent.parent)
