"""The code of docs/howto/django.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import AppConfig
from django.db import transaction
from django.test import Client, RequestFactory, override_settings

from affidavit.django import audit
from affidavit.recorder.fields import system
from tests.recorder.django import project
from tests.recorder.django.inside.plugin import every_event, teams
from tests.recorder.django.project import settings
from tests.recorder.django.project.models import Member, Team

PAGE = Path(__file__).resolve().parents[4] / "docs" / "howto" / "django.md"


def run(mark: str, **names: Any) -> dict[str, Any]:
    """Run the block of Python that holds a text, with the names that a reader has."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if mark in block)
    known: dict[str, Any] = {"audit": audit, "transaction": transaction, "system": system, **names}
    exec(compile(code, str(PAGE), "exec"), known)
    return known


def of(name: str) -> list[dict[str, Any]]:
    """The events of a resource of this name."""
    return [
        row
        for row in every_event()
        if any(each.get("name") == name for each in row["resources"].get("resources", ()))
    ]


@pytest.fixture
def ready() -> None:
    """The app of the page is."""
    known = run("class TeamsConfig", AppConfig=AppConfig, Team=Team, Member=Member)
    known["TeamsConfig"]("teams", project).ready()


def test_settings() -> None:
    """What the page adds to the settings is what this project has."""
    known = run("INSTALLED_APPS +=", INSTALLED_APPS=[], MIDDLEWARE=[])
    assert set(known["INSTALLED_APPS"]) < set(settings.INSTALLED_APPS)
    assert known["MIDDLEWARE"] == settings.MIDDLEWARE[-1:]


def test_changes_that_record_themselves(ready: None, name: str) -> None:
    """Teams under their names, members with the actions that were chosen and without their pins."""
    with audit.context(actor=system("test")):
        team = Team.objects.create(name=name)
        team.plan = "pro"
        team.save()
        member = Member.objects.create(team=team, pin="1234")
        member.pin = "4321"
        member.save()
        member.delete()
        team.delete()
    assert [row["action"] for row in of(name)] == [
        f"project_team.{kind}" for kind in ("create", "update", "delete")
    ]
    assert {row["resources"]["resources"][0]["type"] for row in of(name)} == {"team"}
    members = [row for row in every_event() if row["action"].startswith("team.member.")]
    assert [row["action"] for row in members] == ["team.member.add", "team.member.remove"]
    assert members[0]["changes"]["changes"]["pin"] == {"old": None, "new": "[masked]"}


def test_record(ready: None, name: str) -> None:
    """The view of the page changes a team and records it."""
    with audit.context(actor=system("test")):
        team = Team.objects.create(name=name)
        view = run("def rename", Team=Team)["rename"]
        view(RequestFactory().post("/", {"name": f"{name}!"}), team.pk)
    assert teams(f"{name}!") == 1
    (row,) = (row for row in of(f"{name}!") if row["action"] == "team.update")
    assert row["changes"]["changes"] == {"name": {"old": name, "new": f"{name}!"}}


def test_refused_and_failed(ready: None, name: str) -> None:
    """What is denied and what fails stays."""
    with audit.context(actor=system("test")):
        invoice = Team.objects.create(name=name)

        def refund(_invoice: Team) -> None:
            raise OSError("no gateway")

        with pytest.raises(OSError, match="no gateway"):
            run("audit.denied", invoice=invoice, gateway=SimpleNamespace(refund=refund))
    found = [row for row in of(name) if row["action"] == "invoice.refund"]
    assert [(row["outcome"], row["details"]["reason"]) for row in found] == [
        ("failure", "not an owner"),
        ("failure", "OSError: no gateway"),
    ]


def test_a_command() -> None:
    """A command says who acts."""
    run("nightly-import")


def test_requests(name: str) -> None:
    """The settings of the page choose endpoints."""
    known = run('"GET /v1/pipelines"')
    with override_settings(AFFIDAVIT=known["AFFIDAVIT"]):
        assert Client().get(f"/v1/pipelines/7?mark={name}").status_code == 404
    (row,) = (
        row for row in every_event() if row["context"].get("request", {}).get("params") == {"mark": name}
    )
    assert (row["action"], row["details"]["metadata"]["pipeline"]) == ("api.request.get_pipeline", "7")
