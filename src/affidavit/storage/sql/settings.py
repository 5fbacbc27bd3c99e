"""The settings stores: organizations, tokens, login links, sessions, catalogs.

Statements are in ``settings.sql``. Each change is one short transaction, made through a
:class:`~affidavit.storage.sql.database.Database`, which stores the events given with it in the same one.
Several transactions may run at once: a condition stands in the statement that makes the change, or the change
is made alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import msgspec

from affidavit.core.credentials import (
    LoginLink,
    Organization,
    Token,
    WebSession,
    pack_organizations,
    unpack_organizations,
)
from affidavit.core.row import Row
from affidavit.storage.sql.database import Connection, Database

__all__ = [
    "SqlCatalogs",
    "SqlLogins",
    "SqlOrganizations",
    "SqlSessions",
    "SqlTokens",
    "organization_secret",
]

_DAY = 24 * 3600 * 1_000_000

SQL = dict(
    re.findall(
        r"^-- name: (\w+)\n(.+?);$",
        files("affidavit.storage.sql").joinpath("settings.sql").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)
"""The statements by name."""


def organization_secret(connection: Connection, name: str, now: int, fresh: bytes) -> bytes:
    """The secret of an organization, ``fresh`` where it has none. Inside a write transaction."""
    connection.execute(SQL["make_organization"], (name, fresh, now))
    (secret,) = connection.execute(SQL["organization_secret"], (name,)).fetchone()
    return bytes(secret)


def _nothing(_answer: object) -> Sequence[Row]:
    return ()


class _Store:
    def __init__(self, database: Database) -> None:
        self._database = database

    def _one(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        def work(connection: Connection) -> tuple[Any, ...] | None:
            row: tuple[Any, ...] | None = connection.execute(SQL[statement], values).fetchone()
            return row

        return self._database.read(work)

    def _all(self, statement: str) -> list[tuple[Any, ...]]:
        return self._database.read(lambda connection: connection.execute(SQL[statement]).fetchall())

    def _change_one(self, statement: str, values: Sequence[Any], rows: Sequence[Row]) -> bool:
        """Run a statement that touches one row or none; the events are stored only with the one."""
        return self._database.change(
            lambda connection: connection.execute(SQL[statement], values).rowcount == 1,
            lambda changed: rows if changed else (),
        )


class SqlOrganizations(_Store):
    """:class:`~affidavit.storage.settings.OrganizationStore` in SQL."""

    def get(self, name: str) -> Organization | None:
        """See the role."""
        row = self._one("organization", name)
        return None if row is None else _organization(row)

    def list(self) -> list[Organization]:
        """See the role."""
        return [_organization(row) for row in self._all("organizations")]

    def exists(self, name: str) -> bool:
        """See the role."""
        row = self._one("organization_exists", name, name)
        return row is not None and bool(row[0])

    def declare(self, organization: Organization, secret: bytes, rows: Sequence[Row]) -> bool:
        """See the role."""
        values = (organization.name, secret, organization.created_at)
        return self._change_one("declare_organization", values, rows)

    def secret(self, name: str, now: int, fresh: bytes) -> bytes:
        """See the role."""
        row = self._one("organization_secret", name)
        if row is not None:
            return bytes(row[0])
        return self._database.change(
            lambda connection: organization_secret(connection, name, now, fresh), _nothing
        )


class SqlTokens(_Store):
    """:class:`~affidavit.storage.settings.TokenStore` in SQL."""

    def add(self, token: Token, secrets: Mapping[str, bytes], rows: Sequence[Row]) -> None:
        """See the role."""

        def work(connection: Connection) -> None:
            # In one order for everybody, so that no two wait for each other.
            for name, secret in sorted(secrets.items()):
                connection.execute(SQL["make_organization"], (name, secret, token.created_at))
            values = (
                token.id,
                token.name,
                token.hash,
                pack_organizations(token.organizations),
                _pack(token.abilities),
                token.created_at,
                token.created_by,
                token.expires_at,
            )
            connection.execute(SQL["add_token"], values)

        self._database.change(work, lambda _: rows)

    def list(self) -> list[Token]:
        """See the role."""
        return [_token(row) for row in self._all("tokens")]

    def get(self, token_id: str) -> Token | None:
        """See the role."""
        row = self._one("token", token_id)
        return None if row is None else _token(row)

    def find(self, digest: bytes) -> Token | None:
        """See the role."""
        row = self._one("token_by_hash", digest)
        return None if row is None else _token(row)

    def revoke(self, token_id: str, now: int, rows: Sequence[Row]) -> None:
        """See the role."""
        self._change_one("revoke_token", (now, token_id), rows)

    def used(self, token_id: str, now: int) -> None:
        """See the role."""
        self._change_one("token_used", (now, token_id, now), ())


class SqlLogins(_Store):
    """:class:`~affidavit.storage.settings.LoginStore` in SQL."""

    def add(self, link: LoginLink, rows: Sequence[Row]) -> None:
        """See the role."""
        values = (
            link.hash,
            link.name,
            pack_organizations(link.organizations),
            _pack(link.abilities),
            link.created_at,
            link.expires_at,
        )

        def work(connection: Connection) -> None:
            connection.execute(SQL["forget_logins"], (link.created_at - _DAY,))
            connection.execute(SQL["add_login"], values)

        self._database.change(work, lambda _: rows)

    def get(self, digest: bytes) -> LoginLink | None:
        """See the role."""
        row = self._one("login", digest)
        if row is None:
            return None
        digest, name, organizations, abilities, created_at, expires_at, used_at = row
        return LoginLink(
            hash=digest,
            name=name,
            organizations=unpack_organizations(organizations),
            abilities=_unpack(abilities),
            created_at=created_at,
            expires_at=expires_at,
            used_at=used_at,
        )

    def consume(self, digest: bytes, now: int, session: WebSession, rows: Sequence[Row]) -> bool:
        """See the role."""
        values = (
            session.hash,
            session.id,
            session.name,
            pack_organizations(session.organizations),
            _pack(session.abilities),
            session.created_at,
            session.expires_at,
        )

        def work(connection: Connection) -> bool:
            # The condition of this UPDATE is what makes a link one-time: one caller changes the row.
            if connection.execute(SQL["use_login"], (now, digest, now)).rowcount != 1:
                return False
            connection.execute(SQL["add_session"], values)
            return True

        return self._database.change(work, lambda used: rows if used else ())


class SqlSessions(_Store):
    """:class:`~affidavit.storage.settings.SessionStore` in SQL."""

    def find(self, digest: bytes) -> WebSession | None:
        """See the role."""
        row = self._one("session", digest)
        if row is None:
            return None
        digest, public, name, organizations, abilities, created_at, expires_at, ended_at = row
        return WebSession(
            id=public,
            hash=digest,
            name=name,
            organizations=unpack_organizations(organizations),
            abilities=_unpack(abilities),
            created_at=created_at,
            expires_at=expires_at,
            ended_at=ended_at,
        )

    def end(self, digest: bytes, now: int, rows: Sequence[Row]) -> bool:
        """See the role."""
        return self._change_one("end_session", (now, digest, now), rows)


class SqlCatalogs(_Store):
    """:class:`~affidavit.storage.settings.CatalogStore` in SQL."""

    def current(self) -> list[bytes]:
        """See the role."""
        return [document.encode() for (document,) in self._all("catalogs")]

    def newest(self, name: str) -> bytes | None:
        """See the role."""
        row = self._one("catalog", name)
        return None if row is None else row[1].encode()

    def put(self, name: str, document: bytes, now: int, by: str, rows: Sequence[Row]) -> int:
        """See the role."""
        text = document.decode()

        def work(connection: Connection) -> tuple[int, bool]:
            newest = connection.execute(SQL["catalog"], (name,)).fetchone()
            version, stored = newest if newest is not None else (0, None)
            if stored == text:
                return version, False
            connection.execute(SQL["add_catalog"], (name, version + 1, text, now, by))
            return version + 1, True

        answer = self._database.change(
            work, lambda answer: rows if answer[1] else (), alone=f"catalog {name}"
        )
        return answer[0]


def _pack(abilities: tuple[str, ...]) -> str:
    return msgspec.json.encode(abilities).decode()


def _unpack(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])


def _organization(row: tuple[Any, ...]) -> Organization:
    name, created_at, declared = row
    return Organization(name=name, created_at=created_at, declared=bool(declared))


def _token(row: tuple[Any, ...]) -> Token:
    return Token(
        id=row[0],
        name=row[1],
        hash=row[2],
        organizations=msgspec.json.decode(row[3], type=tuple[str, ...]),
        abilities=_unpack(row[4]),
        created_at=row[5],
        created_by=row[6],
        expires_at=row[7],
        last_used_at=row[8],
        revoked_at=row[9],
    )
