"""Async sessions and engines, each test in a loop of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool, StaticPool

from affidavit import Audit
from affidavit.testing import AuditLog, make_tables
from tests.recorder.plugin.app import ME, OURS, Base, Team, begins

ENGINES = ["memory", "file", "psycopg", "asyncpg"]


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[AsyncEngine]:
    """An engine with tables."""
    if kind == "memory":
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    elif kind == "file":
        engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/app.db", poolclass=NullPool)
    else:
        engine = create_async_engine(os.environ["APP_URL"].replace("://", f"+{kind}://"), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(make_tables)
    if kind == "file":
        begins(engine.sync_engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        yield engine
    finally:
        await engine.dispose()


Story = Callable[[Callable[[Audit, AsyncSession], Awaitable[None]]], None]


@pytest.fixture(params=ENGINES)
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Story:
    """Runs a test within a transaction that is rolled back after it."""

    async def within(work: Callable[[Audit, AsyncSession], Awaitable[None]]) -> None:
        async with opened(request.param, tmp_path) as engine:
            audit = Audit(engine, organization=OURS, carry_into_threads=False)
            audit.register(Team, type="team", name="name")
            async with engine.connect() as connection:
                transaction = await connection.begin()
                made = AsyncSession(
                    bind=connection, join_transaction_mode="create_savepoint", expire_on_commit=False
                )
                async with made as session:
                    await work(audit, session)
                await transaction.rollback()
            await asyncio.to_thread(audit.close)

    return lambda work: asyncio.run(within(work))


@pytest.mark.parametrize("time", [1, 2])
def test_savepoint_fixture(story: Story, audit_log: AuditLog, time: int) -> None:
    """The log answers within the loop, without a question to a connection that is awaited."""

    async def work(audit: Audit, session: AsyncSession) -> None:
        team = Team(name="Core")
        session.add(team)
        audit.record(session, "team.create", resource=team, actor=ME)
        await session.commit()
        team.name = "Edge"
        audit.record(session, "team.update", resource=team, actor=ME)
        await session.commit()
        assert audit_log.one("team.update").changes == {"name": ("Core", "Edge")}
        team.name = "Gone"
        audit.record(session, "team.update", resource=team, actor=ME)
        await session.flush()
        assert len(audit_log) == 3
        await session.rollback()
        assert len(audit_log) == 2

    story(work)


def test_own_transactions(story: Story, audit_log: AuditLog) -> None:
    """What is recorded in a transaction of its own is seen, while the test's is open and after it."""

    async def work(audit: Audit, session: AsyncSession) -> None:
        session.add(Team(name="Core"))
        await session.flush()
        await audit.aio.denied("team.delete", actor=ME, reason="not an owner")
        with pytest.raises(KeyError):
            async with audit.aio.attempt(session, "team.archive", actor=ME):
                raise KeyError("no plan")
        await session.rollback()
        assert [each.action for each in audit_log.all(outcome="failure")] == ["team.delete", "team.archive"]

    story(work)
    assert len(audit_log) == 2


def test_nothing_is_left(audit_log: AuditLog) -> None:
    """What was recorded in transactions of their own was taken out of the database of the suite."""
    assert len(audit_log) == 0

    async def rows() -> int:
        engine = create_async_engine(os.environ["APP_URL"].replace("://", "+psycopg://"), poolclass=NullPool)
        async with engine.connect() as connection:
            ours = text(
                "SELECT count(*) FROM affidavit_events WHERE organization = :ours AND action <> 'app.start'"
            )
            found = await connection.execute(ours, {"ours": OURS})
            return int(found.scalar_one())

    assert asyncio.run(rows()) == 0
