"""Catalogs that apps push: kept by name and version, each change an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from affidavit.access.abilities import INSTANCE_OPERATE
from affidavit.core.catalog import CatalogSet, EventType
from affidavit.core.credentials import ALL
from affidavit.core.event import Resource
from affidavit.core.names import check_name
from affidavit.errors import MissingAbility

if TYPE_CHECKING:
    from affidavit.access.events import AccessEvents
    from affidavit.access.scope import Credential
    from affidavit.storage.settings import CatalogStore

__all__ = ["CatalogSettings", "PushedCatalog"]

NAMED = 100
"""How many added, changed and removed actions the event of a push names each."""


class PushedCatalog(msgspec.Struct, frozen=True, kw_only=True):
    """What a push did.

    Attributes:
        version: of the catalog, from 1.
        added, changed, removed: actions of the catalog.
    """

    name: str
    version: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class CatalogSettings:
    """Store the catalogs of apps.

    Args:
        store: where they are kept.
        events: makes the events of each change, stored with it.
        clock: microseconds since 1970 UTC.
    """

    def __init__(self, store: CatalogStore, events: AccessEvents, *, clock: Callable[[], int]) -> None:
        self._store = store
        self._events = events
        self._clock = clock

    def push(self, name: str, catalog: CatalogSet, by: Credential) -> PushedCatalog:
        """Make ``catalog`` the newest version of the catalog ``name``; the same one again changes nothing.

        Recorded as ``audit.catalog.pushed``, in the same transaction.

        Args:
            name: 1 to 128 of A-Z a-z 0-9 . _ : -, such as the module that declares it.
            catalog: its event types and groups.
            by: needs the ability ``instance:operate``.

        Raises:
            InvalidCatalog: it holds reserved actions, which are the product's own; nothing was stored.
        """
        check_name(name, "name")
        if INSTANCE_OPERATE not in by.abilities:
            raise MissingAbility(INSTANCE_OPERATE)
        # As it will be read, by every process: one that cannot be read again must not be stored.
        CatalogSet.from_document(catalog.to_document())
        now = self._clock()
        document = msgspec.json.encode(catalog.to_document(), order="sorted")
        old = self._stored(name)
        new = {event_type.action: event_type for event_type in catalog.types()}
        added = tuple(action for action in new if action not in old)
        removed = tuple(action for action in old if action not in new)
        changed = tuple(action for action in new if action in old and new[action] != old[action])
        changes: Mapping[str, tuple[Any, Any]] = {
            "types": (len(old), len(new)),
            "added": (None, added[:NAMED]),
            "changed": (None, changed[:NAMED]),
            "removed": (removed[:NAMED], None),
        }
        rows = self._events.rows(
            "audit.catalog.pushed",
            by,
            ALL,
            Resource(type="catalog", id=name),
            changes={field: sides for field, sides in changes.items() if any(sides)},
            metadata={"name": name, "types": len(new)},
            stored={"sha256": sha256(document).hexdigest(), "pushed_at": now, "pushed_by": by.name},
        )
        version = self._store.put(name, document, now, by.name, rows)
        return PushedCatalog(name=name, version=version, added=added, changed=changed, removed=removed)

    def _stored(self, name: str) -> dict[str, EventType]:
        """The event types of the newest version; none where there is none."""
        document = self._store.newest(name)
        if document is None:
            return {}
        known = CatalogSet.from_document(msgspec.json.decode(document))
        return {event_type.action: event_type for event_type in known.types()}
