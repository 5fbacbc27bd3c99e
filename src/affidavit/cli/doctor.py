"""``affidavit doctor``: looks at the machine and the database, and says what to do about what is wrong."""

from __future__ import annotations

from affidavit.cli.checks import CHECKS, unreachable
from affidavit.cli.exits import Failed
from affidavit.cli.instance import opened
from affidavit.cli.options import SERVING_NOTHING_GIVEN, Serving
from affidavit.cli.output import Json, print_json, print_table, wants_json
from affidavit.errors import StorageError
from affidavit.wiring.health import Finding, State, causes

__all__ = ["command"]

_STYLES = {State.OK: "green", State.WARN: "yellow", State.FAIL: "bold red"}


def command(*, json: Json = None, settings: Serving = SERVING_NOTHING_GIVEN) -> None:
    """Check files and their modes, database, worker, index, disk and clock.

    Each finding is ok, warn or fail, with what to do. The exit code is 1 where one fails.
    """
    chosen = settings.settings()
    findings: list[Finding] = []
    try:
        with opened(chosen) as instance:
            for check in CHECKS:
                findings += check(instance, chosen)
    except StorageError as error:
        findings.append(unreachable(error))
        findings += causes(chosen)
    if wants_json(json):
        for finding in findings:
            print_json(finding)
    else:
        print_table(
            ("State", "Check", "Found", "What to do"),
            [((each.state, _STYLES[each.state]), each.check, each.found, each.advice) for each in findings],
            empty="",
        )
    if any(finding.state == State.FAIL for finding in findings):
        raise Failed
