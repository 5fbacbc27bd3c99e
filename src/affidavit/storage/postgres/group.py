"""Group commit on the event loop: many callers, one connection, one commit.

A group closes without a timer: it takes whatever arrived while the previous commit ran, at most 1,000 rows or
16 MiB. What one turn of the loop hands in arrives together.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors as pg

from affidavit import errors
from affidavit.core.event import MAX_BATCH, MAX_BATCH_BYTES
from affidavit.core.row import Recorded, Row
from affidavit.storage.postgres.closed import refusal
from affidavit.storage.postgres.connect import Address, adapt, alive, options, translate, written
from affidavit.storage.postgres.events import UNKNOWN
from affidavit.storage.postgres.writer import FEW, Copy, Run, Steps, T, copied, insertion, named, settled

__all__ = ["GroupCommit"]

CLOSING_SECONDS = 30.0
"""How long closing waits for what was handed in."""

_BEGIN, _COMMIT, _ROLLBACK = Run("BEGIN ISOLATION LEVEL READ COMMITTED"), Run("COMMIT"), Run("ROLLBACK")
_Batch = Sequence[Row]
_Outcome = list[Recorded] | Exception


class GroupCommit:
    """Commits what coroutines hand in; on each event loop over a connection of its own.

    Args:
        address: of a database whose schema is current.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lanes: dict[asyncio.AbstractEventLoop, _Lane] = {}
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, rows: _Batch) -> asyncio.Future[list[Recorded]]:
        """Hand in one batch, on an event loop; done when its commit is durable, or failed.

        A caller that goes away before that changes nothing: the batch is stored all the same. Where the
        connection breaks during the commit, nobody knows whether it is stored, and the error says so.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise errors.StorageError("The server is shutting down; send the batch again.")
            lane = self._lanes.get(loop)
            if lane is None:
                self._forget_closed_loops()
                lane = self._lanes[loop] = _Lane(self._address, loop)
        return lane.submit(rows)

    def close(self) -> None:
        """Commit what waits, then close the connections. On a loop itself what waits is committed later."""
        with self._lock:
            self._closed = True
            lanes, self._lanes = self._lanes, {}
        for loop, lane in lanes.items():
            if loop.is_running() and lane.busy:
                draining = asyncio.run_coroutine_threadsafe(lane.drain(), loop)
                if loop is not _running():
                    draining.result(CLOSING_SECONDS)
            else:
                lane.drop()

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._lanes if loop.is_closed()]:
            self._lanes.pop(loop).drop()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Lane:
    """What one event loop hands in, and its connection. Everything but :meth:`drop` runs on the loop."""

    def __init__(self, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        self._address = address
        self._loop = loop
        self._waiting: deque[tuple[_Batch, asyncio.Future[list[Recorded]]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return self._task is not None

    def submit(self, rows: _Batch) -> asyncio.Future[list[Recorded]]:
        """See :meth:`GroupCommit.submit`."""
        future: asyncio.Future[list[Recorded]] = self._loop.create_future()
        self._waiting.append((rows, future))
        if self._task is None:
            self._task = self._loop.create_task(self._run())
        return future

    async def drain(self) -> None:
        """Wait until everything is committed, then close the connection."""
        while self._task is not None:
            await asyncio.wait([self._task])
        self.drop()

    def drop(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.pgconn.finish()
            self._connection = None

    async def _run(self) -> None:
        group: list[tuple[_Batch, asyncio.Future[list[Recorded]]]] = []
        try:
            while group := self._take():
                outcomes = await self._commit([rows for rows, _ in group])
                for (_, future), outcome in zip(group, outcomes, strict=True):
                    _settle(future, outcome)
        except BaseException as error:  # every caller is told
            gone = errors.StorageError(UNKNOWN.format(self._address.shown, type(error).__name__))
            for _, future in (*group, *self._waiting):
                _settle(future, gone)
            self._waiting.clear()
            self.drop()
            raise
        finally:
            self._task = None

    def _take(self) -> list[tuple[_Batch, asyncio.Future[list[Recorded]]]]:
        group: list[tuple[_Batch, asyncio.Future[list[Recorded]]]] = []
        count = size = 0
        while self._waiting:
            rows = self._waiting[0][0]
            count += len(rows)
            size += sum([row.size for row in rows])
            if group and (count > MAX_BATCH or size > MAX_BATCH_BYTES):
                break
            group.append(self._waiting.popleft())
        return group

    async def _commit(self, batches: Sequence[_Batch]) -> Sequence[_Outcome]:
        """Store the batches together where that goes, else one after the other; a refused one fails alone."""
        # One statement stores what is new of them and passes over the rest: no way for a batch of several
        # that has to be stored whole or not at all.
        separable = all(len(rows) == 1 or not any(row.given for row in rows) for rows in batches)
        rows = sum(map(len, batches))
        ways = []
        if rows > FEW and (separable or len(batches) > 1):
            ways.append(_by_copy)
        if separable:
            ways.append(_by_name)
        for way in ways:
            try:
                return await self._send(way(batches))
            except psycopg.Error as error:
                if self._connection is None:
                    return [translate(error, self._address)] * len(batches)
            except errors.StorageError as error:
                return [error] * len(batches)
        return [await self._alone(rows) for rows in batches]

    async def _alone(self, rows: _Batch) -> _Outcome:
        try:
            return await self._send(_within(insertion(rows, None)))
        except psycopg.Error as error:
            refused = refusal(error, rows) if isinstance(error, pg.RestrictViolation) else None
            return refused or translate(error, self._address)
        except (errors.Refused, errors.StorageError) as error:
            return error

    async def _send(self, steps: Steps[T]) -> T:
        """Take all steps; a connection that broke is let go."""
        connection = await self._connected()
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._step(connection, step)
                except psycopg.Error as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            if connection.closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                self.drop()

    async def _step(
        self, connection: psycopg.AsyncConnection[tuple[Any, ...]], step: Run | Copy
    ) -> list[tuple[Any, ...]]:
        statement = written(step.statement, self._address.schema)
        # Outside of a transaction a statement is one of its own.
        commits = step is _COMMIT or (
            step is not _BEGIN and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        )
        cursor = connection.cursor(binary=True)
        try:
            if isinstance(step, Copy):
                async with cursor.copy(statement) as copy:
                    await copy.write(step.block)
                return []
            await cursor.execute(statement, step.parameters)
            return await cursor.fetchall() if cursor.description is not None else []
        except psycopg.OperationalError as error:
            if commits and connection.closed:
                raise errors.StorageError(UNKNOWN.format(self._address.shown, error)) from error
            raise

    async def _connected(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        if self._connection is not None and not alive(self._connection):
            self.drop()
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(
                self._address.url, **options("affidavit group commit", self._address.url)
            )
            adapt(self._connection)
        return self._connection


def _by_copy(batches: Sequence[_Batch]) -> Steps[Sequence[_Outcome]]:
    """All of it by COPY, where nothing of it exists."""
    yield from _within(copied([row for rows in batches for row in rows], None))
    return [[Recorded(row.id, False) for row in rows] for rows in batches]


def _by_name(batches: Sequence[_Batch]) -> Steps[Sequence[_Outcome]]:
    """All of it as one statement that passes over what exists."""
    fresh = yield from named([row for rows in batches for row in rows], None)
    return (yield from settled(batches, fresh))


def _within(steps: Steps[T]) -> Steps[T]:
    """The steps in a transaction."""
    yield _BEGIN
    try:
        result = yield from steps
    except Exception:
        yield _ROLLBACK
        raise
    yield _COMMIT
    return result


def _settle(future: asyncio.Future[list[Recorded]], outcome: _Outcome) -> None:
    if future.done():
        return  # its caller was cancelled
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
