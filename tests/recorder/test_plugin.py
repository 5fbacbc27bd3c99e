"""The pytest plugin, in runs of its own with SQLAlchemy, plain connections and both engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from affidavit.testing import make_tables
from tests.postgres import Server

ROOT = Path(__file__).resolve().parents[2]
INNER = ROOT / "tests" / "recorder" / "plugin"


def run(*parts: str, options: Sequence[str] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as an app does: the plugin comes by its entry point."""
    django = () if "DJANGO_SETTINGS_MODULE" in variables else ("-p", "no:django")
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(INNER / "pytest.ini"), *django, *options]
    return subprocess.run(
        [*command, *(str(INNER / part) for part in parts)],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": "", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def app_url(postgres: Server) -> str:
    """A PostgreSQL database without our tables."""
    database = f"plugin_{os.urandom(8).hex()}"
    with postgres.connect() as connection:
        connection.execute(f"CREATE DATABASE {database}".encode())
    return postgres.url(database)


def test_inside(app_url: str) -> None:
    """What ``plugin/alchemy.py``, ``awaited.py`` and ``drivers.py`` promise holds."""
    done = run("alchemy.py", "awaited.py", "drivers.py", options=("-p", "no:xdist"), APP_URL=app_url)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_two_workers(app_url: str) -> None:
    """Workers of pytest-xdist that share a database see their own events only."""
    options = ("--numprocesses", "2", "-k", "postgresql and not own_sql")
    done = run("alchemy.py", options=options, APP_URL=app_url)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_a_run_that_records_nothing_imports_nothing() -> None:
    """The plugin itself is in every run, and brings nothing but pytest with it."""
    done = run("nothing.py", options=("-p", "no:xdist", "-p", "no:hypothesispytest", "-p", "no:anyio"))
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_failures_say_what_was_recorded() -> None:
    """The message lists the events, what was asked for among them, and hostile text stays text."""
    done = run("failing.py", options=("-p", "no:xdist", "--tb=short"))
    assert done.returncode == 1, done.stdout[-8000:] + done.stderr[-2000:]
    said = {line.removeprefix("E").strip() for line in done.stdout.splitlines()}
    for line in (
        "AssertionError: Expected one event 'team.delete', found none. Recorded (2):",
        "1. team.update · success · by user 'ana' · on 'team' '7' · 'name': 'a' -> 'b'",
        r"2. invoice.refund · failure · by user '\x1b[31mev\u202eil' · on 'invoice' '8'"
        r" · reason 'line\nbreak'",
        "AssertionError: Expected one event outcome='success', actor='nobody', found none. Recorded (2):",
        "AssertionError: Expected one event, found 2. Recorded (2):",
        ">   1. team.update · success · by user 'ana' · on 'team' '7' · 'name': 'a' -> 'b'",
        "AssertionError: Expected no event 'team.*', found 1. Recorded (2):",
        "AssertionError: Expected one event, found none. Nothing was recorded.",
        "TypeError: 'actr' is no filter; there are: actor, resource, resource_type, outcome",
    ):
        assert line in said, f"{line}\n{done.stdout}"
    assert "\x1b[31mev" not in done.stdout
    assert "\u202e" not in done.stdout
    assert done.stdout.count("events.py") == 1, "only the mistyped word leads into the plugin's own lines"


@pytest.mark.parametrize(
    ("engine", "missing"),
    [
        (
            "sqlite",
            {f"affidavit_events_{name}" for name in ("update", "delete", "update_held", "delete_held")},
        ),
        ("postgresql", {"affidavit_events_keep", "affidavit_events_held", "affidavit_events_truncate"}),
    ],
)
def test_fsck_names_the_triggers(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str, missing: set[str]
) -> None:
    """A database of production that was taken for one of tests does not go unnoticed."""
    url = f"sqlite:///{tmp_path}/app.db" if engine == "sqlite" else request.getfixturevalue("app_url")
    make_tables(url)
    command = [sys.executable, "-m", "affidavit.cli", "fsck", "--json", "--database", url]
    done = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "data")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    named = " ".join(
        each["what"] for each in json.loads(done.stdout)["failures"] if "missing" in each["rule"]
    )
    assert {name for name in missing if name in named} == missing
