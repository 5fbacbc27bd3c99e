"""People whom a product signed in by its own means, and the roles that it gives them here.

What a role may is decided by :data:`ROLES`; what a viewer reaches by
:func:`~affidavit.access.scope.scope_of`, as for every other credential.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from affidavit.access.abilities import (
    ABILITIES,
    DETECTIONS_MANAGE,
    ERASURE_MANAGE,
    EVENTS_IMPORT,
    EVENTS_WRITE,
    EXPORT,
    LIST,
    LOG_READ,
    MEMBERS_MANAGE,
    RETENTION_MANAGE,
    STREAMS_MANAGE,
    TOKENS_MANAGE,
)
from affidavit.access.scope import Credential
from affidavit.core.credentials import ALL, Organizations
from affidavit.core.event import Actor
from affidavit.core.names import NAME_RULE, name_is_valid
from affidavit.core.rules import EMAIL, ID, NAME
from affidavit.errors import ConfigError

__all__ = ["OPERATOR_ROLE", "ROLES", "Viewer"]

OPERATOR_ROLE: Final = "operator"
_OURS: Final = "affidavit:"
_AUDITOR: Final = frozenset((LIST, EXPORT, LOG_READ))
_ADMIN: Final = _AUDITOR | {EVENTS_WRITE, TOKENS_MANAGE, MEMBERS_MANAGE, STREAMS_MANAGE, DETECTIONS_MANAGE}
ROLES: Final[dict[str, frozenset[str]]] = {
    "viewer": frozenset(),
    "auditor": _AUDITOR,
    "admin": _ADMIN,
    "owner": _ADMIN | {EVENTS_IMPORT, RETENTION_MANAGE, ERASURE_MANAGE},
    OPERATOR_ROLE: frozenset(ABILITIES),
}
"""The abilities of each role. A ``viewer`` of the product may not read its audit log."""


class Viewer:
    """Who looks at the audit log, in the words of the product that signed them in.

    Args:
        id: of the person, as it stands in the events that the product records about them.
        name: display name.
        email: address.
        role: ``viewer``, ``auditor``, ``admin``, ``owner``, or ``operator`` of the whole instance. A
            ``viewer`` may not read the log: for them the page does not exist.
        organizations: those that the person reaches; none where it is empty. Absent: that of the ``Audit``,
            and for an ``operator`` all.
        abilities: instead of those of the role.

    Raises:
        ConfigError: one of them breaks its rule; the message names it, the rule and the value.
    """

    __slots__ = ("abilities", "email", "id", "name", "organizations", "role")

    def __init__(
        self,
        id: str | int | UUID,  # noqa: A002 - named as the field of an event
        *,
        name: str | None = None,
        email: str | None = None,
        role: str = "viewer",
        organizations: Iterable[str] | None = None,
        abilities: Iterable[str] | None = None,
    ) -> None:
        self.id = _identifier(id)
        self.name = None if name is None else _text("name", name, NAME)
        self.email = None if email is None else _text("email", email, EMAIL)
        self.role = _role(role)
        self.organizations = None if organizations is None else _names(organizations)
        self.abilities = ROLES[self.role] if abilities is None else _abilities(abilities)

    def __repr__(self) -> str:
        return f"Viewer({self.id!r}, role={self.role!r}, organizations={self.organizations!r})"

    def credential(self, home: str | None) -> Credential:
        """The credential of a request of this person.

        Args:
            home: organization of those who name none.

        Raises:
            ConfigError: neither viewer nor ``home`` names an organization.
        """
        return Credential(
            kind="viewer",
            id=self.id,
            name=self.id,
            organizations=self._reach(home),
            abilities=self.abilities,
            person=Actor(type="user", id=self.id, name=self.name, email=self.email),
        )

    def _reach(self, home: str | None) -> Organizations:
        if self.organizations is not None:
            return self.organizations
        if self.role == OPERATOR_ROLE:
            return ALL
        if home is None:
            raise _broken("organizations", "given, as the Audit has no organization of its own", None)
        return (home,)


def _identifier(value: object) -> str:
    if not isinstance(value, str | int | UUID) or isinstance(value, bool) or value == "":
        raise _broken("id", "a text, a number or a UUID", value)
    return _text("id", str(value), ID)


def _role(value: object) -> str:
    if not isinstance(value, str) or value not in ROLES:
        raise _broken("role", f"one of {', '.join(ROLES)}", value)
    return value


def _text(field: str, value: object, most: int) -> str:
    if not isinstance(value, str):
        raise _broken(field, "a text", value)
    if len(value) > most:
        raise _broken(field, f"at most {most:,} characters", value)
    if "\0" in value or not _is_unicode(value):
        raise _broken(field, "without U+0000 and lone surrogates", value)
    return value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _names(given: object) -> tuple[str, ...]:
    names = _several("organizations", given)
    for name in names:
        if not isinstance(name, str):
            raise _broken("organizations", "names", name)
        if not name_is_valid(name):
            raise ConfigError(f"Viewer: each of organizations {NAME_RULE}, not {name[:100]!r}")
        if name.startswith(_OURS):
            raise _broken("organizations", f"of the product; those that begin with {_OURS} are ours", name)
    return tuple(dict.fromkeys(names))


def _abilities(given: object) -> frozenset[str]:
    found = _several("abilities", given)
    for ability in found:
        if ability not in ABILITIES:
            raise _broken("abilities", f"of {', '.join(ABILITIES)}", ability)
    return frozenset(found)


def _several(field: str, given: object) -> list[Any]:
    """A single text has letters to go through, too, and none of them is what was meant."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise _broken(field, "a list of texts", given)
    return list(given)


def _broken(field: str, rule: str, value: object) -> ConfigError:
    return ConfigError(f"Viewer: {field} must be {rule}, not {repr(value)[:100]}")
