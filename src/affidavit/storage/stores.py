"""Every role of an opened database in one place, as whoever builds on all of them gets it."""

from __future__ import annotations

from typing import Protocol

from affidavit.storage.protocols import EventIndex, EventStore
from affidavit.storage.retention import HoldStore, PastStore, PolicyStore, RangeStore
from affidavit.storage.settings import CatalogStore, LoginStore, OrganizationStore, SessionStore, TokenStore
from affidavit.storage.tasks import TaskStore

__all__ = ["Stores"]


class Stores(Protocol):
    """The stores of one opened database but the log, as one process sees them."""

    @property
    def events(self) -> EventStore:
        """Keeps events."""
        ...

    @property
    def index(self) -> EventIndex:
        """Says which events match."""
        ...

    @property
    def organizations(self) -> OrganizationStore:
        """Organizations and their secrets."""
        ...

    @property
    def tokens(self) -> TokenStore:
        """API tokens."""
        ...

    @property
    def logins(self) -> LoginStore:
        """One-time login links."""
        ...

    @property
    def sessions(self) -> SessionStore:
        """Signed-in browsers."""
        ...

    @property
    def catalogs(self) -> CatalogStore:
        """Pushed catalogs."""
        ...

    @property
    def policies(self) -> PolicyStore:
        """Retention policies."""
        ...

    @property
    def holds(self) -> HoldStore:
        """Legal holds."""
        ...

    @property
    def past(self) -> PastStore:
        """Finds events by action and id."""
        ...

    @property
    def ranges(self) -> RangeStore:
        """Closed ranges of ids."""
        ...

    @property
    def tasks(self) -> TaskStore:
        """Work that was ordered."""
        ...

    def close(self) -> None:
        """Let go of everything that is open."""
        ...
