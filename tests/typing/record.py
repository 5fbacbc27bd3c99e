"""What a type checker knows of ``record``: mypy reads this in ``make lint``, nobody runs it.

A line that must be refused carries the error as an ignore, which is an error itself once it is not needed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable
from typing import Any, assert_type

import aiosqlite
import psycopg
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from affidavit import Audit, system
from affidavit.core.row import Recorded

ME = system("tests")


def sessions(
    audit: Audit,
    session: Session,
    scoped: scoped_session[Session],
    awaited: AsyncSession,
    awaited_scoped: async_scoped_session[AsyncSession],
) -> None:
    """Sessions write later, and give nothing to wait for."""
    assert_type(audit.record(session, "team.update", actor=ME), None)
    assert_type(audit.record_many(session, "team.update", [{"resource": ("team", 7)}], actor=ME), None)
    assert_type(audit.record(scoped, "team.update", actor=ME), None)
    assert_type(audit.record(awaited, "team.update", actor=ME), None)
    assert_type(audit.record(awaited_scoped, "team.update", actor=ME), None)


def connections(
    audit: Audit, lite: sqlite3.Connection, pg: psycopg.Connection[Any], alchemy: Connection
) -> None:
    """Connections write at once and say what became of it."""
    assert_type(audit.record(lite, "team.update", actor=ME), list[Recorded])
    assert_type(audit.record_many(lite, "team.update", [{"actor": ME}], severity="info"), list[Recorded])
    assert_type(audit.record(pg, "team.update", actor=ME), list[Recorded])
    assert_type(audit.record(alchemy, "team.update", actor=ME), list[Recorded])


async def awaited_connections(
    audit: Audit, lite: aiosqlite.Connection, pg: psycopg.AsyncConnection[Any], alchemy: AsyncConnection
) -> None:
    """What is awaited says so: an event that nobody awaits is found by the checker."""
    assert_type(audit.record(lite, "team.update", actor=ME), Awaitable[list[Recorded]])
    assert_type(audit.record_many(lite, "team.update", [{"actor": ME}]), Awaitable[list[Recorded]])
    assert_type(audit.record(pg, "team.update", actor=ME), Awaitable[list[Recorded]])
    assert_type(await audit.record(alchemy, "team.update", actor=ME), list[Recorded])


def refused(audit: Audit, session: Session) -> None:
    """A text where the session goes, a field that there is not, and a value of another type."""
    audit.record("team.update", actor=ME)  # type: ignore[call-overload]
    audit.record_many(session, "team.update", [{"who": ME}])  # type: ignore[typeddict-unknown-key]
    audit.record(session, "team.update", who=ME)  # type: ignore[call-overload]
    audit.record(session, "team.update", actor=ME, outcome="maybe")  # type: ignore[call-overload]
    audit.record(session, 7, actor=ME)  # type: ignore[call-overload]
