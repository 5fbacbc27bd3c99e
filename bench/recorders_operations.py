"""What a session can be asked to do, one function for each row of the table in docs/comparison.md.

Each commits (or undoes) its work and says how many rows of customers it changed, so that the events of it can
be counted beside them. An app that records by hand records each of these as one thing that it did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from bench.recorders_by_hand import ACTION
from bench.recorders_plain import NAME

__all__ = ["OF_SESSIONS", "ROWS"]

ROWS: Final = 6
"""Of what changes several at once."""


def _new(of: Any) -> Any:
    return of.models.customer(name=NAME, email="new@example.com")


def _some(of: Any, session: Any, rows: int = ROWS) -> list[Any]:
    return list(session.scalars(select(of.models.customer).order_by(of.models.customer.id).limit(rows)))


def _last(of: Any, session: Any, rows: int) -> list[Any]:
    key = of.models.customer.id
    return list(session.scalars(select(of.models.customer).order_by(key.desc()).limit(rows)))


def _said(of: Any, session: Any, resource: Any) -> None:
    if of.side == "ours":
        of.audit.record(session, ACTION, resource=resource)


def _add(of: Any) -> int:
    with Session(of.engine) as session:
        one = _new(of)
        session.add(one)
        _said(of, session, one)
        session.commit()
    return 1


def _change(of: Any) -> int:
    with Session(of.engine) as session:
        (one,) = _some(of, session, 1)
        one.seats += 1
        _said(of, session, one)
        session.commit()
    return 1


def _statement(make: Callable[[Any, list[int]], tuple[Any, ...]]) -> Callable[[Any], int]:
    """A statement for several rows, given to the session."""

    def run(of: Any) -> int:
        with Session(of.engine) as session:
            keys = [one.id for one in _last(of, session, ROWS)]
            session.commit()
            of.announce(session)
            session.execute(*make(of.models.customer, keys))
            _said(of, session, ("customer", "several"))
            session.commit()
        return ROWS

    return run


def _save_objects(of: Any) -> int:
    with Session(of.engine) as session:
        of.announce(session)
        session.bulk_save_objects([_new(of) for _ in range(ROWS)])
        _said(of, session, ("customer", "several"))
        session.commit()
    return ROWS


def _delete(of: Any) -> int:
    with Session(of.engine) as session:
        (one,) = _last(of, session, 1)
        session.delete(one)
        _said(of, session, one)
        session.commit()
    return 1


def _tag(of: Any) -> int:
    with Session(of.engine) as session:
        (one,) = _some(of, session, 1)
        one.tags.extend(session.scalars(select(of.models.tag).limit(2)))
        _said(of, session, one)
        session.commit()
    return 1


def _untag(of: Any) -> int:
    with Session(of.engine) as session:
        (one,) = _some(of, session, 1)
        one.tags.clear()
        _said(of, session, one)
        session.commit()
    return 1


def _rollback(of: Any) -> int:
    with Session(of.engine) as session:
        (one,) = _some(of, session, 1)
        one.seats += 1
        _said(of, session, one)
        session.flush()
        session.rollback()
    return 0


def _savepoint(of: Any) -> int:
    with Session(of.engine) as session:
        (one,) = _some(of, session, 1)
        inner = session.begin_nested()
        one.seats += 1
        _said(of, session, one)
        session.flush()
        inner.rollback()
        session.commit()
    return 0


async def _async(of: Any) -> int:
    engine = create_async_engine(of.url.replace("sqlite://", "sqlite+aiosqlite://"))
    of.watch_engine(engine)
    async with AsyncSession(engine) as session:
        one = _new(of)
        session.add(one)
        _said(of, session, one)
        await session.commit()
    await engine.dispose()
    return 1


def _rows_of(_customer: Any, _keys: list[int]) -> list[dict[str, Any]]:
    return [{"name": NAME, "email": f"many{n}@example.com"} for n in range(ROWS)]


OF_SESSIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "an object added": _add,
    "an object changed": _change,
    "an object deleted": _delete,
    "many-to-many, two added": _tag,
    "many-to-many, cleared": _untag,
    "`insert(Model)` of 6 rows": _statement(lambda cls, keys: (insert(cls), _rows_of(cls, keys))),
    "`bulk_save_objects` of 6": _save_objects,
    "`update(Model)` of 6 rows": _statement(
        lambda cls, keys: (update(cls).where(cls.id.in_(keys)).values(seats=9),)
    ),
    "`update(Model)` of 6 rows by key": _statement(
        lambda cls, keys: (update(cls), [{"id": key, "seats": 11} for key in keys])
    ),
    "`delete(Model)` of 6 rows": _statement(lambda cls, keys: (delete(cls).where(cls.id.in_(keys)),)),
    "SQL text, 6 rows": _statement(
        lambda _cls, keys: (
            text(f"UPDATE customers SET seats = seats + 1 WHERE id IN ({', '.join(map(str, keys))})"),
        )
    ),
    "an object added, `AsyncSession`": _async,
    "a change that is rolled back": _rollback,
    "a change whose savepoint is rolled back": _savepoint,
}
