"""``affidavit restore``: a backup takes the place of the database, and is checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from affidavit.cli.exits import Failed
from affidavit.cli.instance import private_files
from affidavit.cli.options import SERVING_NOTHING_GIVEN, Serving
from affidavit.cli.output import Json, line, note, print_json, wants_json
from affidavit.config import make_data_dir
from affidavit.errors import StorageBusy

if TYPE_CHECKING:
    from affidavit.wiring.backup import Restored

__all__ = ["command"]


def command(
    folder: Annotated[Path, Parameter(help="Of the backup.")],
    /,
    *,
    replace: Annotated[
        bool, Parameter(negative=(), help="The database that stands there now goes for good.")
    ] = False,
    json: Json = None,
    settings: Serving = SERVING_NOTHING_GIVEN,
) -> None:
    """Put a backup in place. Stop every server, worker and app that uses the database first.

    The backup is checked before anything is touched. What the guard remembers as erased is erased again.
    The exit code is 0 where fsck finds everything sound, 1 where something stands against the log: usually
    that it is older than what was signed, and what to do about it.
    """
    from affidavit.wiring import engine_of
    from affidavit.wiring.backup import restore_backup

    chosen = settings.settings()
    make_data_dir(chosen)
    lease = engine_of(chosen).lease()
    if not lease.take():
        raise StorageBusy("A server or worker of this database is running; stop it first.")
    try:
        with private_files():
            restored = restore_backup(chosen, folder, replace=replace)
    finally:
        lease.release()
    _print(restored, json)
    if restored.standing or restored.findings.total().exit_code:
        raise Failed


def _print(restored: Restored, json: bool | None) -> None:
    erased = sum(each.events for each in restored.reapplied)
    total = restored.findings.total()
    if wants_json(json):
        document: dict[str, Any] = {
            "made_at": restored.backup["made_at"],
            "events": restored.backup["events"],
            "erased_again": erased,
            "alarms": [
                {"kind": each.kind, "subject": each.subject, "text": each.text} for each in restored.standing
            ],
            "fsck": restored.findings.as_json(),
        }
        print_json(document)
        return
    line(f"The backup of {restored.backup['made_at']} is in place: {restored.backup['events']:,} events.")
    if erased:
        line(f"{erased:,} of them were erased after it was made, and are erased again.")
    for text in total.lines():
        line(text)
    for each in restored.standing:
        note(each.text)
