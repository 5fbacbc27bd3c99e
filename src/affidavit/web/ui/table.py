"""The table at ``/audit``: what a person sees first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from affidavit.access.abilities import EXPORT
from affidavit.access.scope import ALL, Credential, Scope
from affidavit.core.filter import Filter
from affidavit.core.query import to_params
from affidavit.core.times import DAY, HOUR, format_time
from affidavit.errors import InvalidQuery, NotSignedIn
from affidavit.web.authentication import credential_of, peer_address
from affidavit.web.ui import form
from affidavit.web.ui.chart import Bar, draw
from affidavit.web.ui.links import Links, Pair
from affidavit.web.ui.listing import Listing, Offers, read_listing
from affidavit.web.ui.present import RowView, present_row
from affidavit.web.ui.question import EVERY, Question
from affidavit.web.ui.reach import choices, may_list, scope_of_question
from affidavit.web.ui.site import HEADERS, Site

__all__ = ["Problem", "parameters", "quick_ranges", "show_table"]

_MOST_PARAMETERS = 2000
_RANGES = (("7 days", 7), ("30 days", 30), ("90 days", 90))


class Problem(msgspec.Struct, frozen=True):
    """A filter that was refused, in words, with the address that leaves it out."""

    heading: str
    parameter: str
    rule: str
    message: str
    value: str
    action: str
    without: str


async def show_table(site: Site, request: Request) -> Response:
    """Answer ``GET /audit``.

    Raises:
        NotSignedIn, NotFound: nobody, or nobody who may read.
    """
    credential = await credential_of(request)
    if credential is None:
        raise NotSignedIn()
    may_list(credential)
    try:
        question = Question.of(parameters(request))
    except InvalidQuery as error:
        return await _refused(site, request, credential, Question(), error)
    offered = await anyio.to_thread.run_sync(choices, site.instance, credential)
    several = len(offered) > 1
    if several and question.organization is None:
        chosen = msgspec.structs.replace(question, organization=offered[0])
        address = site.links(request).list(chosen.pairs(place=question.place))
        return RedirectResponse(address, 303, headers=dict(HEADERS))
    try:
        asked = question.filter()
        scope = await anyio.to_thread.run_sync(scope_of_question, site.instance, credential, question)
        listing = await anyio.to_thread.run_sync(
            read_listing, site.instance.reader, scope.organizations, asked, question.place.token
        )
    except InvalidQuery as error:
        return await _refused(site, request, credential, question, error)
    request.app.state.reads.note(scope, request.url.path, peer_address(request.scope), asked)
    values = _page(site, request, question, credential, offered, listing)
    values |= {"exports": _exports(site.links(request), scope, question, asked)}
    return site.render(request, "list.html", values, visitor=credential)


def parameters(request: Request) -> list[Pair]:
    """The parameters of an address.

    Raises:
        InvalidQuery: far too many.
    """
    query = request.scope["query_string"].decode("latin-1")
    try:
        return parse_qsl(
            query, keep_blank_values=True, errors="surrogateescape", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        raise InvalidQuery.of(
            "address", "too_many", f"has more than {_MOST_PARAMETERS:,} parameters"
        ) from None


def _page(
    site: Site,
    request: Request,
    question: Question,
    credential: Credential,
    offered: Sequence[str],
    listing: Listing,
) -> dict[str, Any]:
    links = site.links(request)
    rows = [present_row(event, site.instance.catalogs.title) for event in listing.events]
    histogram = listing.histogram
    place = question.place
    following = links.list(question.pairs(place=place.next(listing.token))) if listing.token else ""
    return {
        **_frame(site, links, question, credential, offered, listing.offers, _names(rows)),
        "problem": None,
        "rows": rows,
        "chart": draw(histogram.buckets, histogram.total, at_least=histogram.at_least),
        "narrowed": lambda bar: _narrowed(question, bar),
        "ranges": [
            (words, links.list(pairs), current)
            for words, pairs, current in quick_ranges(question, site.clock())
        ],
        "place": place,
        "continues": listing.short,
        "previous": links.list(question.pairs(place=place.previous())) if place.has_previous else "",
        "next": following,
        "refresh": links.list(question.pairs(place=place)),
    }


def _frame(
    site: Site,
    links: Links,
    question: Question,
    credential: Credential,
    offered: Sequence[str],
    offers: Offers,
    names: Mapping[str, str],
) -> dict[str, Any]:
    """What the page shows whether or not its filters were understood."""
    across = question.organization == EVERY
    several = len(offered) > 1
    organization = "" if across else question.organization or "".join(offered[:1])
    return {
        "form": form.build(
            question,
            site.instance.catalogs,
            organizations=offered,
            across=credential.organizations is ALL and several,
            actors=offers.actors,
            actions=offers.actions,
            sources=offers.sources,
            names=names,
        ),
        "organization": organization,
        "boundary": "All organizations" if across else organization or "No organization",
        "show_organization": across,
        "event_organization": lambda row: row.organization if several else None,
        "cleared": [("organization", organization)] if several and organization in offered else [],
        "exports": [],
        "refresh": links.list(question.pairs(place=question.place)),
    }


def _names(rows: Sequence[RowView]) -> dict[str, str]:
    """What to call the actors that this page shows, by what filters call them."""
    people = [person for row in rows for person in (row.actor, row.behalf) if person is not None]
    names: dict[str, str] = {}
    for person in people:
        names.setdefault(person.key, person.name)
        if person.aside:
            names.setdefault(person.aside, person.name)
    return names


def _narrowed(question: Question, bar: Bar) -> list[Pair]:
    """The same question within one bar of the timeline."""
    rest = [pair for pair in question.given if pair[0] not in ("start_date", "end_date")]
    return question.pairs([*rest, ("start_date", bar.start), ("end_date", bar.end)])


def quick_ranges(question: Question, clock: int) -> list[tuple[str, list[Pair], bool]]:
    """Ranges that end now: their words, their address, and whether one is what the page shows.

    Args:
        question: what the page shows.
        clock: microseconds since 1970 UTC.
    """
    rest = [pair for pair in question.given if pair[0] not in ("start_date", "end_date")]
    dates = {pair for pair in question.given if pair[0] in ("start_date", "end_date")}
    starts = [("24 hours", format_time(clock // HOUR * HOUR - DAY))]
    starts += [(words, format_time(clock - (days - 1) * DAY)[:10]) for words, days in _RANGES]
    ranges = [
        (words, question.pairs([*rest, ("start_date", start)]), dates == {("start_date", start)})
        for words, start in starts
    ]
    return [*ranges, ("All", question.pairs(rest), not dates)]


def _exports(links: Links, scope: Scope, question: Question, asked: Filter) -> list[tuple[str, str, str]]:
    if EXPORT not in scope.abilities:
        return []
    one = scope.organizations is not ALL and len(scope.organizations) == 1
    named = [("organization", question.organization)] if question.organization not in (None, EVERY) else []
    pairs = [*named, *to_params(asked)]
    bundle = [("Bundle", links.export("bundle", pairs), "evidence for auditors")] if one else []
    return [
        ("CSV", links.export("csv", pairs), "for spreadsheets"),
        ("NDJSON", links.export("ndjson", pairs), "one event a line"),
        *bundle,
    ]


async def _refused(
    site: Site, request: Request, credential: Credential, question: Question, error: InvalidQuery
) -> Response:
    """The page with the filters as they were given, and what is wrong with one of them."""
    offered = await anyio.to_thread.run_sync(choices, site.instance, credential)
    links = site.links(request)
    values = {
        **_frame(site, links, question, credential, offered, Offers(), {}),
        "problem": _problem(links, question, error),
        "place": question.place,
    }
    return site.render(request, "list.html", values, visitor=credential, status=400)


def _problem(links: Links, question: Question, error: InvalidQuery) -> Problem:
    first = error.errors[0] if error.errors else None
    parameter = first.pointer if first else "address"
    if parameter in ("continuation_token", "page", "back"):
        return Problem(
            heading="This page of the list is not there any more",
            parameter=parameter,
            rule=first.rule if first else "",
            message=first.message if first else error.message,
            value="",
            action="Back to the first page",
            without=links.list(question.pairs()),
        )
    return Problem(
        heading="A filter was not understood",
        parameter=parameter,
        rule=first.rule if first else "query",
        message=first.message if first else error.message,
        value=str(first.value) if first and first.value is not None else "",
        action=f"Leave out {form.label_of(parameter)}",
        without=links.list(question.without(parameter)),
    )
