"""Many events at once are what each would be alone, whatever form they travel in."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiosqlite
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from affidavit.core.ids import microseconds_of
from affidavit.core.row import COLUMNS, Recorded
from affidavit.embed import Audit
from affidavit.recorder.adapters.dispatch import adapter_of
from affidavit.recorder.fields import Said
from tests.recorder.apps import App
from tests.recorder.ports import ME, sound

SHARED = [name for name in COLUMNS if name not in ("id", "secret", "recorded_at")]
WHEN = datetime.now(UTC) - timedelta(hours=1)
HOSTILE = 'a,b{"c"}\\N\\ NULL "NULL" {} é\u2028\t\n'


def various() -> list[dict[str, Any]]:
    """Fields of events that have little in common: some say a time, a key, a parent, and some nothing."""
    return [
        {"resource": ("team", 1), "metadata": {"text": HOSTILE}},
        {"resource": ("team", HOSTILE), "occurred_at": WHEN, "project": "east"},
        {"parent_id": UUID(int=7 << 76 | 2 << 62), "outcome": "failure", "reason": HOSTILE},
        {"occurred_at": WHEN, "idempotency_key": HOSTILE.replace("\n", ""), "severity": "critical"},
        {"changes": {"name": ("NULL", None), "note": (None, "{}")}, "ip": "2001:db8::1"},
        {},
    ]


def said(audit: Audit, fields: list[dict[str, Any]]) -> list[Said]:
    """The events, of one actor."""
    return [audit.recorder.said("team.update", {"actor": ME, **each}) for each in fields]


def stored(app: App) -> list[tuple[Any, ...]]:
    """What stands there, without what chance or the clock made."""
    return sorted(app.events(*SHARED), key=str)


async def at_once(kind: str, app: App, audit: Audit, events: list[Said]) -> list[Recorded]:
    """Record them by one call of an adapter."""
    target: Any
    found: Any
    if kind == "driver awaited":
        opened = (
            aiosqlite.connect(app.file)
            if app.engine == "sqlite"
            else await psycopg.AsyncConnection.connect(app.url)
        )
        async with opened as target:
            found = await adapter_of(target).record(audit.recorder, target, events, "public")  # type: ignore[misc]
            await target.commit()
            return list(found)
    if kind == "driver":
        with closing(
            sqlite3.connect(app.file) if app.engine == "sqlite" else psycopg.connect(app.url)
        ) as target:
            found = adapter_of(target).record(audit.recorder, target, events, "public")
            target.commit()
            return list(found)
    engine = create_engine(app.sqlalchemy_url)
    with engine.begin() as target:
        found = adapter_of(target).record(audit.recorder, target, events, "public")
    engine.dispose()
    return list(found)


@pytest.mark.parametrize("kind", ["driver", "driver awaited", "sqlalchemy"])
def test_many_are_what_each_is_alone(app: App, kind: str) -> None:
    """The same events, one statement each and one for all, give the same rows; keyed ones are known again."""
    audit = Audit(app.url, organization="acme")
    events = said(audit, various())
    alone = [asyncio.run(at_once(kind, app, audit, [each]))[0] for each in events]
    expected = stored(app)
    assert len(expected) == len(various())
    together = asyncio.run(at_once(kind, app, audit, events))
    assert [each.duplicate for each in together] == [False, False, False, True, False, False]
    assert together[3].id == alone[3].id
    assert stored(app) == sorted([*expected, *(row for row in expected if row not in keyed(app))], key=str)
    assert microseconds_of(together[1].id) == int(WHEN.timestamp() * 1_000_000)
    assert sound(app) == 2 * len(various()) - 1


def keyed(app: App) -> list[tuple[Any, ...]]:
    """The row of the event with a key."""
    return [row for row in stored(app) if row[SHARED.index("severity")] == "critical"]


def test_nothing_that_all_leave_out(app: App) -> None:
    """Arrays of nothing but NULL: two events that say as little as can be said."""
    audit = Audit(app.url, organization="acme")
    recorded = asyncio.run(at_once("sqlalchemy", app, audit, said(audit, [{}, {}])))
    assert [each.duplicate for each in recorded] == [False, False]
    assert app.count() == 2


def test_times_that_nobody_gave_are_those_of_the_write(app: App) -> None:
    """Events of a session are checked when they are recorded; their times are consecutive at the write."""
    now = 1_790_000_000_000_000
    ticks = iter(range(now, now + 1_000_000, 1_000))
    audit = Audit(app.url, organization="acme", clock=lambda: next(ticks))
    engine = create_engine(app.sqlalchemy_url)
    with Session(engine) as session:
        for number in range(5):
            audit.record(session, "team.update", actor=ME, resource=("team", number))
        session.commit()
    engine.dispose()
    ids = [key if isinstance(key, bytes) else key.bytes for (key,) in app.events("id")]
    moments = [microseconds_of(key) for key in ids]
    assert [moment - moments[0] for moment in moments] == [0, 1, 2, 3, 4]
    if app.engine == "sqlite":
        assert moments[-1] >= now + 5_000, "the time of the last check or of the write"
    resources = [text for (text,) in app.events("resources")]
    assert [text[text.index('"id":"') + 6] for text in resources] == ["0", "1", "2", "3", "4"]
