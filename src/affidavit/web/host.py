"""Who is asking, where the application is mounted in a product that signs people in itself.

The product's own login decides; its cookies are neither read nor set here. API tokens go on working: a
request that bears one of ours is never shown to the product.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from starlette.types import Scope

from affidavit.access.authentication import Authentication
from affidavit.access.scope import Credential
from affidavit.access.secrets import TOKEN, is_well_formed
from affidavit.access.sessions import check_origin
from affidavit.access.viewers import Viewer
from affidavit.web.authentication import READS, Guard

__all__ = ["ASK", "Host", "HostGuard"]

ASK: Final = "affidavit.ask"
"""Key of the scope under which the mount says how to ask who is signed in."""
_ANSWER: Final = "affidavit.viewer"

Ask = Callable[[], Awaitable[Viewer | None]]


class Host(msgspec.Struct, frozen=True):
    """The product around the application.

    Attributes:
        login_url: where people sign in, or a function that knows; ``None``: the page only says that they
            have to.
        organization: of viewers who name none.
        back: what the way back to the product is called, and its address, or a function that knows.
    """

    login_url: str | Callable[[], str] | None = None
    organization: str | None = None
    back: tuple[str, str | Callable[[], str]] | None = None

    @property
    def way_back(self) -> tuple[str, str] | None:
        """Text and address of the link to the product."""
        if self.back is None:
            return None
        text, address = self.back
        return text, address if isinstance(address, str) else address()

    def login(self, wanted: str) -> str | None:
        """The address to sign in at, and to come back from to what was wanted."""
        if self.login_url is None:
            return None
        parts = urlsplit(self.login_url if isinstance(self.login_url, str) else self.login_url())
        query = "&".join(filter(None, (parts.query, urlencode({"next": wanted}))))
        return urlunsplit(parts._replace(query=query))


class HostGuard:
    """Finds the credential of a request: a token of ours, or whoever the product says is signed in.

    Args:
        authentication: recognises tokens.
        host: the product.
    """

    def __init__(self, authentication: Authentication, host: Host) -> None:
        self._tokens = Guard(authentication, insecure_cookie=False)
        self._host = host

    async def credential(self, scope: Scope) -> Credential | None:
        """The credential that a request presents, or ``None`` where nobody is signed in.

        Raises:
            NotSignedIn: the token is not valid.
            AccessRefused: a write from another site.
            ConfigError: what the product answers breaks a rule.
        """
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scheme, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        bears = scheme.lower() == "bearer"
        if bears and is_well_formed(text.strip(), TOKEN):
            return await self._tokens.bearer(text.strip())
        if _ANSWER not in scope:
            scope[_ANSWER] = await scope[ASK]()
        viewer: Viewer | None = scope[_ANSWER]
        if viewer is None:
            return None
        if scope["method"] not in READS:
            _check_write(scope, headers, bears=bears)
        return viewer.credential(self._host.organization)


def _check_write(scope: Scope, headers: dict[bytes, bytes], *, bears: bool) -> None:
    origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
    if bears and origin is None and site is None:
        return  # a program: no browser bears a token of the product by itself, or goes without both headers
    check_origin(
        scheme=scope["scheme"],
        host=headers.get(b"host", b"").decode("latin-1"),
        origin=None if origin is None else origin.decode("latin-1"),
        fetch_site=None if site is None else site.decode("latin-1"),
    )
