"""``manage.py audit_retention``: the clean-up job is the product's own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import Server
from tests.recorder.django.processes import Databases, databases_on, dropped, manage, run

RECORD = """
import time, django; django.setup()
from django.db import transaction
from affidavit.django import audit
from affidavit.recorder.fields import system
audit.recorder.clock = lambda: time.time_ns() // 1_000 - 3 * 86_400_000_000
with transaction.atomic():
    audit.record("team.create", actor=system("test"), reason="r")
"""
CLI = """
import os, subprocess, sys, django; django.setup()
from django.db import connections
from affidavit.django.settings import database_url
os.environ["AFFIDAVIT_DATABASE"] = database_url(connections["default"])
sys.exit(subprocess.run([sys.executable, "-m", "affidavit.cli", *sys.argv[1:]]).returncode)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """Two databases of one engine, the first with our tables."""
    server: Server | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    made = databases_on(server, tmp_path)
    assert manage(made, "migrate", "affidavit").returncode == 0
    yield made
    dropped(server, made)


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """The one JSON line that a command printed."""
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.requirement("R139")
def test_clean_up(databases: Databases, tmp_path: Path) -> None:
    """The job lets expire what is past the policy that the operator set, on the project's database."""
    folder = {"AFFIDAVIT_DATA_DIR": str(tmp_path / "data")}
    done = manage(databases, "audit_retention", **folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert "No organization has a policy" in done.stderr
    assert run(databases, "-c", RECORD).returncode == 0
    words = ("retention", "set", "--organization", "acme", "--class", "team.*", "--days", "1")
    done = run(databases, "-c", CLI, *words, **folder)
    assert done.returncode == 0, done.stderr
    # On SQLite it is the app's clock that says when something was recorded, on PostgreSQL the server's.
    due = {"team.*": 1} if "sqlite" in databases["default"]["ENGINE"] else {}
    told = answer(manage(databases, "audit_retention", "--dry-run", "--organization", "acme", **folder))
    assert (told["organization"], told["dry_run"], told["policy"]) == ("acme", True, "team.*=1")
    assert told["expired"] == due
    told = answer(manage(databases, "audit_retention", **folder))
    assert (told["organization"], told["expired"]) == ("acme", due)
    assert answer(manage(databases, "audit_retention", **folder))["expired"] == {}


def test_its_failure_is_that_of_the_command(databases: Databases, tmp_path: Path) -> None:
    """Where the job fails, cron learns of it: its message and its exit code come out."""
    folder = {"AFFIDAVIT_DATA_DIR": str(tmp_path / "data")}
    done = manage(databases, "audit_retention", "--database", "other", **folder)
    assert done.returncode not in (0, 1)
    assert "affidavit migrate" in done.stderr
    assert "affidavit retention run failed" in done.stderr
