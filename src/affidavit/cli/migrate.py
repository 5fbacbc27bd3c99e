"""``affidavit migrate``: make the database, or bring its schema up to this version."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from affidavit.cli.instance import private_files
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, print_json, print_table, wants_json
from affidavit.config import make_data_dir

__all__ = ["command"]


def command(
    *,
    plan: Annotated[bool, Parameter(negative=(), help="Only say what would be done.")] = False,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Apply the migrations that the database lacks, each in a transaction of its own.

    Several may run at once; one works and the others find nothing left to do. A database of a newer
    version, or one whose applied migrations have another text, is refused.
    """
    from affidavit.wiring import migrate, planned_migrations

    settings = common.settings()
    if plan:
        steps = planned_migrations(settings)
    else:
        make_data_dir(settings)
        with private_files():
            steps = migrate(settings)
    state = "planned" if plan else "applied"
    if wants_json(json):
        for number, name in steps:
            print_json({"number": number, "name": name, "state": state})
        return
    print_table(
        ("Number", "Migration", "State"),
        [(number, name, state) for number, name in steps],
        empty="The database is up to date.",
    )
