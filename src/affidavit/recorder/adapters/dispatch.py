"""Which adapter a connection or session has, found by the names of its classes without importing a driver.

A class that cannot be in the program yet cannot be the class of an object, so the modules are imported only
once an object of theirs is there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from affidavit.core.catalog import EventType
from affidavit.core.row import Recorded
from affidavit.errors import WrongTransaction

if TYPE_CHECKING:
    from affidavit.recorder.fields import Said
    from affidavit.recorder.recorder import Recorder

__all__ = ["Adapter", "adapter_of"]


class Adapter(Protocol):
    """Records on one kind of connection or session."""

    def record(
        self, recorder: Recorder, target: Any, said: Sequence[Said], schema: str
    ) -> list[Recorded] | Awaitable[list[Recorded]] | None:
        """Record within the target's transaction.

        Args:
            recorder: makes the statements.
            target: the connection or session.
            said: what is to be recorded, one event each.
            schema: of our tables on PostgreSQL.

        Returns:
            What became of each event; an awaitable of it on a connection that is awaited; ``None`` where they
            are queued and written at the flush or commit that follows.

        Raises:
            InvalidEvent: a rule is broken; nothing was written.
            WrongTransaction: it is closed, or of a kind that cannot keep the promise.
        """
        ...


_CLASSES = {
    "sqlite3.Connection": "connection:Sqlite3Adapter",
    "aiosqlite.core.Connection": "connection:AiosqliteAdapter",
    "psycopg.Connection": "connection:PsycopgAdapter",
    "psycopg.AsyncConnection": "connection:AsyncPsycopgAdapter",
    "sqlalchemy.orm.session.Session": "sessions:SessionAdapter",
    "sqlalchemy.orm.scoping.scoped_session": "sessions:SessionAdapter",
    "sqlalchemy.ext.asyncio.session.AsyncSession": "sessions:SessionAdapter",
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session": "sessions:SessionAdapter",
    "sqlalchemy.engine.base.Connection": "sqlalchemy:ConnectionAdapter",
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": "sqlalchemy:AsyncConnectionAdapter",
}
"""Class to the adapter of its instances: module and name below this package."""

_found: dict[type, Adapter] = {}


def adapter_of(target: object) -> Adapter:
    """The adapter of a connection or session.

    Raises:
        TypeError: an action was given, where the connection or session goes.
        WrongTransaction: nobody knows this kind of object.
    """
    if isinstance(target, str | EventType):
        name = target if isinstance(target, str) else target.action
        raise TypeError(
            f"record({name!r}, ...): pass the session or connection first, then the action; for an event in"
            " a transaction of its own use record_now"
        )
    cls = type(target)
    adapter = _found.get(cls)
    if adapter is None:
        adapter = _found[cls] = _look_up(cls)
    return adapter


def _look_up(cls: type) -> Adapter:
    for base in cls.__mro__:
        where = _CLASSES.get(f"{base.__module__}.{base.__qualname__}")
        if where is not None:
            module, _, name = where.partition(":")
            made: Adapter = getattr(import_module(f"{__package__}.{module}"), name)()
            return made
    raise WrongTransaction(
        f"{cls.__module__}.{cls.__qualname__} is no connection or session that events can be recorded with;"
        " there are SQLAlchemy sessions and connections, psycopg, sqlite3 and aiosqlite"
    )
