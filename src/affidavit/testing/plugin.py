"""The pytest plugin: the fixture ``audit_log``, tables for tests, and what recorded nothing.

It is loaded by every run of pytest where Affidavit is installed, so it imports nothing but pytest; the rest
comes with the first test that uses it, or whose app records.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from affidavit.testing.audit_log.watch import AuditLog, Watch
    from affidavit.testing.coverage.asked import AuditCoverage

__all__ = ["audit_coverage", "audit_log"]

_watch = pytest.StashKey["Watch"]()


def _watch_of(config: pytest.Config) -> Watch:
    """The one of this process, listening."""
    from affidavit.testing.audit_log.watch import Watch

    watch = config.stash.get(_watch, None)
    if watch is None:
        watch = config.stash[_watch] = Watch()
    watch.start()
    return watch


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--audit-coverage`` and what it looks at."""
    group = parser.getgroup("affidavit", "audit log")
    group.addoption(
        "--audit-coverage",
        action="store_true",
        help="list the routes that change something, and the models, that recorded nothing in this run",
    )
    group.addoption(
        "--audit-coverage-fail",
        action="store_true",
        help="the same, and let the run fail where one is silent that is not allowed to be",
    )
    parser.addini("audit_coverage_app", "app of Starlette or FastAPI, package.module:name", type="args")
    parser.addini("audit_coverage_models", "declarative base of SQLAlchemy, package.module:name", type="args")
    parser.addini("audit_coverage_audit", "the Audit that models are registered with, package.module:name")
    parser.addini("audit_coverage_allow", "routes and models that may record nothing", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    """Count from the beginning, where that is wanted."""
    if config.getoption("audit_coverage") or config.getoption("audit_coverage_fail"):
        from affidavit.testing.coverage.hooks import CoverageHooks

        config.pluginmanager.register(CoverageHooks(config, _watch_of(config)), "affidavit-coverage")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Listen no longer: a run within a run has ended."""
    if (watch := config.stash.get(_watch, None)) is not None:
        watch.stop()


@pytest.fixture(autouse=True)
def _affidavit_events(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test leaves in a database for tests is taken out of it."""
    wanted = "audit_log" in request.fixturenames
    if not wanted and "affidavit.recorder.watchers" not in sys.modules:
        yield
        return
    watch = _watch_of(request.config)
    since = len(watch)
    yield
    if len(watch) > since:
        with _unblocked(request):
            watch.clean(since)


@pytest.fixture
def audit_log(_affidavit_events: None, request: pytest.FixtureRequest) -> AuditLog:
    """What this test records: ``audit_log.one("team.update").changes == {"name": ("a", "b")}``."""
    from affidavit.testing.audit_log.watch import AuditLog

    return AuditLog(_watch_of(request.config))


@pytest.fixture(scope="session")
def audit_coverage(request: pytest.FixtureRequest) -> Iterator[AuditCoverage]:
    """Counts from its first use on: ``audit_coverage(app=app, models=Base).routes`` recorded nothing."""
    from affidavit.testing.coverage.asked import AuditCoverage

    coverage = AuditCoverage(_watch_of(request.config))
    yield coverage
    coverage.stop()


def _unblocked(request: pytest.FixtureRequest) -> AbstractContextManager[object]:
    """Leave to use Django's databases, where pytest-django keeps it."""
    if "django.db" not in sys.modules or not request.config.pluginmanager.has_plugin("django"):
        return nullcontext()
    blocker = request.getfixturevalue("django_db_blocker")  # None where no project is configured
    unblocked: AbstractContextManager[object] = nullcontext() if blocker is None else blocker.unblock()
    return unblocked


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Once pytest-django has made its databases, take the triggers away that keep events append-only."""
    if fixturedef.argname != "django_db_setup" or "affidavit.django" not in sys.modules:
        return (yield)
    from affidavit.testing.django_tables import names_of, remove_from_tests

    before = names_of()
    made = yield
    with _unblocked(request):
        remove_from_tests(before)
    return made
