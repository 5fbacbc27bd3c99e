"""What tests of every folder use: the browser, PostgreSQL and the profile of Hypothesis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import FAST, Server, server_on
from tests.programs import programs, pytest_addoption, pytest_generate_tests
from tools import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["programs", "pytest_addoption", "pytest_generate_tests"]

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Headless, as root, and without a single connection of the browser's own."""

# No deadline: two busy cores make honest examples slow. The same examples at each run, so that a red one can
# be looked at; --hypothesis-profile=thorough looks at others, and longer.
settings.register_profile(
    "affidavit",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough", settings.get_profile("affidavit"), derandomize=False, max_examples=2_000
)
settings.load_profile("affidavit")


RACING = ("e2e", "faults", "interop", "recorder", "security", "unit/log", "unit/storage/postgres")
"""Folders whose tests start processes, kill them, or let them race on two cores that other tests use too."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Try racing tests a second time, and leave the long runs to ``make soak``, which asks for their mark.

    A test that missed its moment is counted as rerun in the closing line, and its first failure is shown; one
    that fails twice is red. ``make soak`` tries nothing twice.
    """
    if config.option.markexpr:
        return
    folders = [Path(__file__).parent / folder for folder in RACING]
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in folders):
            item.add_marker(pytest.mark.flaky(reruns=1))
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if item not in soak]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show why a test was tried again: it passed then, and its reason must not be lost."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.write_sep("_", f"first try of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


@pytest.fixture(scope="session")
def postgres18() -> Iterator[Server]:
    """The newest PostgreSQL, started by the first test that asks; no test stops or changes it."""
    with server_on("18", **FAST) as server:
        yield server


@pytest.fixture(scope="session")
def postgres15() -> Iterator[Server]:
    """The oldest PostgreSQL that is supported, in the same way."""
    with server_on("15", **FAST) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(postgres18: Server) -> Server:
    """A PostgreSQL, where its version does not matter."""
    return postgres18


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium of the system; a test that needs it fails where there is none.

    Per module and not per session: while it is open, no other test of this thread can start an event loop.
    """
    path = chromium.find()
    if path is None:
        pytest.fail(f"no browser on PATH: one of {', '.join(chromium.NAMES)}; make chromium installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        try:
            yield opened
        finally:
            opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a browser context of its own, that fails the test on an error of a script or of the CSP."""
    context = browser.new_context()
    errors: list[str] = []
    opened = context.new_page()
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on(
        "console",
        lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None,
    )
    try:
        yield opened
    finally:
        context.close()
    assert errors == []
