"""Who acts, and from where, carried into the database for triggers: as settings of the current transaction.

``set_config(..., true)`` ends with its transaction, or with the savepoint in which it was called, so that it
goes through PgBouncer in transaction mode and never reaches anybody else's change.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from affidavit.core.row import COLUMNS
from affidavit.core.statement import Answer, Statement
from affidavit.errors import ConfigError
from affidavit.recorder.context import current
from affidavit.recorder.fields import Said, anonymous
from affidavit.recorder.recorder import Recorder

__all__ = ["SETTINGS", "WRITES", "carry", "settings", "statement"]

SETTINGS = ("organization", "project", "source", "parent_id", "actor", "context", "captured")
"""The settings, each with ``affidavit.`` before it."""
_SQL = "SELECT " + ", ".join(f"set_config('affidavit.{name}', CAST(? AS text), true)" for name in SETTINGS)
_AT = {name: COLUMNS.index(name) for name in SETTINGS if name in COLUMNS}
_KEY = "affidavit.carried"
_BEFORE = r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*"
_FLAGS = re.IGNORECASE | re.DOTALL
WRITES = re.compile(_BEFORE + r"(?:insert|update|delete|merge|with|truncate|copy|call|do|execute)\b", _FLAGS)
"""How a statement begins that may change something."""
_ENDS = re.compile(_BEFORE + r"(?:rollback|abort|commit|end)\b", _FLAGS)
"""What takes settings away: a savepoint that is rolled back, or a transaction that ended by text."""


def settings(recorder: Recorder, captured: str = "") -> tuple[str, ...]:
    """The values of :data:`SETTINGS` in the current context; empty texts for what it does not say.

    Args:
        recorder: knows organization and source where the context does not.
        captured: JSON list of the tables whose changes an ORM records.

    Raises:
        InvalidEvent: the context breaks a rule that every event has.
    """
    context = current()
    fields = dict(context.known()) if context is not None else {}
    nobody = fields.get("actor") is None
    nowhere = fields.get("organization") is None and recorder.organization is None
    if nobody:
        fields["actor"] = anonymous
    if nowhere:
        fields["organization"] = "nobody"
    (row,) = recorder.rows([recorder.draft(Said("database.change", fields))], lambda _organization: bytes(32))
    said: dict[str, Any] = {name: row.values[place] for name, place in _AT.items()}
    if nobody:
        said["actor"] = ""
    if nowhere:
        said["organization"] = ""
    parent = said["parent_id"]
    said["parent_id"] = "" if parent is None else str(UUID(bytes=parent))
    return tuple(captured if name == "captured" else said[name] or "" for name in SETTINGS)


def carry(recorder: Recorder, target: Any) -> Awaitable[None] | None:
    """See :meth:`affidavit.embed.Audit.carry`."""
    kind = f"{type(target).__module__}.{type(target).__qualname__}"
    module = kind.partition(".")[0]
    if module == "sqlalchemy":
        _carry_in_sqlalchemy(recorder, target)
        return None
    if module == "psycopg":
        from affidavit.recorder.adapters.psycopg import AsyncPsycopgDriver, check_transaction, driver_of

        driver = driver_of(target, "public")
        check_transaction(target)
        if isinstance(driver, AsyncPsycopgDriver):
            return _awaited(driver.run(statement(recorder)))
        driver.run(statement(recorder))
        return None
    if getattr(target, "vendor", None) == "postgresql":
        from affidavit.recorder.adapters.django import DjangoDriver

        DjangoDriver(target, "public").run(statement(recorder))
        return None
    raise ConfigError(f"{kind} is no engine or connection that leads to triggers of PostgreSQL.")


def statement(recorder: Recorder, captured: str = "") -> Statement:
    """The statement that carries :func:`settings` into the current transaction."""
    return Statement(_SQL, settings(recorder, captured), returns=True)


async def _awaited(answer: Awaitable[Answer]) -> None:
    await answer


def _carry_in_sqlalchemy(recorder: Recorder, target: Any) -> None:
    from sqlalchemy.engine import Connection, Engine

    from affidavit.recorder.adapters.sqlalchemy import SqlalchemyDriver, check
    from affidavit.recorder.capture.sqlalchemy import tables

    inner = getattr(target, "sync_engine", target)
    if not isinstance(inner, Connection | Engine) or inner.dialect.name != "postgresql":
        raise ConfigError(
            f"{type(target).__name__} is no engine or connection of PostgreSQL; a session carries what its"
            " engine carries."
        )
    if isinstance(inner, Connection):
        check(inner)
        SqlalchemyDriver(inner, "public").run(statement(recorder, tables()))
        return
    _listen(recorder, inner, lambda each, said: SqlalchemyDriver(each, "public").run(said))


def _listen(recorder: Recorder, engine: Any, run: Callable[[Any, Statement], Answer]) -> None:
    """Carry before the first statement of a transaction that may change something, and when that is old."""
    from sqlalchemy import event

    from affidavit.recorder.capture.sqlalchemy import tables

    def before(connection: Any, _cursor: Any, sql: str, *_more: Any) -> None:
        if _ENDS.match(sql):
            forget(connection)
        elif WRITES.match(sql):
            context = current()
            now = (dict(context.known()) if context is not None else None, tables())
            if connection.info.get(_KEY) != now:
                run(connection, statement(recorder, now[1]))
                connection.info[_KEY] = now

    def forget(connection: Any, *_more: Any) -> None:
        connection.info.pop(_KEY, None)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "begin", forget)
