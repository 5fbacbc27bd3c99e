"""What a credential may reach: one function, used by every route, page, command and tool.

The three values are kept apart: :data:`ALL` is every organization, a tuple those that it names, and the empty
tuple none at all. A question that names no organization is answered for the only one that the
credential reaches; where it reaches several it must name one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from affidavit.core.credentials import ALL, INSTANCE, Organizations
from affidavit.core.event import Actor, RecordedBy
from affidavit.core.names import check_name
from affidavit.errors import InvalidQuery, MissingAbility, NotFound, NotSignedIn

__all__ = ["ALL", "Credential", "Organizations", "Scope", "scope_of"]


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A credential that was presented and found valid.

    Attributes:
        kind: ``operator`` is the token in the operator's file; ``local`` is a person at the command line
            who reads the database file itself; ``viewer`` is a person whom the product around us signed in.
        id: public id of the token or session.
        name: what events and lists call it.
        organizations: those that it reaches.
        abilities: those that it has.
        person: a viewer as events show them.
    """

    kind: Literal["operator", "token", "session", "local", "viewer"]
    id: str
    name: str
    organizations: Organizations
    abilities: frozenset[str]
    person: Actor | None = None

    def actor(self) -> Actor:
        """The actor of an event about something that this credential did."""
        if self.person is not None:
            return self.person
        if self.kind == "token":
            return Actor(type="api_token", id=self.id, name=self.name)
        if self.kind == "operator":
            return Actor(type="system", id="operator", name=self.name)
        return Actor(type="user", id=self.name)

    def recorded_by(self, address: str | None = None) -> RecordedBy:
        """How an event that this credential records names it, with the peer's address."""
        if self.kind == "token":
            return RecordedBy(type="api_token", token_id=self.id, token_name=self.name, address=address)
        return RecordedBy(type=self.kind, id=self.id, address=address)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What one question may see: the answer of :func:`scope_of`."""

    credential: Credential
    organizations: Organizations
    abilities: frozenset[str]

    @property
    def organization(self) -> str:
        """The one organization of a scope that was made for one.

        Raises:
            InvalidQuery: the scope holds none or several.
        """
        if self.organizations is ALL or len(self.organizations) != 1:
            raise InvalidQuery.of("organization", "required", "name one organization")
        return self.organizations[0]

    @property
    def home(self) -> str:
        """The organization where events about this question belong."""
        if self.organizations is ALL or len(self.organizations) != 1:
            return INSTANCE
        return self.organizations[0]


def scope_of(
    credential: Credential | None,
    ability: str,
    *,
    organization: str | None = None,
    bounded: bool = False,
    known: Callable[[str], bool] | None = None,
) -> Scope:
    """Decide what ``credential`` may reach with ``ability``.

    Args:
        credential: absent means not signed in.
        ability: the one that the question needs.
        organization: the one that the question names.
        bounded: the question has a start and an end date, so it may go across all organizations of a
            credential that reaches all. Never set by a route that writes.
        known: whether an organization exists; asked only for a credential that reaches all, for which
            an unknown name is otherwise indistinguishable from an empty organization.

    Raises:
        NotSignedIn: no credential.
        MissingAbility: the credential lacks the ability.
        InvalidQuery: the name breaks the rules of names, or one must be given.
        NotFound: the organization is outside the credential's scope, or unknown; the two look alike.
    """
    if credential is None:
        raise NotSignedIn()
    if ability not in credential.abilities:
        raise MissingAbility(ability)
    reach = credential.organizations
    if organization is None:
        chosen = _unnamed(reach, bounded)
    else:
        chosen = (_named(check_name(organization), reach, known),)
    return Scope(credential=credential, organizations=chosen, abilities=credential.abilities)


def _unnamed(reach: Organizations, bounded: bool) -> Organizations:
    if reach is ALL:
        if bounded:
            return ALL
        raise InvalidQuery.of(
            "organization", "required", "name one organization, or give start_date and end_date to read all"
        )
    if len(reach) > 1:
        raise InvalidQuery.of(
            "organization", "required", "this credential reaches several organizations; name one"
        )
    return reach


def _named(name: str, reach: Organizations, known: Callable[[str], bool] | None) -> str:
    if reach is ALL:
        if name != INSTANCE and known is not None and not known(name):
            raise NotFound()
    elif name not in reach:
        raise NotFound()
    return name
