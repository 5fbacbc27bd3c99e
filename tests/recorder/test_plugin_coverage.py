"""``pytest --audit-coverage``: what recorded nothing, of one process and of several workers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affidavit.testing.coverage.report import silence_in
from affidavit.testing.coverage.seen import merged
from affidavit.testing.coverage.subject import fitting
from tests.recorder.test_plugin import run

SHOP = "tests.recorder.plugin.shop"
OPTIONS = (
    *("-o", f"audit_coverage_app={SHOP}:app", "-o", f"audit_coverage_models={SHOP}:Base"),
    *("-o", f"audit_coverage_audit={SHOP}:audit"),
)


def report_of(output: str, lines: int) -> list[str]:
    """So many lines of the report."""
    found = output.splitlines()
    start = next(number for number, line in enumerate(found, 1) if " audit coverage " in line)
    return found[start : start + lines]


@pytest.mark.parametrize(
    ("workers", "option", "code"), [("0", "--audit-coverage", 0), ("2", "--audit-coverage-fail", 1)]
)
def test_report(workers: str, option: str, code: int) -> None:
    """Routes with how often they were called, models, what is allowed, and what could not be seen."""
    allow = "audit_coverage_allow=POST /hooks/*\nPOST /gone"
    done = run("shop_cases.py", options=(option, "--numprocesses", workers, *OPTIONS, "-o", allow))
    assert done.returncode == code, done.stdout + done.stderr
    assert report_of(done.stdout, 8) == [
        "4 routes that change something, 2 recorded nothing",
        "  PUT /shop/orders/{number}  (called 4 times)",
        "  DELETE /shop/orders/{number}  (never called in this run)",
        "2 models, 1 that no event names",
        "  Invoice",
        "allowed: POST /hooks/{name:path}",
        "on the allow-list without need: POST /gone",
        "not looked into: /raw (a mounted app without routes)",
    ]


def test_everything_is_allowed() -> None:
    """Then the run does not fail."""
    options = ("--audit-coverage-fail", "-p", "no:xdist", *OPTIONS, "-o", "audit_coverage_allow=*")
    done = run("shop_cases.py", options=(*options, "-k", "show"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_name_that_there_is_not() -> None:
    """It is named, and the run fails."""
    options = ("--audit-coverage", "-p", "no:xdist", "-o", f"audit_coverage_app={SHOP}:nothing")
    done = run("shop_cases.py", options=(*options, "-k", "pay"))
    assert done.returncode == 1
    assert f"'{SHOP}:nothing' cannot be looked at for the audit coverage" in done.stdout


def test_django(tmp_path: Path) -> None:
    """Its URL patterns and models need no option; a view that is a function counts as one route."""
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "app.db")}
    done = run(
        "django_cases.py",
        options=("--audit-coverage", "-p", "no:xdist"),
        PROJECT_DATABASE=json.dumps(database),
        DJANGO_SETTINGS_MODULE="tests.recorder.plugin.django_settings",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = report_of(done.stdout, 7)
    assert lines[0] == "5 routes that change something, 2 recorded nothing"
    assert lines[1].startswith("  * /forgot/  (called ")
    assert lines[2] == "  DELETE /groups/<slug:name>/  (never called in this run)"
    assert lines[3:] == [
        "4 models, 3 that no event names",
        "  auth.Permission",
        "  auth.User",
        "  contenttypes.ContentType",
    ]


def test_parts_are_added() -> None:
    """What one worker recorded is not forgotten for another that did not; what one of them saw is there."""
    one = {
        "routes": {"POST /a": [2, 1], "POST /b": [1, 0]},
        "models": {"A": 1},
        "unknown": ["/x"],
        "requests": 3,
    }
    other = {
        "routes": {"POST /a": [1, 0], "POST /c": [0, 0]},
        "models": {"A": 0, "B": 0},
        "unknown": ["/x", "/y"],
    }
    assert merged([one, {**other, "requests": 1}]) == {
        "routes": {"POST /a": [3, 1], "POST /b": [1, 0], "POST /c": [0, 0]},
        "models": {"A": 1, "B": 0},
        "unknown": ["/x", "/y"],
        "requests": 4,
    }


def test_no_request_was_seen() -> None:
    """Where no middleware told of any, the report does not claim that routes were never called."""
    counts = {"routes": {"POST /a": [0, 0]}, "models": {}, "unknown": [], "requests": 0}
    assert list(silence_in(counts).lines())[-1] == "no request was seen: is the middleware in place?"


def test_labels_are_escaped() -> None:
    """They are text of the app."""
    counts = {"routes": {"POST /\x1b[31m": [0, 0]}, "models": {}, "unknown": [], "requests": 1}
    assert "  POST /\\x1b[31m  (never called in this run)" in silence_in(counts).lines()


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/teams/{id}", "/teams/7", True),
        ("/teams/{id:int}", "/teams/7", True),
        ("/teams/{id}", "/teams/7/x", False),
        ("/teams/{id}", "/teams/", False),
        ("/files/{rest:path}", "/files/a/b", True),
        ("/a.b", "/axb", False),
        ("/teams/{id}", "/teams/{id}", True),
        ("/teams/{id}/x", "/teams/7/x", True),
    ],
)
def test_paths(pattern: str, path: str, fits: bool) -> None:
    """A parameter is one segment, except where it is a path."""
    assert fitting(pattern)(path) is fits
