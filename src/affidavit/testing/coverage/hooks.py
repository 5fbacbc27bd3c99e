"""``pytest --audit-coverage``: one report at the end of a run, of all workers of pytest-xdist together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from affidavit.testing.audit_log.watch import Watch
from affidavit.testing.coverage.asked import AuditCoverage, named, subjects_of
from affidavit.testing.coverage.report import silence_in
from affidavit.testing.coverage.seen import merged

__all__ = ["CoverageHooks"]

_KEY = "affidavit_audit_coverage"


class CoverageHooks:
    """Registered where the option is given.

    Args:
        config: of the run.
        watch: that hears of the events.
    """

    def __init__(self, config: pytest.Config, watch: Watch) -> None:
        self._config = config
        self._coverage = AuditCoverage(watch)
        self._parts: list[dict[str, Any]] = []
        self._lost = 0
        self._problem: str | None = None

    def _counts(self) -> dict[str, Any]:
        ini = self._config.getini
        apps = [named(each) for each in ini("audit_coverage_app")]
        bases = [named(each) for each in ini("audit_coverage_models")]
        audit = named(ini("audit_coverage_audit")) if ini("audit_coverage_audit") else None
        return self._coverage.seen.counts(subjects_of(apps, bases, audit))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker of pytest-xdist has ended, and gave what it counted, or died."""
        part = getattr(node, "workeroutput", {}).get(_KEY)
        if part is None or error is not None:
            self._lost += 1
        else:
            self._parts.append(json.loads(part))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand on what a worker counted, or say what the run comes to."""
        if session.config.option.collectonly:
            return
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        try:
            if not self._config.pluginmanager.has_plugin("dsession"):
                self._parts.append(self._counts())
        except pytest.UsageError as error:
            self._problem = str(error)
        if output is not None:
            output[_KEY] = json.dumps(self._parts[0] if self._parts else {"problem": self._problem})
        elif session.exitstatus == pytest.ExitCode.OK and self._fails():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _fails(self) -> bool:
        problem = self._problem or next((each["problem"] for each in self._parts if "problem" in each), None)
        if problem is not None:
            self._problem = problem
            return True
        silent = bool(silence_in(merged(self._parts), self._config.getini("audit_coverage_allow")))
        return bool(self._config.getoption("audit_coverage_fail")) and (silent or self._lost > 0)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The report."""
        if self._config.option.collectonly:
            return
        terminalreporter.section("audit coverage")
        if self._problem is not None:
            terminalreporter.line(self._problem)
            return
        if self._lost:
            terminalreporter.line(f"incomplete: {self._lost} workers ended without a report")
        for line in silence_in(merged(self._parts), self._config.getini("audit_coverage_allow")).lines():
            terminalreporter.line(line)

    def pytest_unconfigure(self) -> None:
        """Count no longer."""
        self._coverage.stop()
