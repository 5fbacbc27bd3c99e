"""Signing in with a one-time link, and out again.

Opening the link shows a form and changes nothing, because previews and scanners open links too; the POST
of the form uses the link up. The permalink that somebody wanted before waits in a short-lived cookie.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from affidavit.access.abilities import ABILITIES
from affidavit.access.logins import SESSION_LIFE
from affidavit.access.scope import ALL
from affidavit.access.sessions import CookieRule, check_origin, cookie_rule
from affidavit.core.credentials import LoginLink
from affidavit.errors import NotSignedIn
from affidavit.web.authentication import peer_address
from affidavit.web.body import read_body
from affidavit.web.ui.links import is_local
from affidavit.web.ui.site import HEADERS, Site
from affidavit.web.ui.table import parameters

__all__ = ["RETURN_COOKIE", "remember", "show_login", "sign_in", "sign_out", "wanted"]

RETURN_COOKIE: Final = "affidavit-return"
_RETURN_SECONDS = 15 * 60
_LONGEST_RETURN = 2_000
_LONGEST_FORM = 16_384
_SECOND = 1_000_000


async def show_login(site: Site, request: Request) -> Response:
    """Answer ``GET /audit/login?code=...`` with a form, or without a code with how to get one.

    Raises:
        NotSignedIn: the link is unknown, was used or has expired.
        AccessRefused: plain HTTP on a host that is not loopback.
    """
    _rule(site, request)
    code = _code(dict(parameters(request)).get("code", ""))
    if not code:
        raise NotSignedIn()
    link = await anyio.to_thread.run_sync(site.instance.logins.peek, code)
    values = {
        "code": code,
        "name": link.name,
        "organizations": "All of this instance"
        if link.organizations is ALL
        else ", ".join(link.organizations),
        "abilities": _abilities(link),
    }
    return site.render(request, "login.html", values)


async def sign_in(site: Site, request: Request) -> Response:
    """Answer the form's POST: use the link up, set the cookie, lead to what was wanted.

    Raises:
        NotSignedIn: the link is unknown, was used or has expired.
        AccessRefused: the form was not ours, or plain HTTP on a host that is not loopback.
    """
    rule = _rule(site, request)
    _same_origin(request)
    fields = await _form(request)
    signed_in = await anyio.to_thread.run_sync(
        lambda: site.instance.logins.consume(
            _code(fields.get("code", "")), address=peer_address(request.scope)
        )
    )
    given = fields.get("next", "")
    address = given if given and is_local(given) else wanted(request)
    answer = RedirectResponse(address or site.links(request).list(), 303, headers=dict(HEADERS))
    answer.headers.append("set-cookie", rule.header(signed_in.cookie, SESSION_LIFE // _SECOND))
    answer.headers.append("set-cookie", _return_cookie(rule, "", 0))
    return answer


async def sign_out(site: Site, request: Request) -> Response:
    """Answer ``POST /audit/logout``: end the session, on the server too.

    Raises:
        AccessRefused: the form was not ours.
    """
    rule = _rule(site, request)
    _same_origin(request)
    cookie = request.cookies.get(rule.name)
    if cookie:
        await anyio.to_thread.run_sync(
            lambda: site.instance.sessions.end(cookie, address=peer_address(request.scope))
        )
        site.instance.authentication.forget()
    answer = site.render(
        request,
        "message.html",
        {
            "heading": "You are signed out",
            "status": "",
            "lead": "The session has ended in this browser and on the server.",
            "command": "affidavit login",
            "after": "makes a new link whenever you need one.",
            "paste": "",
            "actions": [],
        },
    )
    answer.headers.append("set-cookie", rule.header("", 0))
    return answer


def remember(site: Site, request: Request, answer: Response) -> None:
    """Keep the address of a page that needs a sign-in, for :func:`sign_in` to lead back to."""
    address = current(request)
    rule = cookie_rule(request.scope["scheme"], request.headers.get("host", ""), insecure=True)
    signing = address.startswith((site.links(request).login(), site.links(request).logout()))
    if request.method == "GET" and not signing and len(address) <= _LONGEST_RETURN:
        answer.headers.append("set-cookie", _return_cookie(rule, quote(address, safe="/"), _RETURN_SECONDS))


def wanted(request: Request) -> str:
    """The address that the visitor wanted before signing in, or nothing."""
    address = unquote(request.cookies.get(RETURN_COOKIE, ""))
    return address if is_local(address) else ""


def current(request: Request) -> str:
    """Path and query of this request, as the browser wrote them."""
    path = quote(request.scope["path"], safe="/%:@!$&'()*+,;=~-._")
    query = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _return_cookie(rule: CookieRule, value: str, seconds: int) -> str:
    attributes = f"{RETURN_COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax"
    return f"{attributes}; Secure" if rule.secure else attributes


def _rule(site: Site, request: Request) -> CookieRule:
    return cookie_rule(
        request.scope["scheme"], request.headers.get("host", ""), insecure=site.insecure_cookie
    )


def _same_origin(request: Request) -> None:
    check_origin(
        scheme=request.scope["scheme"],
        host=request.headers.get("host", ""),
        origin=request.headers.get("origin"),
        fetch_site=request.headers.get("sec-fetch-site"),
    )


async def _form(request: Request) -> dict[str, str]:
    body = await read_body(request.scope, request.receive, _LONGEST_FORM)
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10))


def _code(text: str) -> str:
    """The code itself, where a whole link was pasted."""
    given = text.strip()
    if "code=" in given:
        given = dict(parse_qsl(urlsplit(given).query)).get("code", given)
    return given[:200]


def _abilities(link: LoginLink) -> str:
    words = [ABILITIES[ability].rstrip(".") for ability in link.abilities if ability in ABILITIES]
    return "; ".join(words) if words else "Nothing"
