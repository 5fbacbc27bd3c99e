"""SQLAlchemy: the same change and event through a connection, a session and an async session."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from sqlalchemy import create_engine, event, insert, select, text, update
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, configure_mappers

from bench.recorders_by_hand import ACTION, COLUMNS, values
from bench.recorders_ours import opened, record_together
from bench.recorders_plain import CHANGES, CUSTOMERS, HUNDRED, NAME
from bench.recorders_tables import models

__all__ = ["OnAsyncSession", "OnConnection", "OnSession"]

_TABLES: Final = {
    "continuum": ("customers_version", "tags_version", "customer_tags_version"),
    "native": ("customers_version", "tags_version", "customer_tags_version"),
}
_SETUP: Final = {
    "ours": "`audit.register(Customer)`, `audit.record(session, ...)` beside each change",
    "capture": "`audit.capture(Customer)`",
    "triggers": "`audit.carry(engine)`, the SQL of `trigger_sql(connection, table)` for both tables",
    "continuum": "`make_versioned(user_cls=None)`, `__versioned__ = {}`",
    "native": '`make_versioned(user_cls=None, options={"native_versioning": True})`, `__versioned__ = {}`,'
    " the extension `hstore`; `unit_of_work(session).create_transaction(session)` before statements",
}


class OnSession:
    """A ``Session`` of its own for each transaction, as a request has it.

    Args:
        side: ``bare``, ``hand``, ``ours``, ``capture``, ``triggers``, ``continuum`` or ``native``.
        engine: ``sqlite`` or ``postgresql``.
        url: of the database.
    """

    def __init__(self, side: str, engine: str, url: str) -> None:
        versioned = side in _TABLES
        if versioned:
            from sqlalchemy_continuum import make_versioned  # type: ignore[import-not-found]

            make_versioned(user_cls=None, options={"native_versioning": True} if side == "native" else None)
        self.side = side
        self.name = engine
        self.url = url.replace("postgresql://", "postgresql+psycopg://")
        self.models = models(engine, versioned=versioned)
        self.tables: Sequence[str] = _TABLES.get(side, ("affidavit_events",))
        self.setup = _SETUP.get(side, "")
        self.versions = {"SQLAlchemy": version("sqlalchemy")}
        if versioned:
            self.versions["SQLAlchemy-Continuum"] = version("sqlalchemy-continuum")
        self.audit = opened(url) if side in ("ours", "capture", "triggers") else None
        self.engine: Any = None

    def open(self) -> None:
        """Make the tables, fill them, and only then let anybody watch."""
        self.engine = create_engine(self.url)
        if self.side == "native":  # its triggers compare rows with it
            with self.engine.begin() as connection:
                connection.execute(text("CREATE EXTENSION IF NOT EXISTS hstore"))
        _fill(self.engine, self.models)
        self.watch()

    def watch(self) -> None:
        """Ours, as its documentation says."""
        if self.audit is not None:
            self.audit.register(self.models.customer, type="customer", name="name")
            if self.side == "capture":
                self.audit.capture(self.models.customer)
            if self.side == "triggers":
                self._install()

    def _install(self) -> None:
        from affidavit.recorder.capture.triggers import trigger_sql

        with self.engine.begin() as connection:
            connection.exec_driver_sql(trigger_sql(connection, "customers", type="customer", name="name"))
            connection.exec_driver_sql(trigger_sql(connection, "customer_tags"))
        self.watch_engine(self.engine)

    def watch_engine(self, engine: Any) -> None:
        """Let the triggers of an engine's database know who acts."""
        if self.side == "triggers" and self.audit is not None:
            self.audit.carry(engine)

    def announce(self, session: Any) -> None:
        """Continuum's triggers need its row of the transaction, which only objects make by themselves."""
        if self.side == "native":
            from sqlalchemy_continuum import versioning_manager

            versioning_manager.unit_of_work(session).create_transaction(session)

    def event_of(self, customer: Any, before: tuple[Any, Any]) -> Any:
        """The row that a person writes of a change."""
        changes = {"plan": (before[0], customer.plan), "seats": (before[1], customer.seats)}
        row = values(self.name, customer.id, customer.name, changes)
        return self.models.event(**dict(zip(COLUMNS, row, strict=True)))

    def row(self, key: int) -> dict[str, Any]:
        """The same as parameters of a statement."""
        return dict(zip(COLUMNS, values(self.name, key, NAME, CHANGES), strict=True))

    def change(self, session: Any, customer: Any) -> None:
        """Change a customer, and record it where this is done by hand or by us."""
        before = customer.plan, customer.seats
        customer.plan = "pro" if customer.plan == "free" else "free"
        customer.seats += 1
        if self.side == "hand":
            session.add(self.event_of(customer, before))
        elif self.side == "ours" and self.audit is not None:
            self.audit.record(session, ACTION, resource=customer)

    def one(self, times: int) -> None:
        """An object changed, and its event."""
        for number in range(1, times + 1):
            with Session(self.engine) as session:
                self.change(session, session.get(self.models.customer, number))
                session.commit()

    def saves(self, times: int) -> None:
        """A hundred objects changed in a transaction, each with its event."""
        for number in range(times):
            with Session(self.engine) as session:
                for customer in session.scalars(self.some(number * HUNDRED % CUSTOMERS)):
                    self.change(session, customer)
                session.commit()

    def some(self, first: int) -> Any:
        """A hundred customers."""
        key = self.models.customer.id
        return select(self.models.customer).where(key > first, key <= first + HUNDRED)

    def plain_change(self, number: int) -> Any:
        """One row changed by a statement."""
        table = self.models.customer.__table__
        return update(table).where(table.c.id == number).values(seats=table.c.seats + 1)

    def hundred(self, times: int) -> None:
        """A change and a hundred events, each of which is a statement by hand."""
        statement = insert(self.models.event.__table__)
        for number in range(1, times + 1):
            with Session(self.engine) as session:
                session.execute(self.plain_change(number))
                for key in range(1, HUNDRED + 1):
                    if self.audit is not None:
                        self.audit.record(session, ACTION, resource=("customer", key, NAME), changes=CHANGES)
                    else:
                        session.execute(statement, self.row(key))
                session.commit()

    def together(self, times: int) -> None:
        """A change and a hundred events that the session has at its commit."""
        for number in range(1, times + 1):
            with Session(self.engine) as session:
                session.execute(self.plain_change(number))
                for key in range(1, HUNDRED + 1):
                    if self.audit is not None:
                        self.audit.record(session, ACTION, resource=("customer", key, NAME), changes=CHANGES)
                    else:
                        session.add(self.models.event(**self.row(key)))
                session.commit()

    def operation(self, name: str) -> Any:
        """Do something of the table in the docs; how many rows it changed."""
        from bench.recorders_operations import OF_SESSIONS

        return OF_SESSIONS[name](self)

    def close(self) -> None:
        """Let go of the connections."""
        self.engine.dispose()


