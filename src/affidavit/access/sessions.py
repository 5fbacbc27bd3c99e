"""Web sessions: rows on the server, a random id in a cookie, and the checks that go with a cookie.

Over HTTPS the cookie is ``__Host-affidavit`` (Secure, Path=/, no Domain); over plain HTTP on the loopback
address it is ``affidavit``. Over plain HTTP anywhere else sign-in is refused, because the cookie would
travel readable, unless the operator said otherwise.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from affidavit.access.events import AccessEvents
from affidavit.access.scope import Credential
from affidavit.access.secrets import SESSION, hash_secret, is_well_formed, same_hash
from affidavit.core.event import Resource
from affidavit.errors import AccessRefused, NotSignedIn
from affidavit.storage.settings import SessionStore

__all__ = ["PLAIN", "SECURE", "CookieRule", "WebSessions", "check_origin", "cookie_rule", "is_loopback"]

SECURE: Final = "__Host-affidavit"
"""The cookie's name over HTTPS."""
PLAIN: Final = "affidavit"
"""The cookie's name over plain HTTP."""


class CookieRule(msgspec.Struct, frozen=True):
    """How the session's cookie is named and sent on one connection."""

    name: str
    secure: bool

    def header(self, value: str, seconds: int) -> str:
        """The text of ``Set-Cookie``; ``seconds`` of 0 removes the cookie."""
        attributes = f"{self.name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax"
        return f"{attributes}; Secure" if self.secure else attributes


def cookie_rule(scheme: str, host: str, *, insecure: bool = False) -> CookieRule:
    """The rule for a request to ``scheme://host``.

    Args:
        scheme: ``http`` or ``https``, as the client sees it.
        host: the ``Host`` header, with or without a port.
        insecure: the operator accepts a readable cookie (``--insecure-cookie``).

    Raises:
        AccessRefused: plain HTTP on a host that is not loopback.
    """
    if scheme == "https":
        return CookieRule(SECURE, True)
    if insecure or is_loopback(host):
        return CookieRule(PLAIN, False)
    raise AccessRefused(
        f"Sign-in over plain HTTP at {host[:100]} is refused: anyone on the way could read "
        "the session's cookie. Put HTTPS in front, open the page at 127.0.0.1 or localhost "
        "(an SSH tunnel will do), or start the server with --insecure-cookie."
    )


def is_loopback(host: str) -> bool:
    """Whether a ``Host`` header names this machine: ``localhost``, ``127.0.0.0/8`` or ``[::1]``."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_origin(*, scheme: str, host: str, origin: str | None, fetch_site: str | None) -> None:
    """Refuse a write that another site made the browser send with the session's cookie.

    Args:
        scheme: ``http`` or ``https``, as the client sees it.
        host: the ``Host`` header.
        origin: the ``Origin`` header.
        fetch_site: the ``Sec-Fetch-Site`` header, used where there is no ``Origin``.

    Raises:
        AccessRefused: the request comes from elsewhere, or does not say where from.
    """
    if origin is None:
        same = fetch_site == "same-origin"
    else:
        try:
            parts = urlsplit(origin)
        except ValueError:
            parts = urlsplit("")
        same = parts.netloc.lower() == host.lower() and (scheme, parts.scheme) != ("https", "http")
    if not same:
        raise AccessRefused("This request did not come from a page of this server; nothing was changed.")


class WebSessions:
    """Recognise and end web sessions. They begin in :meth:`.logins.LoginLinks.consume`.

    Args:
        store: where they are kept.
        events: makes the event of each end, stored with it.
        clock: microseconds since 1970 UTC.
    """

    def __init__(self, store: SessionStore, events: AccessEvents, *, clock: Callable[[], int]) -> None:
        self._store = store
        self._events = events
        self._clock = clock

    def authenticate(self, cookie: str) -> Credential:
        """The credential behind a cookie's value.

        Raises:
            NotSignedIn: malformed, unknown, expired or ended.
        """
        if not is_well_formed(cookie, SESSION):
            raise NotSignedIn()
        digest = hash_secret(cookie)
        session = self._store.find(digest)
        if (
            session is None
            or not same_hash(session.hash, digest)
            or session.ended_at is not None
            or session.expires_at <= self._clock()
        ):
            raise NotSignedIn("This session has ended. Make a new login link: affidavit login")
        return Credential(
            kind="session",
            id=session.id,
            name=session.name,
            organizations=session.organizations,
            abilities=frozenset(session.abilities),
        )

    def end(self, cookie: str, *, address: str | None = None) -> None:
        """Sign out; recorded as ``access.session.ended``. A session that has ended is left as it is."""
        try:
            credential = self.authenticate(cookie)
        except NotSignedIn:
            return
        now = self._clock()
        rows = self._events.rows(
            "access.session.ended",
            credential,
            credential.organizations,
            Resource(type="session", id=credential.id),
            stored={"ended_at": now},
            source="web",
            address=address,
        )
        self._store.end(hash_secret(cookie), now, rows)
