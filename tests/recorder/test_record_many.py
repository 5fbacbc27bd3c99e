"""``record_many`` on every kind of connection and session: all of the events, or none of them."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from affidavit.errors import InvalidEvent, TooLarge
from tests.recorder.apps import App
from tests.recorder.ports import ME, PORTS, Port, port_of, recorded, sound

MOST = 1_000
"""Events that a connection takes in one call."""

everywhere = pytest.mark.parametrize(
    ("app", "name"), [(engine, name) for name, (_port, engine) in PORTS.items()], indirect=["app"]
)


async def many(port: Port, numbers: range, **more: Any) -> Any:
    """Record an event of each number; what the call answered, awaited where that has to be."""
    events: list[Any] = [{"resource": ("team", number)} for number in numbers]
    answer: Any = port.audit.record_many(port.target, "team.create", events, actor=ME, **more)
    return await answer if inspect.isawaitable(answer) else answer


@everywhere
def test_all_or_none_of_them_is_there(app: App, name: str) -> None:
    """A call that is committed, one that is rolled back, one with a bad event, and one of nothing."""

    async def told() -> list[Any]:
        port = port_of(name, app)
        await port.open()
        try:
            answers = [await many(port, range(MOST)), await many(port, range(0))]
            await port.commit()
            await many(port, range(2_000, 2_100))
            await port.rollback()
            with pytest.raises(InvalidEvent, match="project"):
                await many(port, range(3_000, 3_003), project="x" * 10_000)
            if answers[0] is not None:
                with pytest.raises(TooLarge, match="1,001"):
                    await many(port, range(4_000, 4_000 + MOST + 1))
            await port.commit()
            return answers
        finally:
            await port.close()

    first, nothing = asyncio.run(told())
    assert recorded(app) == sorted(str(number) for number in range(MOST))
    assert sound(app) == MOST
    if first is not None:  # a session answers nothing
        assert len({each.id for each in first}) == MOST
        assert nothing == []


@pytest.mark.parametrize("app", ["sqlite", "postgresql"], indirect=True)
def test_fields_of_an_event_win_over_those_of_all(app: App) -> None:
    """What is common is said once; the answers come in the order of the events."""
    port = port_of("sqlite3" if app.engine == "sqlite" else "psycopg", app)

    async def told() -> Any:
        await port.open()
        found = port.audit.record_many(
            port.target,
            "team.create",
            [{"resource": ("team", 1)}, {"resource": ("team", 2), "severity": "critical"}],
            actor=ME,
            severity="warning",
        )
        await port.commit()
        await port.close()
        return found

    answers = asyncio.run(told())
    stored = app.events("id", "severity")
    ids = [key if isinstance(key, bytes) else key.bytes for key, _ in stored]
    assert [each.id for each in answers] == ids
    assert [severity for _, severity in stored] == ["warning", "critical"]
