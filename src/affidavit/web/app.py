"""The application: routes, description and page around a built instance.

Nothing here depends on lifespan events, which a mounted application never gets, and every link is relative
to where it is mounted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import lru_cache
from typing import NoReturn

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from affidavit.enrich.proxy import Proxies
from affidavit.web import openapi, places
from affidavit.web.api import (
    audit,
    catalog,
    erasures,
    events,
    holds,
    operations,
    organizations,
    proofs,
    retention,
    tiles,
    tokens,
)
from affidavit.web.api.record import Record
from affidavit.web.authentication import Credentials, Guard
from affidavit.web.edge import Edge
from affidavit.web.host import Host, HostGuard
from affidavit.web.instance import Instance, WebSettings
from affidavit.web.metrics import Metrics
from affidavit.web.reads import Reads
from affidavit.web.routes import JSON, Operation, routes_of
from affidavit.web.ui.links import below

__all__ = ["OPERATIONS", "create_app", "description"]

OPERATIONS: list[Operation] = [
    *events.OPERATIONS,
    *proofs.OPERATIONS,
    *audit.OPERATIONS,
    *catalog.OPERATIONS,
    *organizations.OPERATIONS,
    *tokens.OPERATIONS,
    *retention.OPERATIONS,
    *holds.OPERATIONS,
    *erasures.OPERATIONS,
    *tiles.OPERATIONS,
    *operations.OPERATIONS,
]
"""Every operation of the API."""


def create_app(
    instance: Instance,
    *,
    settings: WebSettings,
    page: str = "/audit",
    host: Host | None = None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Starlette:
    """Build the application.

    Args:
        instance: what it serves.
        settings: of the server.
        page: where the page is; ``""`` where the application is mounted and the page is its root.
        host: the product that signs people in; ``None``: they sign in with a link of ours.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
    """
    from affidavit.web.ui.views import ui_routes

    metrics = Metrics()
    guard: Credentials
    if host is None:
        guard = Guard(instance.authentication, insecure_cookie=settings.insecure_cookie)
    else:
        guard = HostGuard(instance.authentication, host)
    routes: list[BaseRoute] = [
        *routes_of(OPERATIONS),
        Route("/api/openapi.json", _openapi),
        *ui_routes(instance, settings, page=page, host=host),
    ]
    edge = Middleware(
        Edge,
        record=Record(instance, guard, metrics),
        record_path=f"{places.API}/events",
        metrics=metrics,
        proxies=Proxies(settings.trusted_proxies),
        entropy=entropy,
    )
    app = Starlette(routes=routes, middleware=[edge], exception_handlers={HTTPException: _pass_on})
    app.router.redirect_slashes = False
    app.state.instance = instance
    app.state.settings = settings
    app.state.guard = guard
    app.state.metrics = metrics
    app.state.reads = Reads(instance, clock=clock)
    return app


@lru_cache(maxsize=8)
def description(root: str = "/") -> bytes:
    """The OpenAPI document as JSON, of an application whose paths begin with ``root``."""
    return msgspec.json.encode(openapi.document(OPERATIONS, root))


async def _openapi(request: Request) -> Response:
    return Response(description(below(request.scope.get("root_path", "")) or "/"), media_type=JSON)


async def _pass_on(_request: Request, error: Exception) -> NoReturn:
    """Let the edge answer what Starlette refused, as it answers everything else."""
    raise error
