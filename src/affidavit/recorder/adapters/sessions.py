"""SQLAlchemy's sessions: an event waits until the flush or commit that follows.

By then the id of a new object is known. It is written on the session's own connection, all that waits in one
statement. Only what the ORM has in memory is looked at: no query is made and no attribute is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, SessionTransaction, object_session

from affidavit.core.event import Resource
from affidavit.errors import WrongTransaction
from affidavit.recorder.adapters.histories import Changed, Kind, computed, flushed
from affidavit.recorder.adapters.mapped import is_mapped, mapped, peek
from affidavit.recorder.adapters.queue import Queue, Waiting, objects_of
from affidavit.recorder.adapters.sqlalchemy import AUTOCOMMIT
from affidavit.recorder.fields import Said
from affidavit.recorder.recorder import Recorder

__all__ = ["SessionAdapter", "Waiting", "enqueue", "install", "on_flush", "use", "watch"]

_KEY = "affidavit.recorder.queue"
_UNKNOWN = Resource(type="unknown", id="unknown")
Captured = Callable[[Session, Sequence[tuple[Kind, object, Changed]]], list["Waiting"]]
_captures: list[Captured] = []


class SessionAdapter:
    """``Session`` and ``AsyncSession``: the same call for both, because it does no I/O."""

    def record(self, recorder: Recorder, target: Any, said: Sequence[Said], schema: str) -> None:
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`."""
        session = _session_of(target)
        install()
        transaction = _transaction(session)
        use(recorder)
        waiting = [_checked(recorder, each, schema, transaction) for each in said]
        for each in waiting:
            enqueue(session, each)


def _checked(recorder: Recorder, said: Said, schema: str, transaction: SessionTransaction) -> Waiting:
    """An event that breaks no rule, as far as that is known before the flush.

    Raises:
        InvalidEvent: a rule is broken.
    """
    objects = objects_of(said)
    if not objects:
        draft = recorder.draft(said)
        (row,) = recorder.check([draft])
        return Waiting(recorder, said, schema, transaction, objects, draft, row)
    recorder.check([recorder.draft(_supposed(said), lambda one: recorder.describe(one) or _pending(one))])
    return Waiting(recorder, said, schema, transaction, objects)


def enqueue(session: Session, waiting: Waiting) -> None:
    """Let an event wait for its transaction's next flush or commit.

    Args:
        session: that writes it.
        waiting: with its transaction, or without one for the current.
    """
    queue = _queue_of(session)
    if waiting.transaction is None:
        waiting = waiting._replace(transaction=_transaction(session))
    if queue.committing is waiting.transaction:  # within the commit nothing would write it later
        queue.write(session, waiting)
    else:
        queue.waiting.append(waiting)


def use(recorder: Recorder) -> None:
    """Let a recorder describe mapped objects."""
    recorder.registered.find_by(mapped)
    recorder.registered.read_by(peek)


def _session_of(target: Any) -> Session:
    if isinstance(target, Session):
        return target
    if hasattr(target, "registry") and callable(target):
        return _session_of(target())  # scoped_session and its async brother
    inner: Session = target.sync_session
    return inner


def _transaction(session: Session) -> SessionTransaction:
    """The savepoint or transaction that the session is in; one is begun, as any statement would.

    Raises:
        WrongTransaction: there can be none that keeps the promise.
    """
    if session.twophase:
        raise WrongTransaction(
            "Events cannot be recorded in a two-phase session: its parts commit one after the other."
        )
    if not session.is_active and session.in_transaction():
        raise WrongTransaction(
            "The session's transaction has failed; roll it back first. Nothing was recorded."
        )
    if isinstance(session.bind, Engine) and _level(session.bind) == "AUTOCOMMIT":
        raise WrongTransaction(AUTOCOMMIT)
    current = _boundary(session)
    if current is not None:
        return current
    if not session.autobegin:
        raise WrongTransaction("The session has not begun a transaction; call session.begin() first.")
    try:
        return session.begin()
    except InvalidRequestError as error:
        raise WrongTransaction(f"The session cannot be recorded with: {error}") from error


def _level(engine: Engine) -> object:
    """As the engine was told; to ask a connection is too late, for by then the change has committed."""
    told = engine.get_execution_options().get("isolation_level")
    return told or getattr(engine.dialect, "_on_connect_isolation_level", None)


