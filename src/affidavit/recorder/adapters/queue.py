"""What a session has yet to write, and how it is written: all that is due in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import table, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction

from affidavit.core.event import MAX_BATCH, Draft
from affidavit.core.row import Row
from affidavit.errors import FieldError, InvalidEvent, WrongTransaction
from affidavit.recorder.adapters.histories import Changed, Histories, Kind
from affidavit.recorder.adapters.mapped import is_mapped, state_of
from affidavit.recorder.adapters.sqlalchemy import write
from affidavit.recorder.fields import Said
from affidavit.recorder.recorder import Recorder

__all__ = ["Queue", "Waiting", "objects_of"]

_OURS = update(table("affidavit_events"))
"""Lets a session that routes by the kind of statement choose the database that is written to."""


class Waiting(NamedTuple):
    """An event that its session has yet to write.

    Attributes:
        recorder: makes its row.
        said: what is recorded.
        schema: of our tables on PostgreSQL.
        transaction: the root or savepoint in which it was recorded; ``None``: the current one.
        objects: mapped ones that it speaks of.
        draft: of what was said, where it speaks of no object.
        row: that was made of it when it was checked.
    """

    recorder: Recorder
    said: Said
    schema: str
    transaction: SessionTransaction | None = None
    objects: tuple[object, ...] = ()
    draft: Draft | None = None
    row: Row | None = None


def objects_of(said: Said) -> tuple[object, ...]:
    """The mapped objects that an event speaks of."""
    found = [said.fields.get("resource"), *said.fields.get("resources", ())]
    return tuple(one for one in found if one is not None and is_mapped(one))


class Queue:
    """What a session has yet to write, and what its flushes have written."""

    __slots__ = ("committing", "computed", "histories", "touched", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.touched: list[tuple[Kind, object]] = []
        self.computed: dict[int, Changed] = {}
        self.histories = Histories()
        self.committing: SessionTransaction | None = None

    def due(self, transaction: SessionTransaction | None) -> list[Waiting]:
        """What was recorded in this very transaction or savepoint: in an inner one it could be undone."""
        return [each for each in self.waiting if each.transaction is transaction]

    def write_due(self, session: Session, transaction: SessionTransaction | None, *, all: bool) -> None:
        """Write what is due; unless all of it is asked for, a new object may still come into the session."""
        ready = [(each, said) for each in self.due(transaction) if (said := self._resolved(each, all=all))]
        if ready:
            _write(session, ready)
            written = {id(each) for each, _said in ready}
            self.waiting = [each for each in self.waiting if id(each) not in written]

    def write(self, session: Session, waiting: Waiting) -> None:
        """Write an event at once."""
        said = self._resolved(waiting, all=True)
        assert said is not None
        _write(session, [(waiting, said)])

    def _resolved(self, waiting: Waiting, *, all: bool) -> Said | None:
        """What was said, of objects that have their ids, with the changes of the first where none were given.

        Raises:
            InvalidEvent: an object has no id, and there is no later time at which it may get one.
        """
        said, objects = waiting.said, waiting.objects
        if not objects:
            return said
        registered = waiting.recorder.registered
        found = {id(one): registered.describe(one) for one in objects}
        for one in objects:
            if found[id(one)] is None:
                if all:
                    raise _no_id(one)
                return None
        fields = dict(said.fields)
        first = fields.get("resource")
        if id(first) in found:
            fields["resource"] = found[id(first)]
            if "changes" not in fields and (changed := self.histories.of(first)):
                fields["changes"] = registered.shown(type(first), changed)
        if "resources" in fields:
            fields["resources"] = [found.get(id(one), one) for one in fields["resources"]]
        return said._replace(fields=fields)


def _write(session: Session, ready: Sequence[tuple[Waiting, Said]]) -> None:
    """Write events, one statement for each recorder and database, at most 1,000 events long."""
    connections: dict[tuple[object, object], Connection] = {}
    places: dict[tuple[Connection, str, int], tuple[Recorder, list[Draft], list[Row | None]]] = {}
    for each, said in ready:
        state = state_of(each.objects[0]) if each.objects else None
        mapper = None if state is None else state.mapper
        connection = connections.get((each.transaction, mapper))
        if connection is None:
            connection = _connection(session, mapper, each.transaction)
            connections[each.transaction, mapper] = connection
        place = (connection, each.schema, id(each.recorder))
        _recorder, drafts, made = places.setdefault(place, (each.recorder, [], []))
        drafts.append(each.recorder.draft(said) if each.draft is None else each.draft)
        made.append(each.row)
    for (connection, schema, _id), (recorder, drafts, made) in places.items():
        for start in range(0, len(drafts), MAX_BATCH):
            end = start + MAX_BATCH
            write(connection, recorder, drafts[start:end], schema, made[start:end])


def _no_id(one: object) -> InvalidEvent:
    name = type(one).__name__
    sentence = f"the {name} has no id: it was not added to the session, or not flushed"
    return InvalidEvent((FieldError("/resource", "id", sentence, name),))


def _connection(session: Session, mapper: Any, transaction: SessionTransaction | None) -> Connection:
    """The session's connection to the database of the object that an event speaks of.

    Raises:
        WrongTransaction: the session has several databases, and nothing says which.
    """
    try:
        bind = session.get_bind(mapper, clause=_OURS)
    except UnboundExecutionError:
        bind = _only_bind(session)
    if transaction is None:
        return session.connection(bind_arguments={"bind": bind})
    return transaction.connection(None, bind=bind)


def _only_bind(session: Session) -> Engine | Connection:
    mappers = {
        state.mapper
        for one in (*session.new, *session.dirty, *session.deleted, *session.identity_map.values())
        if (state := state_of(one)) is not None
    }
    binds = {session.get_bind(mapper) for mapper in mappers}
    if len(binds) == 1:
        return binds.pop()
    raise WrongTransaction(
        "The session has several databases, and nothing says which one the event belongs to: name a mapped"
        " object as its resource, or record with session.connection(...)."
    )
