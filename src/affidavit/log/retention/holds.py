"""Legal holds: while one stands, nothing of its class expires or is pruned, whatever the policy says."""

from __future__ import annotations

from collections.abc import Callable

from affidavit.access.events import AccessEvents
from affidavit.access.scope import Credential
from affidavit.core.event import Resource
from affidavit.core.retention import CLASS_RULE, EVERYTHING, class_is_valid
from affidavit.core.times import format_time
from affidavit.errors import FieldError, NotFound, Refused
from affidavit.storage.retention import Hold, HoldStore

__all__ = ["Hold", "LegalHolds"]

_NAME_CHARACTERS = 128
_REASON_CHARACTERS = 1_000


class LegalHolds:
    """Place, list and release legal holds.

    Args:
        store: where they are kept.
        events: makes the events of each change, stored with it.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
    """

    def __init__(
        self,
        store: HoldStore,
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
        organization: str,
        *,
        name: str,
        reason: str,
        by: Credential,
        class_: str = EVERYTHING,
        address: str | None = None,
    ) -> Hold:
        """Place a hold; recorded as ``audit.hold.created``. It counts as soon as this returns.

        Args:
            organization: whose events.
            name: 1 to 128 printable characters, such as the number of a case.
            reason: 1 to 1,000 characters.
            by: who places it.
            class_: of the events that it keeps; all of them where none is given.
            address: the address that the request came from.

        Raises:
            Refused: a rule is broken.
        """
        _check(name, reason, class_)
        hold = Hold(
            id=f"hold_{self._entropy(8).hex()}",
            organization=organization,
            name=name,
            reason=reason,
            class_=class_,
            created_at=self._clock(),
            created_by=by.name,
        )
        rows = self._events.rows(
            "audit.hold.created",
            by,
            (organization,),
            _resource(hold),
            changes={"name": (None, name), "reason": (None, reason), "class": (None, class_)},
            address=address,
            stored={"created_at": hold.created_at, "created_by": hold.created_by},
            facts={"hold": hold.id, "class": class_},
        )
        self._store.add(hold, rows)
        return hold

    def list(self, organization: str) -> list[Hold]:
        """The holds of an organization, oldest first, released ones too."""
        return self._store.holds(organization)

    def release(self, organization: str, hold_id: str, by: Credential, *, address: str | None = None) -> Hold:
        """End a hold; recorded as ``audit.hold.released``. Releasing one again changes nothing.

        Raises:
            NotFound: the organization has no such hold.
        """
        hold = self._store.get(organization, hold_id)
        if hold is None:
            raise NotFound()
        if hold.released_at is not None:
            return hold
        now = self._clock()
        rows = self._events.rows(
            "audit.hold.released",
            by,
            (organization,),
            _resource(hold),
            changes={"released_at": (None, format_time(now))},
            address=address,
            stored={"released_at": now},
            facts={"hold": hold.id, "class": hold.class_},
        )
        self._store.release(organization, hold_id, now, rows)
        return self._store.get(organization, hold_id) or hold


def _resource(hold: Hold) -> Resource:
    return Resource(type="legal_hold", id=hold.id, name=hold.name)


def _check(name: str, reason: str, class_: str) -> None:
    errors = []
    if not 1 <= len(name) <= _NAME_CHARACTERS or not name.isprintable():
        errors.append(FieldError("/name", "length", "must be 1 to 128 printable characters", name[:100]))
    if not 1 <= len(reason.strip()) <= len(reason) <= _REASON_CHARACTERS:
        errors.append(FieldError("/reason", "length", "must say why, in 1 to 1,000 characters", reason[:100]))
    if not class_is_valid(class_):
        errors.append(FieldError("/class", "class", CLASS_RULE, class_[:140]))
    if errors:
        raise Refused(f"{errors[0].pointer[1:]}: {errors[0].message}.", tuple(errors))
