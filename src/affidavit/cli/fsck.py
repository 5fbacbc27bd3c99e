"""``affidavit fsck``: derives everything that is stored anew, and names what differs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from affidavit.cli.exits import Exit, Failed
from affidavit.cli.options import SERVING_NOTHING_GIVEN, Serving
from affidavit.cli.output import Json, line, note, print_json, wants_json
from affidavit.errors import StorageError

__all__ = ["command"]

_EXITS = {1: Exit.INCOMPLETE, 2: Exit.USAGE}
"""Those of a verdict, which ``verify`` has too: not sound, could not be checked."""


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
    from affidavit.wiring import engine_of
    from affidavit.wiring.fsck import check_everything
    from affidavit.wiring.spools import standings

    chosen = settings.settings()
    try:
        findings = check_everything(chosen, key)
    except StorageError as error:
        raise Failed(error.message, _EXITS[2]) from error
    total = findings.total()
    spools = standings(engine_of(chosen))
    waiting = sum(0 if isinstance(each, StorageError) else each.waiting for _, each in spools)
    if wants_json(json):
        print_json({**findings.as_json(), "spooled": waiting})
    else:
        for text in total.lines():
            line(text)
        note(f"{len(findings.trees)} logs, {findings.pending} events wait for their leaf")
        for path, each in spools:
            if isinstance(each, StorageError):
                note(each.message)
            elif each.waiting or each.refused:
                note(f"{each.waiting} events wait in the spool {path}, {each.refused} were refused for good")
    if total.exit_code:
        raise Failed(code=_EXITS[total.exit_code])
