"""Changes of SQLAlchemy models, recorded by themselves in the flush that writes them.

A statement for many rows (``update(Model)``) that goes through a session is one event, or one for each row
whose key it names. Any other statement that changes a captured table is counted and warned about.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BindParameter, Delete, Insert, Update, event, inspect
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Mapper, ORMExecuteState, Session

from affidavit.core.catalog import EventType
from affidavit.core.event import Resource
from affidavit.recorder.adapters.histories import Changed, Kind
from affidavit.recorder.adapters.sessions import Waiting, enqueue, on_flush, use, watch
from affidavit.recorder.capture.uncaptured import count
from affidavit.recorder.recorder import Recorder
from affidavit.recorder.registered import seen

__all__ = ["capture", "tables"]

KINDS: tuple[Kind, ...] = ("create", "update", "delete")
_OPERATIONS: dict[str, Kind] = {"insert": "create", "update": "update", "delete": "delete"}
_HEAD = re.compile(
    r'\s*(insert|update|delete)\s+(?:into\s+|from\s+|only\s+)*((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)',
    re.IGNORECASE,
)
_shown: ContextVar[bool] = ContextVar("affidavit_shown", default=False)
"""Whether the statements that run now come from objects or from a statement that is recorded as one."""


class _Captured(NamedTuple):
    recorder: Recorder
    schema: str
    mapper: Mapper[Any]
    actions: Mapping[Kind, str]
    exclude: frozenset[str]
    mask: frozenset[str]

    def changes(self, cls: type, changed: Changed) -> Changed:
        return seen(self.recorder.registered.shown(cls, changed), self.exclude, self.mask)


_captured: dict[tuple[int, type], _Captured] = {}
_tables: dict[str, Any] = {}


def capture(
    recorder: Recorder,
    schema: str,
    model: type,
    *,
    actions: Mapping[Kind, str | EventType] | None,
    exclude: Collection[str],
    mask: Collection[str],
) -> None:
    """See :meth:`affidavit.embed.Audit.capture`."""
    mapper: Any = inspect(model, raiseerr=False)
    if not isinstance(mapper, Mapper):
        raise TypeError(f"{model.__name__} is no model that SQLAlchemy maps")
    table = re.sub(r"[^a-z0-9_-]", "_", str(getattr(mapper.local_table, "name", model.__name__)).lower())
    given: Mapping[Kind, str | EventType] = (
        {kind: f"{table}.{kind}" for kind in KINDS} if actions is None else actions
    )
    names = {
        kind: action.action if isinstance(action, EventType) else action for kind, action in given.items()
    }
    if unknown := names.keys() - set(KINDS):
        raise TypeError(f"{min(unknown)!r} is none of {', '.join(KINDS)}")
    use(recorder)
    watch(model)
    _install()
    _captured[id(recorder), model] = _Captured(
        recorder, schema, mapper, names, frozenset(exclude), frozenset(mask)
    )
    _tables.clear()


def _of(cls: type) -> Iterator[_Captured]:
    """For each recorder, what is nearest to a class."""
    found: set[int] = set()
    for base in cls.__mro__:
        for (recorder, model), each in _captured.items():
            if model is base and recorder not in found:
                found.add(recorder)
                yield each


def _begin(*_of: object) -> None:
    _shown.set(True)


def _end(*_of: object) -> None:
    _shown.set(False)


def _events(_session: Session, flushed: Sequence[tuple[Kind, object, Changed]]) -> list[Waiting]:
    """The events of one flush."""
    found = []
    for kind, one, changed in flushed:
        for each in _of(type(one)):
            changes = each.changes(type(one), changed)
            if kind not in each.actions or (kind == "update" and not changes):
                continue
            said = each.recorder.said(each.actions[kind], {"resource": one, "changes": changes})
            found.append(Waiting(each.recorder, said, each.schema, objects=(one,)))
    return found


def _statement(state: ORMExecuteState) -> Any:
    """Run a statement for many rows and record it."""
    statement = state.statement
    if not isinstance(statement, Insert | Update | Delete):
        return None
    mapper = _mapper_of(str(getattr(statement.table, "name", "")))
    if mapper is None:
        return None
    _shown.set(True)
    try:
        result = state.invoke_statement()
    finally:
        _shown.set(False)
    several = isinstance(state.parameters, list)
    rows = getattr(result, "rowcount", len(state.parameters or ()) if several else None)
    if rows != 0:
        kind = _OPERATIONS[_operation(statement)]
        for each in _of(mapper.class_):
            if kind in each.actions:
                for fields in _fields(each, mapper, statement, state.parameters, rows):
                    said = each.recorder.said(each.actions[kind], fields)
                    enqueue(state.session, Waiting(each.recorder, said, each.schema))
    return result


def _fields(
    each: _Captured,
    mapper: Mapper[Any],
    statement: Insert | Update | Delete,
    parameters: Any,
    rows: int | None,
) -> Iterator[dict[str, Any]]:
    sets = parameters if isinstance(parameters, list) else [parameters or {}]
    primary = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    cls = mapper.class_
    if all(key in one for one in sets for key in primary):
        for one in sets:
            key = ",".join(str(one[name]) for name in primary)
            new = {name: (None, value) for name, value in one.items() if name not in primary}
            yield {"resource": (_type(each, mapper), key), "changes": each.changes(cls, new)}
        return
    values = {**_values(statement), **(sets[0] if len(sets) == 1 else {})}
    yield {
        "resource": Resource(type=_type(each, mapper), id="*"),
        "changes": each.changes(cls, {name: (None, value) for name, value in values.items()}),
        "metadata": {"statement": _operation(statement), "rows": rows},
    }


def _operation(statement: Insert | Update | Delete) -> str:
    return "insert" if statement.is_insert else "update" if statement.is_update else "delete"


def _type(each: _Captured, mapper: Mapper[Any]) -> str:
    known = each.recorder.registered.type_of(mapper.class_)
    return known or str(getattr(mapper.local_table, "name", mapper.class_.__name__))


def _values(statement: Insert | Update | Delete) -> dict[str, Any]:
    """What it sets: values as they are, expressions as their text."""
    given = getattr(statement, "_values", None) or {}
    found: dict[str, Any] = {}
    for column, value in given.items():
        name = getattr(column, "key", None) or str(column)
        found[name] = value.effective_value if isinstance(value, BindParameter) else str(value)
    return found


def _mapper_of(table: str) -> Any:
    """The mapper of a captured table, ``None`` for any other; the tables between two are known by name."""
    if not _tables:
        for each in _captured.values():
            for mapper in each.mapper.self_and_descendants:
                for relationship in mapper.relationships:
                    if relationship.secondary is not None:
                        _tables.setdefault(str(getattr(relationship.secondary, "name", "")), None)
                _tables[str(getattr(mapper.local_table, "name", ""))] = mapper
    return _tables.get(table)


def tables() -> str:
    """The tables whose changes are captured here, by name and full name: a JSON list, empty where none is."""
    if not _captured:
        return ""
    names: set[str] = set()
    for each in _captured.values():
        for mapper in each.mapper.self_and_descendants:
            names |= {
                str(getattr(mapper.local_table, name, "")) for name in ("name", "fullname") if each.actions
            }
    return msgspec.json.encode(sorted(names)).decode()


def _executed(
    _connection: object, cursor: Any, statement: str, _parameters: object, _context: object, _many: bool
) -> None:
    """Count what changes a captured table and comes from no object."""
    if _shown.get() or (head := _HEAD.match(statement)) is None:
        return
    name = head[2].rpartition(".")[2].strip('"')
    if _mapper_of(name) is not None or name in _tables:
        count(name, head[1].lower(), cursor.rowcount)


_installed = False


def _install() -> None:
    global _installed  # noqa: PLW0603 - the events of a class are global, too
    if _installed:
        return
    _installed = True
    on_flush(_events)
    event.listen(Session, "before_flush", _begin)
    event.listen(Session, "after_flush", _end)
    event.listen(Session, "after_transaction_end", _end)
    event.listen(Session, "do_orm_execute", _statement)
    event.listen(Engine, "after_cursor_execute", _executed)
