"""``affidavit tail``: events as they are recorded."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from affidavit.cli.events import walk
from affidavit.cli.exits import UsageError
from affidavit.cli.filters import Filters, Search, filter_of
from affidavit.cli.instance import opened, readable_organizations
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, print_json, wants_json
from affidavit.core.row import StoredEvent, encode_event

if TYPE_CHECKING:
    from affidavit.core.credentials import Organizations
    from affidavit.core.filter import Filter
    from affidavit.wiring import Instance

__all__ = ["command", "follow"]

PAGE = 1000


def command(
    *search: Search,
    lines: Annotated[int, Parameter(help="How many of the newest events come first.")] = 10,
    interval: Annotated[float, Parameter(help="Seconds between looks, at least 0.1.")] = 1.0,
    json: Json = None,
    filters: Filters | None = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Show the newest events that match, then each one as it is recorded, until Ctrl-C.

    Follows the order of recording, so an event that arrives late, with an old date, is shown too.
    """
    if lines < 0 or not interval >= 0.1:
        raise UsageError("--lines is at least 0 and --interval at least 0.1")
    asked = filter_of(filters, *search)
    settings = common.settings()
    as_json = wants_json(json)
    with opened(settings) as instance:
        organizations = readable_organizations(instance, settings, asked)

        def show(event: StoredEvent) -> None:
            _show(instance, event, as_json=as_json)

        follow(instance, organizations, asked, lines, show, lambda: time.sleep(interval))


def follow(
    instance: Instance,
    organizations: Organizations,
    asked: Filter,
    lines: int,
    show: Callable[[StoredEvent], None],
    wait: Callable[[], None],
) -> None:
    """Show the newest events and then what is recorded, for ever.

    Args:
        instance: is read.
        organizations: whose events.
        asked: which of them.
        lines: how many of the newest come first.
        show: is called for each event, in order.
        wait: is called when everything was shown.
    """
    # The place comes first, so that nothing recorded meanwhile is missed; what both see is shown once.
    token = instance.reader.end(organizations, asked)
    newest = list(walk(instance, organizations, asked, limit=lines))
    for event in reversed(newest):
        show(event)
    shown = {(event.organization, event.id) for event in newest}
    while True:
        page = instance.reader.page(organizations, asked, limit=PAGE, order="asc", token=token)
        for event in page.events:
            seen = (event.organization, event.id)
            if seen in shown:
                shown.remove(seen)  # it had no place yet when it was shown, or came in between
            else:
                show(event)
        token = page.continuation_token or token
        if page.caught_up:
            wait()


def _show(instance: Instance, event: StoredEvent, *, as_json: bool) -> None:
    if as_json:
        print_json(encode_event(event, instance.catalogs.title(event.action)))
    else:
        from affidavit.cli.event_text import event_line

        line(event_line(event))
    sys.stdout.flush()
