"""The models of the compared SQLAlchemy app: customers with tags, and the event table, mapped by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase, relationship

__all__ = ["Models", "models"]


class Models:
    """The classes of one app.

    Attributes:
        metadata: of its own tables.
        customer: what is changed.
        tag: many customers have many of them.
        event: maps ``affidavit_events``, whose table is there already.
    """

    def __init__(self, metadata: MetaData, customer: Any, tag: Any, event: Any) -> None:
        self.metadata = metadata
        self.customer = customer
        self.tag = tag
        self.event = event


def models(engine: str, *, versioned: bool) -> Models:
    """Make the classes.

    Args:
        engine: ``sqlite`` or ``postgresql``.
        versioned: whether SQLAlchemy-Continuum keeps versions of them.
    """

    class Base(DeclarativeBase):
        metadata = MetaData()

    class Apart(DeclarativeBase):
        metadata = MetaData()

    versions: dict[str, Any] = {"__versioned__": {}} if versioned else {}
    Table(
        "customer_tags",
        Base.metadata,
        Column("customer_id", ForeignKey("customers.id", ondelete="CASCADE"), primary_key=True),
        Column("tag_id", ForeignKey("tags.id"), primary_key=True),
    )
    tag = type(
        "Tag",
        (Base,),
        {
            **versions,
            "__tablename__": "tags",
            "id": Column(Integer, primary_key=True),
            "name": Column(String(50)),
        },
    )
    customer = type(
        "Customer",
        (Base,),
        {
            **versions,
            "__tablename__": "customers",
            "id": Column(Integer, primary_key=True),
            "name": Column(String(100), nullable=False),
            "email": Column(String(200), nullable=False),
            "plan": Column(String(20), nullable=False, default="free"),
            "seats": Column(Integer, nullable=False, default=4),
            "active": Column(Boolean, nullable=False, default=True),
            "notes": Column(Text, nullable=False, default=""),
            "changed_at": Column(DateTime(timezone=True), default=lambda: datetime.now(UTC)),
            "tags": relationship("Tag", secondary="customer_tags"),
        },
    )
    texts = ("organization", "project", "action", "outcome", "severity", "source", "facts", "actor_id")
    groups = ("actor", "resources", "context", "changes", "details", "remains")
    event = type(
        "Event",
        (Apart,),
        {
            "__tablename__": "affidavit_events",
            "id": Column(LargeBinary if engine == "sqlite" else Uuid, primary_key=True),
            "version": Column(Integer),
            "imported": Column(Integer if engine == "sqlite" else Boolean),
            "parent_id": Column(LargeBinary if engine == "sqlite" else Uuid),
            "secret": Column(LargeBinary),
            "recorded_at": Column(BigInteger),
            **{name: Column(Text) for name in (*texts, *groups)},
        },
    )
    return Models(Base.metadata, customer, tag, event)
