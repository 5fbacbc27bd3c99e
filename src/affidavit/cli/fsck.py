"""``affidavit fsck``: derives everything that is stored anew, and names what differs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from affidavit.cli.exits import Failed
from affidavit.cli.options import SERVING_NOTHING_GIVEN, Serving
from affidavit.cli.output import Json, line, note, print_json, wants_json

__all__ = ["command"]


def command(
    *,
    key: Annotated[
        tuple[str, ...],
        Parameter(help="Verifier key of the log; repeatable. Default: those of the key file.", negative=()),
    ] = (),
    json: Json = None,
    settings: Serving = SERVING_NOTHING_GIVEN,
) -> None:
    """Check the whole database: every event against its leaf, trees, checkpoints, guard, settings, index.

    Nothing is changed, and it may run beside everything else. Each fault is named with table, column and key.
    The exit code is 0 where all is sound, 1 where something is not, 2 where it could not be checked.
    """
    from affidavit.wiring.fsck import check_everything

    findings = check_everything(settings.settings(), key)
    total = findings.total()
    if wants_json(json):
        print_json(findings.as_json())
    else:
        for text in total.lines():
            line(text)
        note(f"{len(findings.trees)} logs, {findings.pending} events wait for their leaf")
    if total.exit_code:
        raise Failed(code=total.exit_code)  # type: ignore[arg-type]
