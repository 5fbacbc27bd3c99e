"""What the web layer needs of the instance that a composition root built."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from affidavit.access.authentication import Authentication
from affidavit.access.logins import LoginLinks
from affidavit.access.organizations import OrganizationSettings
from affidavit.access.sessions import WebSessions
from affidavit.access.tokens import TokenSettings
from affidavit.core.catalog import CatalogSet
from affidavit.core.row import Recorded, Row
from affidavit.log.entries import Entries, Manifests
from affidavit.log.erasure.requests import Erasures
from affidavit.log.reader import Bucket, Histogram, Reader
from affidavit.log.receipts import Receipts
from affidavit.log.retention.holds import LegalHolds
from affidavit.log.retention.orders import ExpiryOrders
from affidavit.log.retention.policies import RetentionSettings
from affidavit.log.retention.previews import Previews
from affidavit.log.tiles import Tiles
from affidavit.recorder.intake import Intake
from affidavit.storage.log import LogStore

__all__ = ["Bucket", "Histogram", "Instance", "Reader", "WebSettings"]


class WebSettings(Protocol):
    """The settings that the web layer looks at."""

    @property
    def insecure_cookie(self) -> bool:
        """Whether sign-in over plain HTTP is allowed on a host other than loopback."""
        ...

    @property
    def trusted_proxies(self) -> Sequence[str]:
        """Addresses and networks whose ``X-Forwarded-For`` is believed."""
        ...


class Log(LogStore, Manifests, Protocol):
    """The trees and the manifests."""


class Instance(Protocol):
    """A running instance."""

    @property
    def intake(self) -> Intake:
        """Checks what clients say and makes rows of it."""
        ...

    @property
    def reader(self) -> Reader:
        """Reads the log; its methods block."""
        ...

    @property
    def log(self) -> Log:
        """The trees, and what was erased or pruned from them; blocks."""
        ...

    @property
    def entries(self) -> Entries:
        """What the leaves of the trees stand for; blocks."""
        ...

    @property
    def tiles(self) -> Tiles:
        """What the trees publish; blocks."""
        ...

    @property
    def receipts(self) -> Receipts:
        """Makes proofs and receipts of events; blocks."""
        ...

    @property
    def catalogs(self) -> CatalogSet:
        """All event types."""
        ...

    @property
    def organizations(self) -> OrganizationSettings:
        """Declare and list organizations; blocks."""
        ...

    @property
    def tokens(self) -> TokenSettings:
        """API tokens; blocks."""
        ...

    @property
    def retention(self) -> RetentionSettings:
        """Retention policies; blocks."""
        ...

    @property
    def retention_previews(self) -> Previews:
        """What expiry and pruning would do; blocks."""
        ...

    @property
    def expiry_orders(self) -> ExpiryOrders:
        """Orders runs of expiry; blocks."""
        ...

    @property
    def erasures(self) -> Erasures:
        """Asks for erasures; blocks."""
        ...

    @property
    def holds(self) -> LegalHolds:
        """Legal holds; blocks."""
        ...

    @property
    def sessions(self) -> WebSessions:
        """Web sessions; blocks."""
        ...

    @property
    def logins(self) -> LoginLinks:
        """Login links; blocks."""
        ...

    @property
    def authentication(self) -> Authentication:
        """Recognises tokens and cookies."""
        ...

    def submit(self, rows: Sequence[Row]) -> Awaitable[list[Recorded]]:
        """Store rows in a transaction shared with other requests; done when it is durable."""
        ...

    def insert(self, rows: Sequence[Row]) -> list[Recorded]:
        """Store rows in a transaction of their own; blocks, and is durable on return."""
        ...

    def health(self) -> Mapping[str, Any]:
        """What operators watch; blocks."""
        ...