def _fill(engine: Engine, of: Any) -> None:
    configure_mappers()  # makes the classes of versions
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA journal_mode=WAL"))
    of.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            insert(of.customer.__table__),
            [
                {"name": NAME, "email": f"office{n}@example.com", "notes": "since 1842"}
                for n in range(CUSTOMERS)
            ],
        )
        connection.execute(insert(of.tag.__table__), [{"name": name} for name in ("a", "b", "c")])


class OnConnection(OnSession):
    """A ``Connection`` for each transaction."""

    def one(self, times: int) -> None:
        """A row changed, and its event."""
        statement = insert(self.models.event.__table__)
        for number in range(1, times + 1):
            with self.engine.connect() as connection:
                connection.execute(self.plain_change(number))
                if self.side == "hand":
                    connection.execute(statement, self.row(number))
                elif self.audit is not None:
                    self.audit.record(
                        connection, ACTION, resource=("customer", number, NAME), changes=CHANGES
                    )
                connection.commit()

    def hundred(self, times: int) -> None:
        """A change and a hundred events, one after the other."""
        statement = insert(self.models.event.__table__)
        for number in range(1, times + 1):
            with self.engine.connect() as connection:
                connection.execute(self.plain_change(number))
                for key in range(1, HUNDRED + 1):
                    if self.audit is not None:
                        self.audit.record(
                            connection, ACTION, resource=("customer", key, NAME), changes=CHANGES
                        )
                    else:
                        connection.execute(statement, self.row(key))
                connection.commit()

    def together(self, times: int) -> None:
        """A change and a hundred events at once."""
        statement = insert(self.models.event.__table__)
        keys = range(1, HUNDRED + 1)
        for number in range(1, times + 1):
            with self.engine.connect() as connection:
                connection.execute(self.plain_change(number))
                if self.audit is not None:
                    record_together(self.audit, connection, keys, NAME, CHANGES)
                else:
                    connection.execute(statement, [self.row(key) for key in keys])
                connection.commit()


class OnAsyncSession(OnSession):
    """An ``AsyncSession`` over aiosqlite or psycopg."""

    async def open(self) -> None:  # type: ignore[override]
        """Make the tables without it."""
        made = create_engine(self.url)
        _fill(made, self.models)
        made.dispose()
        self.engine = create_async_engine(self.url.replace("sqlite://", "sqlite+aiosqlite://"))
        self.watch()

    async def one(self, times: int) -> None:  # type: ignore[override]
        """An object changed, and its event."""
        for number in range(1, times + 1):
            async with AsyncSession(self.engine) as session:
                self.change(session, await session.get(self.models.customer, number))
                await session.commit()

    async def hundred(self, times: int) -> None:  # type: ignore[override]
        """A change and a hundred events, each of which is a statement by hand."""
        statement = insert(self.models.event.__table__)
        for number in range(1, times + 1):
            async with AsyncSession(self.engine) as session:
                await session.execute(self.plain_change(number))
                for key in range(1, HUNDRED + 1):
                    if self.audit is not None:
                        self.audit.record(session, ACTION, resource=("customer", key, NAME), changes=CHANGES)
                    else:
                        await session.execute(statement, self.row(key))
                await session.commit()

    async def together(self, times: int) -> None:  # type: ignore[override]
        """A change and a hundred events that the session has at its commit."""
        for number in range(1, times + 1):
            async with AsyncSession(self.engine) as session:
                await session.execute(self.plain_change(number))
                for key in range(1, HUNDRED + 1):
                    if self.audit is not None:
                        self.audit.record(session, ACTION, resource=("customer", key, NAME), changes=CHANGES)
                    else:
                        session.add(self.models.event(**self.row(key)))
                await session.commit()

    async def close(self) -> None:  # type: ignore[override]
        """Let go of the connections."""
        await self.engine.dispose()
