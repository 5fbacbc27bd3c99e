"""``affidavit show``: everything that one event says, or what proves that it is in the log."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from affidavit.cli.instance import credential, opened
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, console, line, print_json, wants_json
from affidavit.core.ids import parse_id
from affidavit.core.row import encode_event

__all__ = ["command"]


def command(
    id: Annotated[str, Parameter(help="Id of the event.")],
    /,
    *,
    receipt: Annotated[
        bool, Parameter(negative=(), help="Print its receipt instead: leaf, values and proof, for verify.")
    ] = False,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Show one event: its fields, old and new values side by side, its metadata."""
    event_id = parse_id(id)
    settings = common.settings()
    with opened(settings) as instance:
        reach = credential().organizations if settings.organization is None else (settings.organization,)
        event = instance.reader.get(reach, event_id)
        if receipt:
            line(instance.receipts.receipt(event).decode(), json=True)
            return
        title = instance.catalogs.title(event.action)
        if wants_json(json):
            print_json(encode_event(event, title))
            return
        from affidavit.cli.event_text import detail

        for part in detail(event, title):
            console().print(part)
