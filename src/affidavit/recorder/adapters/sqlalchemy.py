"""SQLAlchemy sessions and connections, blocking and async.

On a session an event waits until the flush or commit that follows, when the id of a new object is known, and
is then written on the session's own connection. Only what the ORM has in memory is looked at: no query is
made and no attribute is loaded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import event, inspect
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Session, SessionTransaction

from affidavit.core.event import Resource
from affidavit.core.row import Recorded
from affidavit.core.statement import Answer, Statement, written
from affidavit.errors import WrongTransaction
from affidavit.recorder.adapters.driver import drive
from affidavit.recorder.adapters.histories import Histories
from affidavit.recorder.fields import Said
from affidavit.recorder.recorder import Recorder

__all__ = ["AsyncConnectionAdapter", "ConnectionAdapter", "SessionAdapter", "SqlalchemyDriver", "mapped"]

_KEY = "affidavit.recorder.queue"
_UNKNOWN = Resource(type="unknown", id="unknown")


class SqlalchemyDriver:
    """A ``Connection`` of SQLAlchemy, whatever driver is below it.

    Args:
        connection: in a transaction, or beginning one with its first statement.
        schema: of our tables on PostgreSQL.

    Raises:
        WrongTransaction: the database is neither SQLite nor PostgreSQL.
    """

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        name = connection.dialect.name
        if name not in ("sqlite", "postgresql"):
            raise WrongTransaction(
                f"Events cannot be recorded in a database of {name}; send them over HTTP with AuditClient."
            )
        self.dialect = name
        self._schema = schema if name == "postgresql" else None

    def run(self, statement: Statement) -> Answer:
        """Run one statement, with the driver's own parameter marks."""
        style = self._connection.dialect.paramstyle
        parameters: Any = statement.parameters
        if style.startswith("numeric"):
            sql = _numbered(written(statement.sql, "?", self._schema), "$" if "dollar" in style else ":")
        else:
            sql = written(statement.sql, "?" if style == "qmark" else "%s", self._schema)
        if statement.many:
            parameters = [tuple(each) for each in parameters]
        else:
            parameters = tuple(parameters)
        try:
            with self._connection.exec_driver_sql(sql, parameters) as result:
                rows = [tuple(row) for row in result] if statement.returns else ()
                return Answer(rows, result.rowcount)
        except DBAPIError as error:
            raise _explained(error) from error


def _numbered(sql: str, mark: str) -> str:
    first, *others = sql.split("?")
    return first + "".join(f"{mark}{number}{part}" for number, part in enumerate(others, 1))


def _explained(error: DBAPIError) -> Exception:
    """Our error for that of the driver below, where ours says more; else SQLAlchemy's."""
    original = error.orig
    module = type(original).__module__.partition(".")[0]
    if module == "sqlite3":
        from affidavit.recorder.adapters import sqlite

        found = sqlite.explained(original)  # type: ignore[arg-type]
    elif module == "psycopg":
        from affidavit.recorder.adapters import psycopg

        found = psycopg.explained(original)  # type: ignore[arg-type]
    else:
        return error
    return error if found is original else found


class ConnectionAdapter:
    """``sqlalchemy.Connection``: written at once."""

    def record(
        self, recorder: Recorder, target: Connection, said: Sequence[Said], schema: str
    ) -> list[Recorded]:
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`."""
        drafts = [recorder.draft(each) for each in said]
        driver = SqlalchemyDriver(target, schema)
        return drive(driver, recorder.steps(drafts, driver.dialect))


class AsyncConnectionAdapter:
    """``sqlalchemy.ext.asyncio.AsyncConnection``: written when it is awaited."""

    def record(
        self, recorder: Recorder, target: AsyncConnection, said: Sequence[Said], schema: str
    ) -> Awaitable[list[Recorded]]:
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`."""
        drafts = [recorder.draft(each) for each in said]

        def write(connection: Connection) -> list[Recorded]:
            driver = SqlalchemyDriver(connection, schema)
            return drive(driver, recorder.steps(drafts, driver.dialect))

        return target.run_sync(write)


class SessionAdapter:
    """``Session`` and ``AsyncSession``: the same call for both, because it does no I/O."""

    def record(self, recorder: Recorder, target: Any, said: Sequence[Said], schema: str) -> None:
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`."""
        session = _session_of(target)
        if session.twophase:
            raise WrongTransaction(
                "Events cannot be recorded in a two-phase session: its parts commit one after the other."
            )
        if not session.is_active:
            raise WrongTransaction(
                "The session's transaction has failed; roll it back first. Nothing was recorded."
            )
        recorder.registered.find_by(mapped)
        for each in said:
            recorder.check([recorder.draft(each, lambda value: recorder.describe(value) or _pending(value))])
        queue = _queue_of(session)
        transaction = session.get_nested_transaction() or session.get_transaction() or session.begin()
        # A session that a commit ended begins anew with its next statement; this is one.
        queue.waiting += [_Waiting(recorder, each, schema, transaction) for each in said]


