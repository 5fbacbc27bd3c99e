"""What the page of one event shows: every field of it, in sections, with old and new side by side.

Pure, and generous with shapes: metadata has none that we know, so any JSON is shown, without a schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from affidavit.core.ids import format_id
from affidavit.core.row import StoredEvent
from affidavit.core.times import MINUTE, SECOND, format_time
from affidavit.web.ui.compare import MISSING, Kind, compare
from affidavit.web.ui.links import Pair
from affidavit.web.ui.present import (
    Moment,
    RowView,
    Thing,
    actor_title,
    mapping,
    moment,
    present_row,
    session_title,
    text,
    things,
)

__all__ = [
    "Change",
    "ChangedField",
    "DetailView",
    "Entry",
    "Field",
    "Section",
    "Side",
    "Similar",
    "present_detail",
]

AROUND = 5 * MINUTE
"""How far "the minutes around it" reaches to each side, in microseconds."""


class Field(msgspec.Struct, frozen=True):
    """A labelled value of a section; ``code`` sets it in the fixed-width face."""

    label: str
    value: str
    code: bool = False


class Section(msgspec.Struct, frozen=True):
    """Fields that belong together; ``note`` says why there are none."""

    title: str
    fields: tuple[Field, ...]
    note: str = ""


class Side(msgspec.Struct, frozen=True):
    """One side of a change.

    Attributes:
        shape: ``missing``, ``text`` (as written), ``value`` (null, number, true, false) or ``json``.
        value: text for the first shapes, the JSON value for the last.
    """

    shape: str
    value: Any


class Change(msgspec.Struct, frozen=True):
    """One row of a changed field: where in it, what became of it, both sides."""

    path: str
    kind: Kind
    old: Side
    new: Side
    item: bool


class ChangedField(msgspec.Struct, frozen=True):
    """One changed field and its rows; ``cut`` where there are more than are shown."""

    name: str
    rows: tuple[Change, ...]
    cut: bool


class Entry(msgspec.Struct, frozen=True):
    """One key of a JSON object; a value with a ``size`` folds, and starts ``open`` where it is small."""

    key: str
    side: Side
    size: str
    open: bool


class Similar(msgspec.Struct, frozen=True):
    """A link to events that share something with this one."""

    words: str
    what: str
    pairs: tuple[Pair, ...]


class DetailView(msgspec.Struct, frozen=True):
    """The whole page of an event."""

    row: RowView
    recorded: Moment
    reason: str
    changes: tuple[ChangedField, ...]
    metadata: tuple[Entry, ...]
    params: tuple[Entry, ...]
    facts: tuple[Entry, ...]
    resources: tuple[Thing, ...]
    sections: tuple[Section, ...]
    similar: tuple[Similar, ...]
    redacted: tuple[str, ...]
    gone: str


def present_detail(event: StoredEvent, title: Callable[[str], str], *, has_parts: bool = False) -> DetailView:
    """Everything that there is to know of ``event``.

    Args:
        event: as it is stored.
        title: the catalogs' title of an action.
        has_parts: whether other events name this one as their parent.
    """
    groups = event.groups()
    row = present_row(event, title)
    return DetailView(
        row=row,
        recorded=moment(event.recorded_at),
        reason=text(groups.get("reason")),
        changes=tuple(_changed(groups)),
        metadata=tuple(_entries(groups.get("metadata"))),
        params=tuple(_entries(mapping(groups.get("request")).get("params"))),
        facts=tuple(_entries(_decoded(event.facts))),
        resources=tuple(things(groups)),
        sections=tuple(_sections(event, groups, row)),
        similar=tuple(_similar(event, groups, row, has_parts=has_parts)),
        redacted=event.redacted,
        gone=_gone(event),
    )


def _sections(event: StoredEvent, groups: Mapping[str, Any], row: RowView) -> Iterator[Section]:
    erased = set(event.redacted)
    gone = _gone(event)
    yield Section("Who", tuple(_who(groups)), gone if "actor" in erased else "Not recorded")
    yield Section("Where", tuple(_where(groups, row)), gone if "context" in erased else "")
    yield Section("Record", tuple(_record(event)))


def _gone(event: StoredEvent) -> str:
    """What stands where a value is gone."""
    return f"{'Expired' if event.expired else 'Erased'}; its digest remains as proof"


def _who(groups: Mapping[str, Any]) -> Iterator[Field]:
    for label, key in (("Actor", "actor"), ("On behalf of", "on_behalf_of")):
        actor = mapping(groups.get(key))
        if not actor:
            continue
        yield Field(label, text(actor.get("name")) or text(actor.get("email")) or text(actor.get("id")))
        yield from _given(("E-mail", actor.get("email"), False), ("Id", actor.get("id"), True))
        if kind := text(actor.get("type")):
            yield Field("Type", actor_title(kind))
    for label, key in (("Session", "session"), ("Recorded by", "recorded_by")):
        session = mapping(groups.get(key))
        if kind := text(session.get("type")):
            yield Field(label, session_title(kind))
        yield from _given(
            ("Session id", session.get("id"), True),
            ("Token", session.get("token_name"), False),
            ("Token id", session.get("token_id"), True),
            ("Peer address", session.get("address"), True),
        )


def _where(groups: Mapping[str, Any], row: RowView) -> Iterator[Field]:
    location, ci, request = (mapping(groups.get(key)) for key in ("location", "ci", "request"))
    yield Field("Location", row.place.words)
    yield from _given(
        ("Country", location.get("country") or location.get("country_code"), False),
        ("IP address", groups.get("ip"), True),
        ("Client", groups.get("client"), False),
        ("User agent", groups.get("user_agent"), True),
        ("CI platform", ci.get("platform"), False),
        ("Confidence", ci.get("confidence"), False),
        ("Repository", ci.get("repository"), True),
        ("CI run", ci.get("run_id"), True),
        ("Method", request.get("method"), True),
        ("Endpoint", request.get("endpoint"), True),
        ("Request id", request.get("id"), True),
        ("Trace id", groups.get("trace_id"), True),
        ("Span id", groups.get("span_id"), True),
    )


def _record(event: StoredEvent) -> Iterator[Field]:
    yield Field("Event id", format_id(event.id), code=True)
    yield Field("Occurred", event_time(event.occurred_at), code=True)
    yield Field("Recorded", event_time(event.recorded_at), code=True)
    yield Field("Delay", delay(event.recorded_at - event.occurred_at))
    yield Field("Organization", event.organization, code=True)
    yield Field("Project", event.project or "None (organization-level)", code=event.project is not None)
    yield Field("Source", event.source, code=True)
    if event.parent_id is not None:
        yield Field("Parent event", format_id(event.parent_id), code=True)
    yield Field("Imported", "Yes" if event.imported else "No")


def event_time(microseconds: int) -> str:
    """The exact moment, as the API writes it."""
    return format_time(microseconds)


def delay(microseconds: int) -> str:
    """How long after it occurred an event was recorded, in one or two units."""
    if microseconds < SECOND:
        return f"{max(0, microseconds) / 1000:.0f} ms"
    seconds = microseconds // SECOND
    parts = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        amount, seconds = divmod(seconds, length)
        if amount:
            parts.append(f"{amount:,} {unit}")
    return " ".join(parts[:2])


def _given(*fields: tuple[str, Any, bool]) -> Iterator[Field]:
    for label, value, code in fields:
        if text(value):
            yield Field(label, text(value), code)


def _changed(groups: Mapping[str, Any]) -> Iterator[ChangedField]:
    for name, value in mapping(groups.get("changes")).items():
        change = mapping(value)
        comparison = compare(change.get("old"), change.get("new"))
        rows = tuple(
            Change(row.path, row.kind, _side(row.old, row.path), _side(row.new, row.path), row.item)
            for row in comparison.rows
        )
        yield ChangedField(str(name), rows, comparison.cut)


def _side(value: Any, path: str = ".") -> Side:
    if value is MISSING or (value is None and not path):
        return Side("missing", "")
    if isinstance(value, str):
        return Side("text", value) if value else Side("value", '""')
    if isinstance(value, Mapping | list) and value:
        return Side("json", value)
    return Side("value", json.dumps(value, ensure_ascii=False))


_OPEN_KEYS = 12
_LONG_TEXT = 600
_LINE = 80
_LINE_ITEMS = 20


def _entries(value: Any) -> Iterator[Entry]:
    for key, item in mapping(value).items():
        if _fits_a_line(item):
            yield Entry(str(key), Side("value", json.dumps(item, ensure_ascii=False)), "", open=True)
            continue
        side = _side(item)
        short = not isinstance(item, str) and _leaves(item, _OPEN_KEYS + 1) <= _OPEN_KEYS
        yield Entry(str(key), side, _size(item), short)


def _fits_a_line(value: Any) -> bool:
    """Whether a list or object is flat and short."""
    if not isinstance(value, Mapping | list):
        return False
    items = value.values() if isinstance(value, Mapping) else value
    flat = len(value) <= _LINE_ITEMS and not any(isinstance(item, Mapping | list) for item in items)
    return flat and len(json.dumps(value, ensure_ascii=False)) <= _LINE


def _size(value: Any) -> str:
    """The size of an object, a list or a long text in words; nothing for what needs no folding."""
    if not value:
        return ""
    if isinstance(value, Mapping):
        return f"{len(value):,} {'key' if len(value) == 1 else 'keys'}"
    if isinstance(value, list):
        return f"{len(value):,} {'item' if len(value) == 1 else 'items'}"
    return f"{len(value):,} characters" if isinstance(value, str) and len(value) > _LONG_TEXT else ""


def _leaves(value: Any, most: int) -> int:
    """How many plain values there are, counted no further than ``most``."""
    if not isinstance(value, Mapping | list):
        return 1
    count = 0
    for item in value.values() if isinstance(value, Mapping) else value:
        count += _leaves(item, most - count)
        if count >= most:
            break
    return count


def _decoded(facts: str | None) -> Any:
    return json.loads(facts) if facts else None


def _similar(
    event: StoredEvent, groups: Mapping[str, Any], row: RowView, *, has_parts: bool
) -> Iterator[Similar]:
    if row.actor is not None and row.actor.key:
        yield Similar("By this actor", row.actor.name, (("actor", row.actor.key),))
    if row.resource is not None:
        name = row.resource.name or row.resource.id
        yield Similar("On this resource", name, (("resource", row.resource.id),))
    if row.place.ip:
        yield Similar("From this address", row.place.ip, (("ip", row.place.ip),))
    yield Similar("Of this type", row.title, (("action", event.action),))
    session = mapping(groups.get("session"))
    if token := text(session.get("token_id")) or text(session.get("token_name")):
        yield Similar("With this token", text(session.get("token_name")) or token, (("token", token),))
    if key := text(session.get("id")):
        yield Similar("In this session", key, (("session", key),))
    if event.parent_id is not None:
        parent = format_id(event.parent_id)
        yield Similar("The whole operation", parent, (("parent_id", parent),))
    if has_parts:
        yield Similar("Its parts", "events that name this one as parent", (("parent_id", row.id),))
    if request := text(mapping(groups.get("request")).get("id")):
        yield Similar("In this request", request, (("request_id", request),))
    if trace := text(groups.get("trace_id")):
        yield Similar("In this trace", trace, (("trace_id", trace),))
    start, end = max(0, event.occurred_at - AROUND), event.occurred_at + AROUND
    bounds = (("start_date", format_time(start)), ("end_date", format_time(end)))
    yield Similar("Around this time", "five minutes before and after", bounds)
