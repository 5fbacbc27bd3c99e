"""Organizations: declaring one, listing them, and the secret of each."""

from __future__ import annotations

from collections.abc import Callable

from affidavit.access.events import AccessEvents
from affidavit.access.scope import Credential
from affidavit.core.credentials import ALL, Organization, Organizations
from affidavit.core.event import Resource
from affidavit.core.names import NAME_RULE, name_is_valid
from affidavit.errors import FieldError, Refused
from affidavit.storage.settings import OrganizationStore

__all__ = ["OrganizationSettings"]

_OURS = "affidavit:"


class OrganizationSettings:
    """Declare and list organizations.

    Args:
        store: where they are kept.
        events: makes the events of each change, stored with it.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
    """

    def __init__(
        self,
        store: OrganizationStore,
        events: AccessEvents,
        *,
        clock: Callable[[], int],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._entropy = entropy

    def create(self, name: str, by: Credential, *, address: str | None = None) -> tuple[Organization, bool]:
        """Declare an organization; the second value is false where it was declared already.

        Recorded as ``access.organization.created`` in the new organization, in the same transaction.

        Raises:
            Refused: the name breaks :data:`NAME_RULE` or is kept for the instance itself.
        """
        if not name_is_valid(name):
            raise _bad_name(name, NAME_RULE)
        if name.startswith(_OURS):
            raise _bad_name(name, f"names that begin with {_OURS} are kept for the instance itself")
        existing = self._store.get(name)
        if existing is not None and existing.declared:
            return existing, False
        organization = Organization(name=name, created_at=self._clock())
        rows = self._events.rows(
            "access.organization.created",
            by,
            (name,),
            Resource(type="organization", id=name),
            changes={"name": (None, name)},
            stored={"declared": 1},
            address=address,
        )
        return organization, self._store.declare(organization, self._entropy(32), rows)

    def list(self, organizations: Organizations) -> list[Organization]:
        """Those of ``organizations`` that are declared or hold a secret, by name."""
        stored = self._store.list()
        if organizations is ALL:
            return stored
        return [organization for organization in stored if organization.name in organizations]

    def exists(self, name: str) -> bool:
        """Whether the organization was made or has an event."""
        return self._store.exists(name)

    def secret(self, name: str) -> bytes:
        """The 32-byte secret of an organization, made at the first call (no setting, so no event)."""
        return self._store.secret(name, self._clock(), self._entropy(32))


def _bad_name(name: str, rule: str) -> Refused:
    error = FieldError("/name", "organization_name", rule, name[:100])
    return Refused(f"The name of an organization {rule}: {name[:100]!r}.", (error,))