def _session_of(target: Any) -> Session:
    if isinstance(target, Session):
        return target
    if hasattr(target, "registry") and callable(target):
        return _session_of(target())  # scoped_session and its async brother
    inner: Session = target.sync_session
    return inner


def mapped(value: object) -> Resource | None:
    """The resource that a mapped object is: its table and its primary key; ``None`` where it has none yet."""
    try:
        state = inspect(value)
    except Exception:  # noqa: BLE001 - SQLAlchemy raises several kinds for what is not mapped
        return None
    mapper = getattr(state, "mapper", None)
    if mapper is None:
        return None
    identity = state.identity or mapper.primary_key_from_instance(value)
    if identity is None or any(part is None for part in identity):
        return None
    table = mapper.local_table
    return Resource(type=str(table.name), id=",".join(str(part) for part in identity))


def _pending(value: object) -> Resource | None:
    """What stands for a new object until it has its id."""
    try:
        inspect(value)
    except Exception:  # noqa: BLE001 - not mapped
        return None
    return _UNKNOWN


class _Waiting(NamedTuple):
    recorder: Recorder
    said: Said
    schema: str
    transaction: SessionTransaction


class _Queue:
    """What a session has yet to write."""

    def __init__(self) -> None:
        self.waiting: list[_Waiting] = []
        self.histories = Histories()

    def write(self, connection: Connection) -> None:
        """Write everything, one statement for each recorder."""
        waiting, self.waiting = self.waiting, []
        while waiting:
            recorder, schema = waiting[0].recorder, waiting[0].schema
            own = [each for each in waiting if each.recorder is recorder and each.schema == schema]
            waiting = [each for each in waiting if each.recorder is not recorder or each.schema != schema]
            driver = SqlalchemyDriver(connection, schema)
            drafts = [recorder.draft(self.histories.completed(each.said)) for each in own]
            drive(driver, recorder.steps(drafts, driver.dialect))


def _queue_of(session: Session) -> _Queue:
    _listen()
    queue: _Queue | None = session.info.get(_KEY)
    if queue is None:
        queue = session.info[_KEY] = _Queue()
    return queue


def _connection(session: Session, transaction: SessionTransaction | None = None) -> Connection:
    try:
        if transaction is not None:
            return transaction.connection(None)
        return session.connection()
    except UnboundExecutionError:
        # Several databases in one session: the one of the objects at hand.
        for one in (*session.new, *session.dirty, *session.deleted, *session.identity_map.values()):
            return session.connection(bind_arguments={"mapper": inspect(one).mapper})
        raise WrongTransaction(
            "The session has several databases and no object that says which one; record with a connection."
        ) from None


def _after_flush(session: Session, _context: object) -> None:
    queue: _Queue | None = session.info.get(_KEY)
    if queue is not None and queue.waiting:
        queue.histories.take(session)
        queue.write(_connection(session))


def _before_commit(session: Session) -> None:
    queue: _Queue | None = session.info.get(_KEY)
    if queue is None or not queue.waiting:
        return
    session.flush()
    if queue.waiting:
        queue.write(_connection(session))


def _after_create(session: Session, transaction: SessionTransaction) -> None:
    """Before a savepoint is set what was recorded outside of it is written, or it would go with it."""
    queue: _Queue | None = session.info.get(_KEY)
    if queue is not None and queue.waiting and transaction.nested and transaction.parent is not None:
        queue.write(_connection(session, transaction.parent))


def _after_rollback(session: Session, previous: SessionTransaction) -> None:
    queue: _Queue | None = session.info.get(_KEY)
    if queue is None:
        return
    queue.waiting = [each for each in queue.waiting if not _within(each.transaction, previous)]
    queue.histories.forget()


def _after_commit(session: Session) -> None:
    queue: _Queue | None = session.info.get(_KEY)
    if queue is not None:
        queue.histories.forget()


def _within(transaction: SessionTransaction | None, ended: SessionTransaction) -> bool:
    while transaction is not None:
        if transaction is ended:
            return True
        transaction = transaction.parent
    return False


_listening = False


def _listen() -> None:
    """Once a process, for all sessions; those that record nothing pay for a look into a dictionary."""
    global _listening  # noqa: PLW0603 - the events of a class are global, too
    if _listening:
        return
    _listening = True
    event.listen(Session, "after_flush", _after_flush)
    event.listen(Session, "before_commit", _before_commit)
    event.listen(Session, "after_transaction_create", _after_create)
    event.listen(Session, "after_soft_rollback", _after_rollback)
    event.listen(Session, "after_commit", _after_commit)
