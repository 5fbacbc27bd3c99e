"""API tokens: made, listed, revoked, recognised. The text of a token is shown once and never stored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import msgspec

from affidavit.access.abilities import check_abilities
from affidavit.access.events import AccessEvents
from affidavit.access.scope import Credential
from affidavit.access.secrets import TOKEN, hash_secret, is_well_formed, make_secret, same_hash
from affidavit.core.credentials import ALL, INSTANCE, Organizations, Token
from affidavit.core.event import Resource
from affidavit.core.names import NAME_RULE, name_is_valid
from affidavit.core.times import format_time
from affidavit.errors import FieldError, MissingAbility, NotFound, NotSignedIn, Refused, StorageError
from affidavit.storage.settings import TokenStore

__all__ = ["USED_EVERY", "IssuedToken", "TokenSettings"]

USED_EVERY = 60_000_000
"""``last_used_at`` is written at most once in this many microseconds."""

_NAME_CHARACTERS = 128


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A new token and its text, which exists only here."""

    token: Token
    text: str


class TokenSettings:
    """Create, list, revoke and recognise API tokens.

    Args:
        store: where they are kept.
        events: makes the events of each change, stored with it.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
    """

    def __init__(
        self,
        store: TokenStore,
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
        organizations: tuple[str, ...],
        abilities: Iterable[str],
        by: Credential,
        expires_at: int | None = None,
        address: str | None = None,
    ) -> IssuedToken:
        """Make a token; recorded as ``access.token.created`` in each of its organizations.

        Args:
            name: 1 to 128 characters.
            organizations: at least one; those not made yet are made with it.
            abilities: at least one, none that ``by`` lacks.
            by: who makes it; nobody gives what they do not have.
            expires_at: microseconds since 1970 UTC, in the future; absent for never.
            address: the address that the request came from.

        Raises:
            Refused: a rule is broken.
            MissingAbility: ``by`` lacks an ability that the token would have.
            NotFound: an organization is outside the scope of ``by``.
        """
        chosen = check_abilities(abilities)
        now = self._clock()
        _check(name, organizations, chosen, expires_at, now)
        for ability in chosen:
            if ability not in by.abilities:
                raise MissingAbility(ability)
        if by.organizations is not ALL and not set(organizations) <= set(by.organizations):
            raise NotFound()
        text = make_secret(TOKEN, self._entropy)
        token = Token(
            id=f"tok_{self._entropy(8).hex()}",
            name=name,
            hash=hash_secret(text),
            organizations=tuple(dict.fromkeys(organizations)),
            abilities=chosen,
            created_at=now,
            created_by=by.name,
            expires_at=expires_at,
        )
        changes = {
            "organizations": (None, list(token.organizations)),
            "abilities": (None, list(chosen)),
            "expires_at": (None, None if expires_at is None else format_time(expires_at)),
        }
        rows = self._events.rows(
            "access.token.created",
            by,
            token.organizations,
            _resource(token),
            changes=changes,
            stored={
                "hash": token.hash.hex(),
                "organizations": token.organizations,
                "abilities": chosen,
                "created_at": now,
                "created_by": token.created_by,
                "expires_at": expires_at,
            },
            address=address,
        )
        secrets = {organization: self._entropy(32) for organization in token.organizations}
        self._store.add(token, secrets, rows)
        return IssuedToken(token=token, text=text)

    def list(self, organizations: Organizations) -> list[Token]:
        """The tokens that reach at least one of ``organizations``, oldest first, revoked ones included.

        What a token reaches beyond ``organizations`` is left out of its entry.
        """
        stored = self._store.list()
        if organizations is ALL:
            return stored
        seen = [(token, tuple(o for o in token.organizations if o in organizations)) for token in stored]
        return [msgspec.structs.replace(token, organizations=shared) for token, shared in seen if shared]

    def revoke(self, token_id: str, *, by: Credential, address: str | None = None) -> Token:
        """End a token for good; recorded as ``access.token.revoked``. Revoking one again changes nothing.

        Raises:
            NotFound: no such token, or it reaches an organization outside the scope of ``by``.
        """
        token = self._store.get(token_id)
        if token is None or not _within(token, by.organizations):
            raise NotFound()
        if token.revoked_at is not None:
            return token
        now = self._clock()
        rows = self._events.rows(
            "access.token.revoked",
            by,
            token.organizations,
            _resource(token),
            changes={"revoked_at": (None, format_time(now))},
            stored={"revoked_at": now},
            address=address,
        )
        self._store.revoke(token_id, now, rows)
        return msgspec.structs.replace(token, revoked_at=now)

    def authenticate(self, text: str) -> Credential:
        """The credential behind a token's text. Asks the store; see :mod:`.authentication` for the cache.

        Raises:
            NotSignedIn: malformed, unknown, expired or revoked; the message does not say which.
        """
        if not is_well_formed(text, TOKEN):
            raise NotSignedIn("This is no valid token: its form or checksum is wrong.")
        digest = hash_secret(text)
        token = self._store.find(digest)
        now = self._clock()
        if (
            token is None
            or not same_hash(token.hash, digest)
            or token.revoked_at is not None
            or (token.expires_at is not None and token.expires_at <= now)
        ):
            raise NotSignedIn("This token is unknown, expired or revoked.")
        if token.last_used_at is None or token.last_used_at + USED_EVERY <= now:
            # A database that cannot be written right now must not lock out readers.
            with contextlib.suppress(StorageError):
                self._store.used(token.id, now)
        return Credential(
            kind="token",
            id=token.id,
            name=token.name,
            organizations=token.organizations,
            abilities=frozenset(token.abilities),
        )


def _check(
    name: str, organizations: tuple[str, ...], abilities: tuple[str, ...], expires_at: int | None, now: int
) -> None:
    errors = []
    if not 1 <= len(name) <= _NAME_CHARACTERS or not name.isprintable():
        errors.append(FieldError("/name", "length", "must be 1 to 128 printable characters", name[:100]))
    if not organizations:
        errors.append(FieldError("/organizations", "required", "must name at least one organization"))
    for position, organization in enumerate(organizations):
        if not name_is_valid(organization) or organization.startswith(INSTANCE.partition(":")[0] + ":"):
            pointer = f"/organizations/{position}"
            errors.append(FieldError(pointer, "organization_name", NAME_RULE, organization[:100]))
    if not abilities:
        errors.append(FieldError("/abilities", "required", "must name at least one ability"))
    if expires_at is not None and expires_at <= now:
        errors.append(FieldError("/expires_at", "in_the_past", "must lie in the future"))
    if errors:
        raise Refused(f"{errors[0].pointer}: {errors[0].message}.", tuple(errors))


def _within(token: Token, organizations: Organizations) -> bool:
    return organizations is ALL or set(token.organizations) <= set(organizations)


def _resource(token: Token) -> Resource:
    return Resource(type="api_token", id=token.id, name=token.name)
