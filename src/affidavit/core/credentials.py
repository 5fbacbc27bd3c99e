"""Who may come in, as stored: organizations, tokens, login links and web sessions.

Pure structures and their rules at rest. No secret is ever a field here except the organization's:
tokens, links and session ids are kept as the SHA-256 of their text. What a credential may reach is
decided in :mod:`affidavit.access.scope` and nowhere else.
"""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

import msgspec

from affidavit.errors import AffidavitError

__all__ = [
    "ALL",
    "INSTANCE",
    "All",
    "LoginLink",
    "Organization",
    "Organizations",
    "Token",
    "WebSession",
    "pack_organizations",
    "unpack_organizations",
]


class All(enum.Enum):
    """The type of :data:`ALL`."""

    ALL = "all"

    def __repr__(self) -> str:
        return "ALL"


ALL: Final = All.ALL
"""Every organization. Never spelled as an absent value or as an empty tuple, which means none."""

Organizations: TypeAlias = tuple[str, ...] | All
"""The organizations that something reaches: those named, none where the tuple is empty, or :data:`ALL`."""

INSTANCE: Final = "affidavit:instance"
"""The organization that holds the events of the instance itself, such as a sign-in of its operator.

Nobody can create an organization under ``affidavit:``, and no token can be bound to one."""


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant that was declared or has its secret.

    Attributes:
        name: see :mod:`affidavit.core.names`.
        created_at: microseconds since 1970 UTC.
        declared: made on purpose, not on the way by a first keyed event or a token.
    """

    name: str
    created_at: int
    declared: bool = True


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """An API token at rest.

    Attributes:
        id: public, ``tok_`` and 16 hex digits; what lists, events and ``token revoke`` use.
        name: 1 to 128 characters, given by whoever made it.
        hash: SHA-256 of the token's text.
        organizations: those that it reaches; never all.
        abilities: those that it has.
        created_at, expires_at, last_used_at, revoked_at: microseconds since 1970 UTC;
            ``last_used_at`` is up to a minute behind.
        created_by: name of the credential that made it.
    """

    id: str
    name: str
    hash: bytes
    organizations: tuple[str, ...]
    abilities: tuple[str, ...]
    created_at: int
    created_by: str
    expires_at: int | None = None
    last_used_at: int | None = None
    revoked_at: int | None = None


class LoginLink(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time login link at rest; using it makes a :class:`WebSession` with the same reach.

    Attributes:
        hash: SHA-256 of the code in the link.
        name: who the link was made for, as events will name the session.
        created_at, expires_at, used_at: microseconds since 1970 UTC.
    """

    hash: bytes
    name: str
    organizations: Organizations
    abilities: tuple[str, ...]
    created_at: int
    expires_at: int
    used_at: int | None = None


class WebSession(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in browser at rest.

    Attributes:
        id: public, ``ses_`` and 16 hex digits; what events name.
        hash: SHA-256 of the cookie's value.
        name: the person, from the login link.
        created_at, expires_at, ended_at: microseconds since 1970 UTC.
    """

    id: str
    hash: bytes
    name: str
    organizations: Organizations
    abilities: tuple[str, ...]
    created_at: int
    expires_at: int
    ended_at: int | None = None


def pack_organizations(organizations: Organizations) -> str:
    """The stored form: the JSON text ``"all"`` or an array of names."""
    value = "all" if organizations is ALL else list(organizations)
    return msgspec.json.encode(value).decode()


def unpack_organizations(text: str) -> Organizations:
    """The inverse of :func:`pack_organizations`.

    Raises:
        AffidavitError: the stored text is neither form; never taken for "all" or for "none".
    """
    try:
        value = msgspec.json.decode(text, type=str | list[str])
    except msgspec.DecodeError as error:
        raise AffidavitError("A stored credential has an unreadable list of organizations.") from error
    if isinstance(value, list):
        return tuple(value)
    if value == "all":
        return ALL
    raise AffidavitError("A stored credential has an unreadable list of organizations.")
