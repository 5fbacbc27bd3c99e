"""The API for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy import select

from integration_platform import access, changes, db
from integration_platform.access import WithToken
from integration_platform.models import Connection, Sync

__all__ = ["endpoints", "router"]

router = APIRouter(prefix="/api/v1", tags=["connections"])


class ConnectionOut(BaseModel, from_attributes=True):
    """A connection; its secret stays here."""

    id: str
    connector: str
    name: str
    account: str
    made_at: datetime


class SyncOut(BaseModel, from_attributes=True):
    """A sync that went well."""

    id: str
    records: int
    started_by: str
    at: datetime


@router.get("/connections")
def get_connections(who: WithToken, connector: str | None = None) -> list[ConnectionOut]:
    """The team's connections, all or those to one product."""
    access.demand(who, "integration.read")
    with db.Session() as session:
        asked = select(Connection).where(Connection.team_id == who.team_id).order_by(Connection.name)
        if connector is not None:
            asked = asked.where(Connection.connector == connector)
        return [ConnectionOut.model_validate(each) for each in session.scalars(asked)]


@router.get("/connections/{connection_id}")
def get_connection(who: WithToken, connection_id: str) -> ConnectionOut:
    """One connection."""
    access.demand(who, "integration.read")
    with db.Session() as session:
        return ConnectionOut.model_validate(changes.own(session, who, Connection, connection_id))


@router.get("/connections/{connection_id}/syncs")
def get_syncs(
    who: WithToken, connection_id: str, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> list[SyncOut]:
    """The newest syncs of a connection."""
    access.demand(who, "integration.read")
    with db.Session() as session:
        connection = changes.own(session, who, Connection, connection_id)
        asked = select(Sync).where(Sync.connection_id == connection.id).order_by(Sync.at.desc()).limit(limit)
        return [SyncOut.model_validate(each) for each in session.scalars(asked)]


@router.post("/connections/{connection_id}/syncs", status_code=201)
def run_sync(who: WithToken, connection_id: str) -> SyncOut:
    """Synchronize now."""
    return SyncOut.model_validate(changes.run_sync(who, connection_id))


def endpoints(prefix: str = "") -> dict[str, str]:
    """The name of each endpoint, by its method and path."""
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    return {
        f"{method} {route.path}": prefix + route.name for route in routes for method in route.methods or ()
    }
