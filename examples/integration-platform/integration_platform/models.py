"""The tables: a team has people with roles, tokens, and connections that are synchronized."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import JSON, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from integration_platform.db import Base, Moment

__all__ = ["ApiToken", "Connection", "Role", "SignIn", "Sync", "Team", "User"]


def _now() -> datetime:
    return datetime.now(UTC)


class Team(Base):
    """A customer. Nobody sees anything of another team."""

    __tablename__ = "team"

    id: Mapped[str] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]


class Role(Base):
    """What people with this role may do."""

    __tablename__ = "role"
    __table_args__ = (UniqueConstraint("team_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("team.id"))
    name: Mapped[str]
    permissions: Mapped[list[str]] = mapped_column(JSON)


class User(Base):
    """A person who can sign in."""

    __tablename__ = "user"

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("team.id"))
    role_id: Mapped[str] = mapped_column(ForeignKey("role.id"))
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    password: Mapped[str]
    """Hashed."""
    team: Mapped[Team] = relationship(lazy="joined")
    role: Mapped[Role] = relationship(lazy="joined")


class SignIn(Base):
    """A browser in which somebody is signed in."""

    __tablename__ = "sign_in"

    id: Mapped[str] = mapped_column(primary_key=True)
    """The hash of what the cookie holds."""
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))
    until: Mapped[datetime] = mapped_column(Moment)
    user: Mapped[User] = relationship(lazy="joined")


class ApiToken(Base):
    """What a program shows to be let in."""

    __tablename__ = "api_token"

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("team.id"))
    name: Mapped[str]
    secret: Mapped[str] = mapped_column(unique=True)
    """Hashed."""
    abilities: Mapped[list[str]] = mapped_column(JSON)
    made_at: Mapped[datetime] = mapped_column(Moment, default=_now)
    team: Mapped[Team] = relationship(lazy="joined")


class Connection(Base):
    """An account at another product."""

    __tablename__ = "connection"

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("team.id"))
    connector: Mapped[str]
    """One of ``connectors.CONNECTORS``."""
    name: Mapped[str]
    account: Mapped[str]
    secret: Mapped[str]
    """With which the other product lets us in."""
    made_at: Mapped[datetime] = mapped_column(Moment, default=_now)
    syncs: Mapped[list[Sync]] = relationship(
        order_by="Sync.at.desc()", cascade="all, delete-orphan", lazy="selectin"
    )


class Sync(Base):
    """One synchronization that went well."""

    __tablename__ = "sync"

    id: Mapped[str] = mapped_column(primary_key=True)
    connection_id: Mapped[str] = mapped_column(ForeignKey("connection.id"))
    records: Mapped[int]
    started_by: Mapped[str]
    at: Mapped[datetime] = mapped_column(Moment, default=_now)
