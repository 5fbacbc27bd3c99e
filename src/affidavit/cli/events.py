"""``affidavit events``: the newest events that match, as a table or as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from affidavit.cli.exits import UsageError
from affidavit.cli.filters import Filters, Search, filter_of
from affidavit.cli.instance import opened, readable_organizations
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, note, print_json, print_table, wants_json
from affidavit.core.row import StoredEvent, encode_event

if TYPE_CHECKING:
    from affidavit.core.credentials import Organizations
    from affidavit.core.filter import Filter
    from affidavit.wiring import Instance

__all__ = ["command"]

PAGE = 1000
"""The most events that one page holds."""


def command(
    *search: Search,
    limit: Annotated[int, Parameter(help="How many events at most.")] = 50,
    order: Annotated[
        Literal["desc", "asc"],
        Parameter(help="desc: newest first by when it occurred; asc: in the order of recording."),
    ] = "desc",
    json: Json = None,
    filters: Filters | None = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """List the events that match, newest first.

    Filters of one kind are OR, different ones are AND. On a terminal a table, else one JSON object a line.
    """
    if limit < 1:
        raise UsageError(f"--limit: must be at least 1, not {limit}")
    asked = filter_of(filters, *search)
    settings = common.settings()
    with opened(settings) as instance:
        organizations = readable_organizations(instance, settings, asked)
        found = walk(instance, organizations, asked, limit=limit, order=order)
        if wants_json(json):
            for event in found:
                print_json(encode_event(event, instance.catalogs.title(event.action)))
            return
        _print_table(found, limit)


def walk(
    instance: Instance,
    organizations: Organizations,
    asked: Filter,
    *,
    limit: int,
    order: Literal["desc", "asc"] = "desc",
) -> Iterator[StoredEvent]:
    """Up to ``limit`` events, going on over short pages by itself."""
    token: str | None = None
    while limit > 0:
        page = instance.reader.page(organizations, asked, limit=min(limit, PAGE), order=order, token=token)
        yield from page.events
        limit -= len(page.events)
        if page.continuation_token is None or page.caught_up:
            return
        token = page.continuation_token


def _print_table(found: Iterator[StoredEvent], limit: int) -> None:
    from affidavit.cli.event_text import event_cells, event_columns

    columns = event_columns()
    rows = [event_cells(event)[: len(columns)] for event in found]
    print_table(columns, rows, empty="No event matches.", whole=("Time (UTC)", "IP", "Severity", "Id"))
    if len(rows) == limit:
        note(f"The first {limit}; there may be more: --limit N")
