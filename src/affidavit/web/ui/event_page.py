"""The page of one event, under its permalink."""

from __future__ import annotations

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from affidavit.access.scope import ALL
from affidavit.core.ids import parse_id
from affidavit.errors import InvalidQuery, NotFound, NotSignedIn
from affidavit.web.authentication import credential_of, peer_address
from affidavit.web.ui.detail import Similar, present_detail
from affidavit.web.ui.links import Pair
from affidavit.web.ui.reach import find_event, has_parts, may_list
from affidavit.web.ui.site import Site
from affidavit.web.ui.table import parameters

__all__ = ["show_event"]


async def show_event(site: Site, request: Request) -> Response:
    """Answer ``GET /audit/events/{id}``.

    Raises:
        NotSignedIn: nobody asks.
        NotFound: no such event, or none that the visitor may see; the two look alike.
        InvalidQuery: a parameter other than ``organization``.
    """
    credential = await credential_of(request)
    if credential is None:
        raise NotSignedIn()
    may_list(credential)
    named = _organization(parameters(request))
    try:
        event_id = parse_id(request.path_params["id"])
    except InvalidQuery:
        raise NotFound() from None
    scope, event = await anyio.to_thread.run_sync(find_event, site.instance, credential, event_id, named)
    parts = await anyio.to_thread.run_sync(has_parts, site.instance, event)
    request.app.state.reads.note(scope, request.url.path, peer_address(request.scope))
    several = credential.organizations is ALL or len(credential.organizations) > 1
    home = event.organization if several else None
    within: list[Pair] = [("organization", home)] if home is not None else []

    def similar_pairs(link: Similar) -> list[Pair]:
        return [*within, *link.pairs]

    values = {
        "view": present_detail(event, site.instance.catalogs.title, has_parts=parts),
        "back": site.links(request).list(within),
        "event_organization": lambda _row: home,
        "similar_pairs": similar_pairs,
    }
    return site.render(request, "event.html", values, visitor=credential)


def _organization(pairs: list[Pair]) -> str | None:
    named: str | None = None
    for name, value in pairs:
        if name != "organization":
            raise InvalidQuery.of(name[:100], "unknown", "is no parameter of this page", value[:100])
        if named is not None:
            raise InvalidQuery.of(name, "repeated", "may be given once", value[:100])
        named = value or None
    return named
