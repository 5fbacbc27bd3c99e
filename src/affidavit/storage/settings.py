"""Storage roles of the settings, one a subject.

Every method that changes something returns after the change is durable. Methods that take ``rows`` store the
change and these events in one transaction: both or neither. All are safe to call from any thread, and
raise :class:`~affidavit.errors.StorageError` where the database fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from affidavit.core.credentials import LoginLink, Organization, Token, WebSession
from affidavit.core.row import Row

__all__ = [
    "CatalogStore",
    "LoginStore",
    "OrganizationStore",
    "SessionStore",
    "TokenStore",
]


class OrganizationStore(Protocol):
    """Organizations and the secret of each, under which idempotency keys are hashed."""

    def get(self, name: str) -> Organization | None:
        """The organization, if it was declared or holds a secret."""
        ...

    def list(self) -> list[Organization]:
        """All of them by name."""
        ...

    def exists(self, name: str) -> bool:
        """Whether it is listed or has at least one event. Bounded work at any size."""
        ...

    def declare(self, organization: Organization, secret: bytes, rows: Sequence[Row]) -> bool:
        """Declare it; ``secret`` is kept only where it has none yet.

        Returns:
            False, with nothing stored, where it was declared already.
        """
        ...

    def secret(self, name: str, now: int, fresh: bytes) -> bytes:
        """Its secret; where it has none, ``fresh`` becomes it. Two first callers get the same one."""
        ...


class TokenStore(Protocol):
    """API tokens at rest."""

    def add(self, token: Token, secrets: Mapping[str, bytes], rows: Sequence[Row]) -> None:
        """Store a token; organizations that are not made yet are made with the secret given for them."""
        ...

    def list(self) -> list[Token]:
        """All tokens, revoked ones too, oldest first."""
        ...

    def get(self, token_id: str) -> Token | None:
        """By public id."""
        ...

    def find(self, digest: bytes) -> Token | None:
        """By the SHA-256 of its text. Sees a revocation as soon as the call that made it returned."""
        ...

    def revoke(self, token_id: str, now: int, rows: Sequence[Row]) -> None:
        """Mark it revoked. Where it is revoked already, nothing is stored."""
        ...

    def used(self, token_id: str, now: int) -> None:
        """Note when it was last used."""
        ...


class LoginStore(Protocol):
    """One-time login links."""

    def add(self, link: LoginLink, rows: Sequence[Row]) -> None:
        """Store a link, and forget those that expired more than a day ago."""
        ...

    def get(self, digest: bytes) -> LoginLink | None:
        """By the SHA-256 of its code, used and expired ones too."""
        ...

    def consume(self, digest: bytes, now: int, session: WebSession, rows: Sequence[Row]) -> bool:
        """Use the link up and start the session, in one transaction.

        Returns:
            False, with nothing stored, where it is unknown, used or expired; of any number of
            simultaneous callers exactly one gets True.
        """
        ...


class SessionStore(Protocol):
    """Signed-in browsers."""

    def find(self, digest: bytes) -> WebSession | None:
        """By the SHA-256 of the cookie's value, ended and expired ones too."""
        ...

    def end(self, digest: bytes, now: int, rows: Sequence[Row]) -> bool:
        """End it. False, with nothing stored, where it is unknown or has ended."""
        ...


class CatalogStore(Protocol):
    """Catalogs as everybody but the app that wrote them sees them: versioned JSON documents."""

    def current(self) -> list[bytes]:
        """The newest document of each catalog, by name."""
        ...

    def newest(self, name: str) -> bytes | None:
        """The newest document of one catalog."""
        ...

    def put(self, name: str, document: bytes, now: int, by: str, rows: Sequence[Row]) -> int:
        """Store a document as the next version of its catalog.

        Returns:
            The version; that of the newest, with nothing stored, where the document equals it.
        """
        ...
