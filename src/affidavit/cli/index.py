"""``affidavit index``: the search index, which can be made again at any time."""

from __future__ import annotations

from affidavit.cli.instance import credential, opened
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, print_json, wants_json
from affidavit.cli.task import run_task
from affidavit.core.credentials import INSTANCE
from affidavit.log.retention.orders import request_of

__all__ = ["rebuild_command"]


def rebuild_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """Throw the search index away and make it anew from the events.

    Answers stay right meanwhile; they take longer. Returns when the new index is complete.
    """
    settings = common.settings()
    with opened(settings) as instance:
        outcome = run_task(instance, "index_rebuild", INSTANCE, request_of(credential()))
    if wants_json(json):
        print_json(outcome)
    else:
        line(f"The index was made anew from {outcome['events']} events.")
