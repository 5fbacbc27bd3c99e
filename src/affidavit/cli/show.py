"""``affidavit show``: everything that one event says."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from affidavit.cli.instance import credential, opened
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, console, print_json, wants_json
from affidavit.core.ids import parse_id
from affidavit.core.row import encode_event

__all__ = ["command"]


def command(
    id: Annotated[str, Parameter(help="Id of the event.")],
    /,
    *,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Show one event: its fields, old and new values side by side, its metadata."""
    event_id = parse_id(id)
    settings = common.settings()
    with opened(settings) as instance:
        reach = credential().organizations if settings.organization is None else (settings.organization,)
        event = instance.reader.get(reach, event_id)
        title = instance.catalogs.title(event.action)
        if wants_json(json):
            print_json(encode_event(event, title))
            return
        from affidavit.cli.event_text import detail

        for part in detail(event, title):
            console().print(part)
