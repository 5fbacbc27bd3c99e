"""The pages of the product as Starlette routes: the table, one event, sign-in, and what went wrong.

Every page works without JavaScript, and none has any. An error becomes a page here; what status it has is
decided in :mod:`affidavit.web.errors`, as for the API.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from affidavit import errors
from affidavit.web.errors import problem_of
from affidavit.web.host import Host
from affidavit.web.instance import Instance, WebSettings
from affidavit.web.ui.event_page import show_event
from affidavit.web.ui.links import is_local
from affidavit.web.ui.login import current, remember, show_login, sign_in, sign_out
from affidavit.web.ui.site import HEADERS, Site, now
from affidavit.web.ui.table import show_table

__all__ = ["ui_routes"]

log = logging.getLogger("affidavit.web")

_Page = Callable[[Site, Request], Awaitable[Response]]
_YEAR = 31_536_000


def ui_routes(
    instance: Instance,
    settings: WebSettings,
    *,
    page: str = "/audit",
    host: Host | None = None,
    clock: Callable[[], int] = now,
) -> list[Route]:
    """The routes of all pages. The application's state must hold ``guard`` and ``reads``.

    Args:
        instance: the running instance.
        settings: of the instance.
        page: the path of the table below the application's root; ``""`` where the table is the root itself.
        host: the product that signs people in, so that nobody signs in or out here.
        clock: microseconds since 1970 UTC.
    """
    site = Site(instance, page=page, host=host, insecure_cookie=settings.insecure_cookie, clock=clock)

    def route(path: str, view: _Page, method: str = "GET") -> Route:
        return Route(path, _guarded(site, view), methods=[method])

    routes = [
        route(page or "/", show_table),
        route(f"{page}/events/{{id}}", show_event),
        route(f"{page}/assets/{{name}}", _asset),
    ]
    if host is None:
        routes += [
            route(f"{page}/login", show_login),
            route(f"{page}/login", sign_in, "POST"),
            route(f"{page}/logout", sign_out, "POST"),
        ]
    if page:
        routes += [route("/", _home), route(f"{page}/{{rest:path}}", _nothing)]
    return routes


def _guarded(site: Site, view: _Page) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await view(site, request)
        except Exception as error:  # noqa: BLE001 - a person gets a page, whatever happened
            return _failed(site, request, error)

    return endpoint


async def _home(site: Site, request: Request) -> Response:
    return RedirectResponse(site.links(request).list(), 303, headers=dict(HEADERS))


async def _nothing(_site: Site, _request: Request) -> Response:
    raise errors.NotFound()


async def _asset(site: Site, request: Request) -> Response:
    name = request.path_params["name"]
    asset = next((asset for asset in site.assets.values() if asset.address == name), None)
    if asset is None:
        raise errors.NotFound()
    headers = {**HEADERS, "cache-control": f"public, max-age={_YEAR}, immutable"}
    return Response(asset.content, headers=headers, media_type=asset.media_type)


def _failed(site: Site, request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        raise error
    answer = problem_of(error)
    to_login = _to_login(site, request, error)
    if to_login is not None:
        return to_login
    if answer.unexpected:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    page = site.render(
        request, "message.html", _words(site, request, error, answer.status), status=answer.status
    )
    for name, value in answer.headers:
        if name in (b"retry-after", b"www-authenticate"):
            page.headers[name.decode()] = value.decode()
    if isinstance(error, errors.NotSignedIn) and site.host is None:
        remember(site, request, page)
    return page


def _to_login(site: Site, request: Request, error: Exception) -> Response | None:
    """The way to the login of the product around us, and back."""
    if site.host is None or not isinstance(error, errors.NotSignedIn):
        return None
    wanted = current(request)
    address = site.host.login(wanted if is_local(wanted) else site.links(request).list())
    return None if address is None else RedirectResponse(address, 303, headers=dict(HEADERS))


def _words(site: Site, request: Request, error: Exception, status: int) -> dict[str, Any]:
    """What the page of an error says, and where it leads."""
    links = site.links(request)
    values: dict[str, Any] = {
        "status": str(status),
        "command": "",
        "after": "",
        "paste": "",
        "actions": [("Go to the audit log", links.list())],
    }
    if isinstance(error, errors.NotSignedIn) and site.host is not None:
        return values | {
            "heading": "Sign in to read the audit log",
            "lead": "The audit log is only for those who are signed in. Sign in first, then come back here.",
            "actions": [("Try again", current(request))],
        }
    if isinstance(error, errors.NotSignedIn):
        at_login = request.url.path == links.login()
        tried = at_login and (request.method == "POST" or "code" in request.query_params)
        lead = error.message if tried else "The audit log is only for those who sign in."
        return values | {
            "heading": "Sign in to read the audit log",
            "lead": lead,
            "command": "affidavit login",
            "after": "prints a link that works once. Open it in this browser, and you are back at this page.",
            "paste": links.list() if at_login or request.method != "GET" else current(request),
            "actions": [],
        }
    if status == 404:
        return values | {
            "heading": "There is nothing here",
            "lead": "The page or the event does not exist, or you may not see it.",
        }
    if status == 403:
        return values | {"heading": "This was refused", "lead": _message(error), "actions": []}
    if status == 503:
        return values | {
            "heading": "The audit log cannot be read right now",
            "lead": f"{_message(error)} Nothing that was recorded is lost.",
            "actions": [("Try again", current(request))],
        }
    if status < 500:
        return values | {"heading": "This address was not understood", "lead": _message(error)}
    request_id = request.scope.get("state", {}).get("request_id", "")
    named = f" It stands there under the request {request_id}." if request_id else ""
    return values | {
        "heading": "Something failed on this side",
        "lead": f"The server's own log has the details.{named}",
        "actions": [("Try again", current(request)), ("Go to the audit log", links.list())],
    }


def _message(error: Exception) -> str:
    """The sentence of an error of ours; of a storage error only its fixed one."""
    if isinstance(error, errors.StorageError):
        return (type(error).__doc__ or "").strip().splitlines()[0]
    return error.message if isinstance(error, errors.AffidavitError) else ""
