"""``affidavit import`` on real audit logs, into a real database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affidavit.cli.exits import Exit
from tests.shared_data import shared_data
from tests.unit.cli.conftest import Run

NEW = {"read": 2900, "recorded": 2900, "duplicates": 0, "rejected": 0, "skipped": 0}


def test_cloudtrail_twice(run: Run) -> None:
    """2,900 real events go in, 300 of them failures, and come out of filters; a second time none is new."""
    command = ("import", "cloudtrail", shared_data("cloudtrail", "invictus"), "--organization=inv", "--json")
    assert run(*command).documents == [NEW]
    assert run(*command).documents == [{**NEW, "recorded": 0, "duplicates": 2900}]
    failures = run("events", "--organization=inv", "--outcome=failure", "--limit=1000", "--json").documents
    assert len(failures) == 300
    assert {event["source"] for event in failures} == {"aws"}
    assert all("aws" in event["metadata"] for event in failures)
    named = run("events", "--organization=inv", "--action=aws.cloudtrail.stoplogging", "--json").documents
    assert {event["metadata"]["category"] for event in named} == {"log.disable"}


def test_our_own_export(run: Run, tmp_path: Path) -> None:
    """An export goes into another organization with its ids, and adds nothing to its own."""
    log = shared_data("k8s", "audit2rbac-demo.log")
    assert run("import", "kubernetes", log, "--organization=a", "--json").documents[0]["recorded"] == 37
    assert run("export", "--organization=a", "--format=ndjson", "--output=x.ndjson").code == 0
    again = {"read": 37, "recorded": 0, "duplicates": 37, "rejected": 0, "skipped": 0}
    assert run("import", "ndjson", "x.ndjson", "--organization=a", "--json").documents == [again]
    copied = {**again, "recorded": 37, "duplicates": 0}
    assert run("import", "ndjson", "x.ndjson", "--organization=b", "--json").documents == [copied]
    asked = ("--action-group=k8s", "--limit=1000")
    ids = [
        {event["id"] for event in run("events", f"--organization={name}", *asked, "--json").documents}
        for name in ("a", "b")
    ]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("name", ["../x", "a b", "a..b"])
def test_bad_organization(run: Run, tmp_path: Path, name: str) -> None:
    """A bad name is one clear error, not a reject for each record."""
    (tmp_path / "x.json").write_text(json.dumps({"action": "a.b", "occurred_at": "2026-01-01T00:00:00Z"}))
    done = run("import", "ndjson", "x.json", f"--organization={name}")
    assert done.code == Exit.USAGE
    assert "'..'" in done.err
    assert not (tmp_path / "x.json.rejects.ndjson").exists()
    assert not (tmp_path / "affidavit-data").exists()
