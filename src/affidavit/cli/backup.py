"""``affidavit backup``: events and log, copied while everything goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from affidavit.cli.instance import private_files
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, note, print_json, wants_json

__all__ = ["command"]


def command(
    folder: Annotated[Path, Parameter(help="A folder that does not exist yet, or is empty.")],
    /,
    *,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Copy events and log into a folder; server and worker may run meanwhile.

    The search index is left out, it is made anew. The keys and the guard are left out on purpose: keep them
    elsewhere, or whoever has the backup could sign, and the guard would forget with the database.
    """
    from affidavit.wiring.backup import make_backup

    with private_files():
        content = make_backup(common.settings(), folder)
    if wants_json(json):
        print_json(content)
        return
    line(f"{content['events']:,} events and {len(content['logs'])} logs are in {folder}.")
    note("Not in it: log.key, token.key, operator.token and guard.db. Keep the keys elsewhere.")
