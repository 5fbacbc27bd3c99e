"""The stored form of an event: clear columns, five groups as exact text, one secret.

A :class:`Row` is on its way into a store, a :class:`StoredEvent` came out of one. The groups are kept as
the exact text that is hashed (never re-serialised), so an answer is spliced together from them.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from affidavit.core.event import GROUPS
from affidavit.core.forms import MAX_MICROSECONDS
from affidavit.core.groups import GROUP_FIELDS, fields_of
from affidavit.core.ids import format_id, microseconds_of
from affidavit.core.times import DAY, format_time

__all__ = [
    "COLUMNS",
    "LATE_AFTER",
    "ROW_VERSION",
    "Place",
    "Recorded",
    "Row",
    "StoredEvent",
    "encode_event",
    "encode_group",
    "encode_groups",
]

ROW_VERSION = 1
"""The version of the stored form that this program writes."""

LATE_AFTER = DAY
"""An event that occurred longer than this before it was recorded is late, in microseconds."""

COLUMNS = (
    "id",
    "version",
    "organization",
    "project",
    "action",
    "outcome",
    "severity",
    "source",
    "imported",
    "parent_id",
    "facts",
    "actor_id",
    "actor",
    "resources",
    "context",
    "changes",
    "details",
    "secret",
    "remains",
    "recorded_at",
)
"""The columns of ``affidavit_events`` in the order of every INSERT and SELECT, ``seq`` apart."""

_canonical = msgspec.json.Encoder(order="sorted")
encode_group = _canonical.encode
"""Canonical JSON (docs/spec/stored-form.md): no white space, keys sorted by code point at every depth,
non-ASCII unescaped."""
encode_groups = _canonical.encode_lines
"""The same of several objects, each followed by a line feed (one within a text is escaped)."""

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class Recorded(NamedTuple):
    """What became of one event that was handed in."""

    id: bytes
    duplicate: bool


class Row(msgspec.Struct, frozen=True, gc=False):
    """One event ready to be stored.

    Attributes:
        id: 16 bytes.
        organization: its tenant.
        values: the values of :data:`COLUMNS` without the last, ``recorded_at``.
        recorded_at: microseconds since 1970 UTC; ``None`` lets the store read its clock at the insert.
        given: whether the caller named the event (key or id), so that it may exist already.
        compare: whether an existing event must have the same content (else it is simply a duplicate).
        filled: context fields that we filled in ourselves; they do not count when contents are compared.
        size: bytes of the five groups.
    """

    id: bytes
    organization: str
    values: tuple[Any, ...]
    recorded_at: int | None
    given: bool
    compare: bool
    filled: frozenset[str]
    size: int


class Place(NamedTuple):
    """Where an event stands in the log.

    Attributes:
        tree: the number of its tree, inside the store.
        index: of its leaf.
        hash: of its leaf.
        published: whether a signed checkpoint covers it.
    """

    tree: int
    index: int  # type: ignore[assignment]  # the word of RFC 6962, and no method of tuples here
    hash: bytes
    published: bool


class StoredEvent:
    """One row of the event table, its groups decoded on demand.

    Attributes are named as the columns; times are microseconds since 1970 UTC; a group that was erased or has
    expired is ``None``. ``place`` is ``None`` until a reader of the log has set it, and while it is pending;
    ``expired`` says that all values are gone because of their age, where such a reader has found that out.
    """

    __slots__ = ("_groups", "_unreadable", "_values", "expired", "place", "seq")

    seq: int
    place: Place | None
    expired: bool
    _values: tuple[Any, ...]
    _groups: dict[str, Any] | None
    _unreadable: tuple[str, ...]

    def __init__(self, seq: int, values: tuple[Any, ...]) -> None:
        self.seq = seq
        self.place = None
        self.expired = False
        self._values = values
        self._groups = None
        self._unreadable = ()

    id: bytes = property(lambda self: self._values[0])  # type: ignore[assignment]
    version: int = property(lambda self: self._values[1])  # type: ignore[assignment]
    organization: str = property(lambda self: self._values[2])  # type: ignore[assignment]
    project: str | None = property(lambda self: self._values[3])  # type: ignore[assignment]
    action: str = property(lambda self: self._values[4])  # type: ignore[assignment]
    outcome: str = property(lambda self: self._values[5])  # type: ignore[assignment]
    severity: str = property(lambda self: self._values[6])  # type: ignore[assignment]
    source: str = property(lambda self: self._values[7])  # type: ignore[assignment]
    imported: bool = property(lambda self: bool(self._values[8]))  # type: ignore[assignment]
    parent_id: bytes | None = property(lambda self: self._values[9])  # type: ignore[assignment]
    facts: str | None = property(lambda self: self._values[10])  # type: ignore[assignment]
    actor_id: str | None = property(lambda self: self._values[11])  # type: ignore[assignment]
    actor: str | None = property(lambda self: self._values[12])  # type: ignore[assignment]
    resources: str | None = property(lambda self: self._values[13])  # type: ignore[assignment]
    context: str | None = property(lambda self: self._values[14])  # type: ignore[assignment]
    changes: str | None = property(lambda self: self._values[15])  # type: ignore[assignment]
    details: str | None = property(lambda self: self._values[16])  # type: ignore[assignment]
    secret: bytes | None = property(lambda self: self._values[17])  # type: ignore[assignment]
    remains: str | None = property(lambda self: self._values[18])  # type: ignore[assignment]
    recorded_at: int = property(lambda self: self._values[19])  # type: ignore[assignment]

    @property
    def values(self) -> tuple[Any, ...]:
        """The columns in the order of :data:`COLUMNS`."""
        return self._values

    @property
    def occurred_at(self) -> int:
        """When it happened, from the id."""
        return microseconds_of(self._values[0])

    @property
    def state(self) -> str:
        """``pending``, ``sequenced`` or ``published``."""
        if self.place is None:
            return "pending"
        return "published" if self.place.published else "sequenced"

    @property
    def late(self) -> bool:
        """Recorded more than 24 hours after it occurred."""
        return self.recorded_at - self.occurred_at > LATE_AFTER

    @property
    def texts(self) -> tuple[str | None, ...]:
        """The five group texts in the order of ``GROUPS``."""
        return self._values[12:17]

    def groups(self) -> dict[str, Any]:
        """The fields of all groups, decoded, in one dictionary; erased and unreadable ones are missing."""
        if self._groups is None:
            merged: dict[str, Any] = {}
            for name, text in zip(GROUPS, self._values[12:17], strict=True):
                if text is None or text == "{}":
                    continue
                fields = fields_of(name, text)
                if fields is None:
                    self._unreadable += (name,)
                else:
                    merged.update(fields)
            self._groups = merged
        return self._groups

    @property
    def redacted(self) -> tuple[str, ...]:
        """The groups whose values are gone."""
        return tuple(name for name, text in zip(GROUPS, self.texts, strict=True) if text is None)

    @property
    def inconsistent(self) -> tuple[str, ...]:
        """What somebody wrote by SQL: groups that are none, a query column that differs from its group."""
        actor = self.groups().get("actor")
        said = actor["id"] if actor is not None else None
        return self._unreadable if said == self.actor_id else (*self._unreadable, "actor_id")


def encode_event(event: StoredEvent, title: str | None = None) -> bytes:
    """The event as one JSON object of the API: clear fields first, then the fields of the groups.

    Absent fields are left out; the texts of the groups go in as they are stored.

    Args:
        event: the stored row.
        title: the catalog's title of the action.
    """
    values = event._values
    inconsistent = event.inconsistent
    if not _is_plain(values):
        return _encode_strange(event, title)
    parts = [
        f'{{"id":"{format_id(values[0])}","organization":"{values[2]}"',
        f'"project":"{values[3]}"' if values[3] is not None else "",
        f'"action":"{values[4]}"',
        f'"title":{encode_group(title).decode()}' if title is not None else "",
        f'"occurred_at":"{format_time(event.occurred_at)}"',
        f'"recorded_at":"{format_time(values[19])}"',
        f'"outcome":"{values[5]}","severity":"{values[6]}","source":"{values[7]}"',
        '"imported":true' if values[8] else "",
        f'"parent_id":"{format_id(values[9])}"' if values[9] is not None else "",
        f'"state":"{event.state}"',
        f'"index":{event.place.index}' if event.place is not None else "",
        f'"late":{"true" if event.late else "false"}',
        *(
            _members(name, text)
            for name, text in zip(GROUPS, values[12:17], strict=True)
            if text is not None and name not in inconsistent
        ),
        f'"facts":{values[10]}' if values[10] is not None else "",
    ]
    if event.expired:
        parts.append('"expired":true')
    elif event.redacted:
        parts.append(f'"redacted":{encode_group(event.redacted).decode()}')
    if inconsistent:
        parts.append(f'"inconsistent":{encode_group(inconsistent).decode()}')
    return (",".join(filter(None, parts)) + "}").encode()


def _members(name: str, text: str) -> str:
    """A stored group among the members of the event: its text, or written anew where a key may be double."""
    if (
        text[:2] in ('{"', "{}")
        and text[-1] == "}"
        and "\\u" not in text
        and all(text.count(f'"{field}":') < 2 for field in GROUP_FIELDS[name])
    ):
        return text[1:-1]
    return encode_group(fields_of(name, text)).decode()[1:-1]


_plain = re.compile(r"[A-Za-z0-9._:-]*\Z", re.ASCII).match


def _is_plain(values: tuple[Any, ...]) -> bool:
    """Whether the clear columns can stand in JSON as they are; only SQL can have written others."""
    event_id, project, parent_id, facts, recorded_at = values[0], values[3], values[9], values[10], values[19]
    try:
        return (
            _plain("".join(values[4:8]) + values[2] + (project or "")) is not None
            and len(event_id) == 16
            and type(event_id) is bytes
            and (parent_id is None or type(parent_id) is bytes)
            and (facts is None or type(_decode_object(facts)) is dict)
            and 0 <= recorded_at <= MAX_MICROSECONDS
        )
    except (TypeError, msgspec.MsgspecError, UnicodeError):
        return False


def _encode_strange(event: StoredEvent, title: str | None) -> bytes:
    """An event whose clear columns are none: everything as text, and said so."""
    shown: dict[str, Any] = {
        name: value.hex() if isinstance(value, bytes) else value if isinstance(value, int) else str(value)
        for name, value in zip(COLUMNS[:11], event.values, strict=False)
        if value is not None
    }
    shown |= {"title": title or "", "state": event.state, "recorded_at": str(event.recorded_at)}
    shown["inconsistent"] = ["clear columns", *event.inconsistent]
    return encode_group(shown | event.groups())
