"""What waited in a spool of an app, as the worker reads it: a file that the app alone could write. Pure.

The app's recorder checked these events when it made them. Whoever stores them for it has more rights than the
app, so that whatever the app may not record is refused here.
"""

from __future__ import annotations

import msgspec

from affidavit.core.event import GROUPS, MAX_EVENT_BYTES, OUTCOMES, RESERVED, SEVERITIES
from affidavit.core.groups import check_group
from affidavit.core.ids import microseconds_of
from affidavit.core.prepare import AHEAD
from affidavit.core.row import COLUMNS, ROW_VERSION, Row
from affidavit.core.rules import is_action, is_name, is_source
from affidavit.core.unsound import Malformed

__all__ = ["emptied", "fault_of", "row_in"]

_decode = msgspec.msgpack.Decoder(Row).decode
_encode = msgspec.msgpack.Encoder().encode
_object = msgspec.json.Decoder(dict[str, object]).decode
_AT = {name: number for number, name in enumerate(COLUMNS)}
_PLAIN = len(COLUMNS) - 1
"""Columns that a row brings: all but ``recorded_at``."""


def row_in(body: bytes) -> Row | None:
    """The event of an entry; ``None`` where it is none, such as an entry of a client that sends over HTTP."""
    try:
        row = _decode(body)
    except msgspec.MsgspecError:
        return None
    return row if len(row.values) == _PLAIN else None


def fault_of(row: Row, now: int) -> str | None:
    """What an app may not record, or no recorder makes; ``None`` where nothing is wrong.

    Args:
        row: of a spool.
        now: microseconds since 1970 UTC.
    """
    of = dict(zip(COLUMNS, row.values, strict=False))
    if of["version"] != ROW_VERSION:
        return f"version {of['version']!r} is not {ROW_VERSION}"
    if (row.id, row.organization) != (of["id"], of["organization"]) or len(row.id) != 16:
        return "the row and its columns differ"
    if microseconds_of(row.id) > now + AHEAD:
        return "it lies in the future"
    if not is_action(of["action"]) or str(of["action"]).startswith(RESERVED):
        return "the action is reserved, or none"
    if of["facts"] is not None or of["imported"] or row.recorded_at is not None:
        return "facts, imported and recorded_at are not an app's to set"
    clear = (
        is_name(row.organization)
        and (of["project"] is None or is_name(of["project"]))
        and of["outcome"] in OUTCOMES
        and of["severity"] in SEVERITIES
        and is_source(of["source"])
        and (of["parent_id"] is None or _is_bytes(of["parent_id"], 16))
        and _is_bytes(of["secret"], 32)
        and of["remains"] is None
    )
    return _group_fault(row) if clear else "a clear field breaks its rule"


def _is_bytes(value: object, length: int) -> bool:
    return isinstance(value, bytes) and len(value) == length


def _group_fault(row: Row) -> str | None:
    texts = [row.values[_AT[name]] for name in GROUPS]
    if not all(isinstance(text, str) for text in texts) or sum(map(len, texts)) > MAX_EVENT_BYTES:
        return "a group is missing, or all are too long"
    try:
        for number, text in enumerate(texts):
            check_group(number, text.encode())
    except (Malformed, UnicodeEncodeError):
        return "a group is not of its shape"
    who = _object(texts[0])
    actor = who.get("actor")
    if "recorded_by" in who or row.values[_AT["actor_id"]] != (
        actor["id"] if isinstance(actor, dict) else None
    ):
        return "the credential is not an app's to set, and the actor's id stands in both places"
    return None


def emptied(row: Row, groups: frozenset[str]) -> bytes:
    """The entry of an event without what some of its groups hold.

    Args:
        row: of an entry.
        groups: names.
    """
    values = list(row.values)
    for name in groups:
        values[_AT[name]] = "{}"
    if "actor" in groups:
        values[_AT["actor_id"]] = None
    return _encode(msgspec.structs.replace(row, values=tuple(values)))