def _boundary(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _supposed(said: Said) -> Said:
    """As it may be when it is written: what a flush changes is not known yet, and an event may require it."""
    if "changes" in said.fields or not is_mapped(said.fields.get("resource")):
        return said
    return said._replace(fields={**said.fields, "changes": {"unknown": (None, True)}})


def _pending(value: object) -> Resource | None:
    """What stands for a new object until it has its id."""
    return _UNKNOWN if is_mapped(value) else None


def _queue_of(session: Session) -> Queue:
    queue: Queue | None = session.info.get(_KEY)
    if queue is None:
        queue = session.info[_KEY] = Queue()
    return queue


def _after_flush(session: Session, _context: object) -> None:
    queue: Queue | None = session.info.get(_KEY)
    if queue is None:
        return
    transaction = _boundary(session)
    due = queue.due(transaction)
    touched, queue.touched = _all_touched(session, queue, due), []
    sql, queue.computed = queue.computed, {}
    if touched and transaction is not None:
        seen = [(kind, one, {**flushed(one, kind), **sql.get(id(one), {})}) for kind, one in touched]
        for _kind, one, changed in seen:
            queue.histories.add(transaction, one, changed)
        for capture in _captures:
            queue.waiting += [each._replace(transaction=transaction) for each in capture(session, seen)]
    queue.write_due(session, transaction, all=False)


def _all_touched(session: Session, queue: Queue, due: Sequence[Waiting]) -> list[tuple[Kind, object]]:
    """What the flush touched of watched classes, and the objects that events speak of."""
    first: dict[int, tuple[Kind, object]] = {}
    for kind, one in queue.touched:
        first.setdefault(id(one), (kind, one))
    touched, known = list(first.values()), set(first)
    for one in (one for each in due for one in each.objects):
        if id(one) not in known:
            known.add(id(one))
            if one in session.new:
                touched.append(("create", one))
            elif one in session.deleted:
                touched.append(("delete", one))
            elif one in session.dirty:
                touched.append(("update", one))
    return touched


def _before_commit(session: Session) -> None:
    queue = _queue_of(session)
    transaction = _boundary(session)
    if queue.waiting:
        session.flush()
        queue.write_due(session, transaction, all=True)
    queue.committing = transaction


def _after_create(session: Session, transaction: SessionTransaction) -> None:
    """Before a savepoint is set, what was recorded outside of it is written, or it would go with it."""
    queue: Queue | None = session.info.get(_KEY)
    if queue is not None and queue.waiting and transaction.nested:
        queue.write_due(session, _boundary_of(transaction.parent), all=False)


def _boundary_of(transaction: SessionTransaction | None) -> SessionTransaction | None:
    while transaction is not None and not transaction.nested and transaction.parent is not None:
        transaction = transaction.parent
    return transaction


def _after_commit(session: Session) -> None:
    queue: Queue | None = session.info.get(_KEY)
    transaction = _boundary(session)
    if queue is None or transaction is None:
        return
    around = _boundary_of(transaction.parent)
    if around is None:
        if queue.waiting:
            raise WrongTransaction(f"A transaction was committed without {len(queue.waiting)} of its events.")
        return
    queue.histories.released(transaction, around)
    queue.waiting = [
        each._replace(transaction=around) if each.transaction is transaction else each
        for each in queue.waiting
    ]


def _after_end(session: Session, transaction: SessionTransaction) -> None:
    """What is left of it by now was undone."""
    queue: Queue | None = session.info.get(_KEY)
    if queue is None:
        return
    queue.touched.clear()
    queue.computed.clear()
    queue.waiting = [each for each in queue.waiting if each.transaction is not transaction]
    queue.histories.ended(transaction)
    if queue.committing is transaction:
        queue.committing = None


_watched: set[type] = set()


def watch(cls: type) -> None:
    """Keep what each flush writes of the objects of a class, and of those that inherit from it."""
    install()
    if cls in _watched:
        return
    _watched.add(cls)
    for name, kind in (("after_insert", "create"), ("after_update", "update"), ("after_delete", "delete")):
        event.listen(cls, name, _touching(kind), propagate=True)  # type: ignore[arg-type]
    event.listen(cls, "before_update", _computing, propagate=True)


def _touching(kind: Kind) -> Callable[[object, Connection, object], None]:
    def touched(_mapper: object, _connection: Connection, one: object) -> None:
        session = object_session(one)
        if session is not None:
            _queue_of(session).touched.append((kind, one))

    return touched


def _computing(_mapper: object, _connection: Connection, one: object) -> None:
    """Note what SQL is about to compute: afterwards the attribute is expired, and its history gone."""
    session, found = object_session(one), computed(one)
    if session is not None and found:
        _queue_of(session).computed[id(one)] = found


def on_flush(capture: Captured) -> None:
    """Ask this, after each flush, for the events of what it wrote."""
    install()
    if capture not in _captures:
        _captures.append(capture)


_installed = False


def install() -> None:
    """Once a process, for all sessions; those that record nothing pay for a look into a dictionary."""
    global _installed  # noqa: PLW0603 - the events of a class are global, too
    if _installed:
        return
    _installed = True
    event.listen(Session, "after_flush", _after_flush)
    event.listen(Session, "before_commit", _before_commit)
    event.listen(Session, "after_transaction_create", _after_create)
    event.listen(Session, "after_transaction_end", _after_end)
    event.listen(Session, "after_commit", _after_commit)
