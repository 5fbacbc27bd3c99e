"""Plain connections: one change in a transaction, with no event, one written by hand, or ours."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from bench.recorders_by_hand import ACTION, insert_into, values
from bench.recorders_ours import opened, record_together

__all__ = ["CHANGES", "CUSTOMERS", "HUNDRED", "NAME", "AsyncPlain", "Plain"]

CUSTOMERS: Final = 1_000
"""Rows of the table that is changed."""
HUNDRED: Final = 100
NAME: Final = "Babbage & Co"
CHANGES: Final = {"plan": ("free", "pro"), "seats": (4, 5)}
_CHANGE: Final = "UPDATE customers SET plan = ?, seats = seats + 1 WHERE id = ?"


class Plain:
    """``sqlite3`` or ``psycopg``.

    Args:
        side: ``bare``, ``hand`` or ``ours``.
        engine: ``sqlite`` or ``postgresql``.
        url: of the database.
    """

    tables = ("affidavit_events",)

    def __init__(self, side: str, engine: str, url: str) -> None:
        self._side = side
        self._engine = engine
        self._url = url
        mark = "?" if engine == "sqlite" else "%s"
        self._insert = insert_into(mark)
        self._change = _CHANGE.replace("?", mark)
        self._audit = opened(url) if side == "ours" else None
        self._target: Any = None

    def open(self) -> None:
        """Connect."""
        if self._engine == "sqlite":
            self._target = sqlite3.connect(self._url.removeprefix("sqlite:///"))
        else:
            import psycopg

            self._target = psycopg.connect(self._url)

    def _event(self, key: int) -> Any:
        if self._audit is not None:
            return self._audit.record(self._target, ACTION, resource=("customer", key, NAME), changes=CHANGES)
        return self._target.execute(self._insert, values(self._engine, key, NAME, CHANGES))

    def _together(self) -> Any:
        keys = range(1, HUNDRED + 1)
        if self._audit is not None:
            return record_together(self._audit, self._target, keys, NAME, CHANGES)
        rows = [values(self._engine, key, NAME, CHANGES) for key in keys]
        return self._target.cursor().executemany(self._insert, rows)

    def one(self, times: int) -> None:
        """A change and its event."""
        for number in range(1, times + 1):
            self._target.execute(self._change, ("pro", number))
            if self._side != "bare":
                self._event(number)
            self._target.commit()

    def hundred(self, times: int) -> None:
        """A change and a hundred events, one after the other."""
        for number in range(1, times + 1):
            self._target.execute(self._change, ("pro", number))
            for key in range(1, HUNDRED + 1):
                self._event(key)
            self._target.commit()

    def together(self, times: int) -> None:
        """A change and a hundred events at once."""
        for number in range(1, times + 1):
            self._target.execute(self._change, ("pro", number))
            self._together()
            self._target.commit()


class AsyncPlain(Plain):
    """``aiosqlite`` or ``psycopg.AsyncConnection``."""

    async def open(self) -> None:  # type: ignore[override]
        """Connect."""
        if self._engine == "sqlite":
            import aiosqlite

            self._target = await aiosqlite.connect(self._url.removeprefix("sqlite:///"))
        else:
            import psycopg

            self._target = await psycopg.AsyncConnection.connect(self._url)

    async def one(self, times: int) -> None:  # type: ignore[override]
        """A change and its event."""
        for number in range(1, times + 1):
            await self._target.execute(self._change, ("pro", number))
            if self._side != "bare":
                await self._event(number)
            await self._target.commit()

    async def hundred(self, times: int) -> None:  # type: ignore[override]
        """A change and a hundred events, one after the other."""
        for number in range(1, times + 1):
            await self._target.execute(self._change, ("pro", number))
            for key in range(1, HUNDRED + 1):
                await self._event(key)
            await self._target.commit()

    async def together(self, times: int) -> None:  # type: ignore[override]
        """A change and a hundred events at once."""
        for number in range(1, times + 1):
            await self._target.execute(self._change, ("pro", number))
            if self._audit is None and self._engine == "sqlite":
                rows = [values(self._engine, key, NAME, CHANGES) for key in range(1, HUNDRED + 1)]
                await self._target.executemany(self._insert, rows)
            else:
                await self._together()
            await self._target.commit()

    async def close(self) -> None:
        """End what aiosqlite's thread waits for."""
        await self._target.close()
