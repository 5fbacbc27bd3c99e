"""Who is asking: a bearer token, or the cookie of a web session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from starlette.requests import Request, cookie_parser
from starlette.types import Scope

from affidavit.access.authentication import Authentication
from affidavit.access.scope import Credential
from affidavit.access.sessions import check_origin, cookie_rule
from affidavit.errors import AccessRefused, NotSignedIn

__all__ = ["READS", "Credentials", "Guard", "credential_of", "peer_address"]

READS: Final = frozenset(("GET", "HEAD", "OPTIONS"))


class Credentials(Protocol):
    """Finds the credential of a request."""

    async def credential(self, scope: Scope) -> Credential | None:
        """See :meth:`Guard.credential`."""
        ...


class Guard:
    """Finds the credential of a request.

    Args:
        authentication: recognises tokens and sessions.
        insecure_cookie: the operator accepts the session's cookie over plain HTTP off loopback.
    """

    def __init__(self, authentication: Authentication, *, insecure_cookie: bool) -> None:
        self._authentication = authentication
        self._insecure = insecure_cookie
        self._asking: dict[str, asyncio.Future[Credential]] = {}

    async def credential(self, scope: Scope) -> Credential | None:
        """The credential that a request presents, or ``None`` where it presents none.

        A bearer token wins over a cookie. A write with a cookie must come from a page of this server.

        Raises:
            NotSignedIn: what it presents is not valid.
            AccessRefused: a write from another site.
        """
        cookies = host = origin = fetch_site = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                return await self.bearer(_bearer(value))
            if name == b"cookie":
                cookies = value
            elif name == b"host":
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                fetch_site = value
        if cookies is None:
            return None
        at = _text(host) or ""
        try:
            rule = cookie_rule(scope["scheme"], at, insecure=self._insecure)
        except AccessRefused:
            return None  # sign-in was refused here, so a cookie of that name is none of ours
        session = cookie_parser(cookies.decode("latin-1")).get(rule.name)
        if not session:
            return None
        if scope["method"] not in READS:
            check_origin(scheme=scope["scheme"], host=at, origin=_text(origin), fetch_site=_text(fetch_site))
        return await self._confirmed(session, self._authentication.cookie)

    async def bearer(self, text: str) -> Credential:
        """The credential behind a bearer token.

        Raises:
            NotSignedIn: it is not valid.
        """
        return await self._confirmed(text, self._authentication.bearer)

    async def _confirmed(self, text: str, ask: Callable[[str], Credential]) -> Credential:
        known = self._authentication.recall(text)
        if known is not None:
            return known
        # Requests that come while the store is being asked about their credential wait for that one answer.
        asking = self._asking.get(text)
        if asking is None:
            asking = asyncio.ensure_future(asyncio.to_thread(ask, text))
            self._asking[text] = asking
            asking.add_done_callback(partial(self._answered, text))
        return await asyncio.shield(asking)

    def _answered(self, text: str, asking: asyncio.Future[Credential]) -> None:
        del self._asking[text]
        if not asking.cancelled():
            asking.exception()  # looked at, also where every request that waited has gone


async def credential_of(request: Request) -> Credential | None:
    """The credential of a Starlette request; see :meth:`Guard.credential`."""
    guard: Credentials = request.app.state.guard
    return await guard.credential(request.scope)


def peer_address(scope: Scope) -> str | None:
    """The address of the client, trusted proxies taken out."""
    client = scope.get("client")
    return client[0] if client else None


def _bearer(header: bytes) -> str:
    scheme, _, text = header.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise NotSignedIn("The header Authorization must be: Bearer and a token.")
    return text.strip()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
