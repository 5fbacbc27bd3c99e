"""One-time login links: made at the command line, opened in a browser, used up by a POST.

A GET of the link shows a form and changes nothing, so that previews and scanners which follow links
do not use it up. Only the POST of that form does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from affidavit.access.abilities import EXPORT, LIST, check_abilities
from affidavit.access.events import AccessEvents
from affidavit.access.scope import Credential
from affidavit.access.secrets import LOGIN, SESSION, hash_secret, is_well_formed, make_secret
from affidavit.core.credentials import ALL, LoginLink, Organizations, WebSession
from affidavit.core.event import Actor, Resource
from affidavit.core.times import format_time
from affidavit.errors import MissingAbility, NotFound, NotSignedIn, Refused
from affidavit.storage.settings import LoginStore

__all__ = ["LINK_LIFE", "SESSION_LIFE", "LoginLinks", "SignedIn"]

LINK_LIFE: Final = 10 * 60 * 1_000_000
"""A link can be used for ten minutes, in microseconds."""
SESSION_LIFE: Final = 12 * 60 * 60 * 1_000_000
"""A session lasts twelve hours, in microseconds."""

_GONE = "This login link is unknown, was used or has expired. Make a new one: affidavit login"


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A new session and the value of its cookie, which exists only here and in the browser."""

    session: WebSession
    cookie: str


class LoginLinks:
    """Make and use login links.

    Args:
        store: where they are kept.
        events: makes the events of each use, stored with it.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
    """

    def __init__(
        self,
        store: LoginStore,
        events: AccessEvents,
        *,
        clock: Callable[[], int],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._entropy = entropy

    def create(
        self,
        *,
        name: str,
        organizations: Organizations,
        by: Credential,
        abilities: Iterable[str] = (LIST, EXPORT),
    ) -> str:
        """Make a link for ``name`` and return its code; recorded as ``access.login_link.created``.

        The page's address is ``<page>/login?code=<code>``.

        Raises:
            Refused: the name is empty or too long, or an ability does not exist.
            MissingAbility, NotFound: ``by`` would give what it does not have.
        """
        chosen = check_abilities(abilities)
        if not 1 <= len(name) <= 128 or not name.isprintable():
            raise Refused("The name of who signs in must be 1 to 128 printable characters.")
        for ability in chosen:
            if ability not in by.abilities:
                raise MissingAbility(ability)
        if by.organizations is not ALL and (
            organizations is ALL or not set(organizations) <= set(by.organizations)
        ):
            raise NotFound()
        code = make_secret(LOGIN, self._entropy)
        now = self._clock()
        link = LoginLink(
            hash=hash_secret(code),
            name=name,
            organizations=organizations,
            abilities=chosen,
            created_at=now,
            expires_at=now + LINK_LIFE,
        )
        resource = Resource(type="login_link", id=_public(link), name=name)
        changes = {"abilities": (None, list(chosen)), "expires_at": (None, format_time(link.expires_at))}
        stored = {
            "hash": link.hash.hex(),
            "organizations": "all" if organizations is ALL else organizations,
            "abilities": chosen,
            "created_at": now,
            "expires_at": link.expires_at,
        }
        rows = self._events.rows(
            "access.login_link.created", by, organizations, resource, changes=changes, stored=stored
        )
        self._store.add(link, rows)
        return code

    def peek(self, code: str) -> LoginLink:
        """The link behind a code, for the page that asks for confirmation. Changes nothing.

        Raises:
            NotSignedIn: unknown, used or expired; the message says how to get another.
        """
        link = self._store.get(hash_secret(code)) if is_well_formed(code, LOGIN) else None
        if link is None or link.used_at is not None or link.expires_at <= self._clock():
            raise NotSignedIn(_GONE)
        return link

    def consume(self, code: str, *, address: str | None = None) -> SignedIn:
        """Use the link up and start a session; recorded as ``access.session.created``.

        Raises:
            NotSignedIn: unknown, used (also by a simultaneous request) or expired.
        """
        link = self.peek(code)
        cookie = make_secret(SESSION, self._entropy)
        now = self._clock()
        session = WebSession(
            id=f"ses_{self._entropy(8).hex()}",
            hash=hash_secret(cookie),
            name=link.name,
            organizations=link.organizations,
            abilities=link.abilities,
            created_at=now,
            expires_at=now + SESSION_LIFE,
        )
        person = Credential(
            kind="session",
            id=session.id,
            name=session.name,
            organizations=session.organizations,
            abilities=frozenset(session.abilities),
        )
        rows = self._events.rows(
            "access.session.created",
            person,
            link.organizations,
            Resource(type="login_link", id=_public(link), name=link.name),
            stored={
                "id": session.id,
                "hash": session.hash.hex(),
                "organizations": "all" if session.organizations is ALL else session.organizations,
                "abilities": session.abilities,
                "created_at": now,
                "expires_at": session.expires_at,
            },
            source="web",
            address=address,
            actor=Actor(type="user", id=link.name),
        )
        if not self._store.consume(link.hash, now, session, rows):
            raise NotSignedIn(_GONE)
        return SignedIn(session=session, cookie=cookie)


def _public(link: LoginLink) -> str:
    """An id to name the link by that does not help anyone to use it."""
    return f"login_{link.hash[:8].hex()}"
