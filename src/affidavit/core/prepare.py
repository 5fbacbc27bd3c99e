"""From a draft to a row: every rule of the event model is checked here, once.

Pure: the clock's reading, random bytes, the organization's secret and the rights of the caller are
arguments. A broken rule does not stop the check, so that one answer names everything that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from affidavit.core import event as model
from affidavit.core.catalog import CatalogSet, EventType
from affidavit.core.event import Change, Draft, RecordedBy
from affidavit.core.ids import keyed_tail, make_id, microseconds_of
from affidavit.core.mask import mask_value
from affidavit.core.names import NAME_RULE
from affidavit.core.row import ROW_VERSION, Row, encode_group, encode_groups
from affidavit.core.rules import (
    TEXT,
    Check,
    check_context,
    check_people,
    check_resources,
    is_action,
    is_name,
    is_source,
)
from affidavit.core.scan import escape_pointer, find_character
from affidavit.core.times import DAY, MINUTE, TimeError, parse_time
from affidavit.core.walk import Walk
from affidavit.errors import FieldError, InvalidEvent

__all__ = ["Frame", "Rights", "at", "prepare"]

AHEAD = 5 * MINUTE
"""How far ``occurred_at`` may lie ahead of our clock."""
IMPORT_AFTER = 30 * DAY
"""How far ``occurred_at`` may lie back without the ability ``events:import``."""

FACT = re.compile(r"[\x20-\x7e]{1,128}\Z", re.ASCII)

KEY = 255
"""Characters of an idempotency key."""
_CLEAR_BYTES = 700
"""Room for the clear fields and the punctuation of an event's JSON."""


class Rights(msgspec.Struct, frozen=True):
    """What the caller may set beyond the ordinary.

    Attributes:
        may_import: mark events ``imported`` and record what is older than 30 days (``events:import``).
        may_set_id: name the id, and with it ``occurred_at`` (recorder, importers, copies).
        reserved: record actions under the reserved prefixes, with ``facts`` (the product itself).
        verified: say that a CI platform is verified.
        compare: an existing event must have the same content, else it is a conflict.
        unmasked: keys that a vendor's format uses for what is no secret.
    """

    may_import: bool = False
    may_set_id: bool = False
    reserved: bool = False
    verified: bool = False
    compare: bool = True
    unmasked: frozenset[str] = frozenset()


class Frame(msgspec.Struct, frozen=True):
    """What is the same for all events of one request.

    Attributes:
        organization: used where the draft names none.
        fixed: whether the draft may name another one.
        source: used where the draft names none.
        by: the credential that records, or ``None``.
        rights: of the caller.
        now: microseconds since 1970 UTC.
        catalogs: the event types that are known.
        secret: gives the 32 bytes of an organization, for idempotency keys.
        enrich: gives the context fields that can be derived from what is there, such as ``client``.
    """

    organization: str | None
    fixed: bool
    source: str
    by: RecordedBy | None
    rights: Rights
    now: int
    catalogs: CatalogSet
    secret: Callable[[str], bytes]
    enrich: Callable[[Draft], Mapping[str, Any]]


def prepare(draft: Draft, frame: Frame, *, pointer: str, moment: int | None, random: bytes) -> Row:
    """Check one draft and make its row.

    Args:
        draft: what the caller says.
        frame: what holds for the whole request.
        pointer: where the event stands in the caller's document, such as ``/events/3``.
        moment: ``occurred_at`` where the draft gives none, microseconds since 1970 UTC.
        random: 40 random bytes: the secret and the tail of the id.

    Raises:
        InvalidEvent: with one error for each broken rule.
    """
    check = Check(pointer)
    organization = _organization(check, draft, frame)
    event_type = _action(check, draft, frame)
    event_id = _identity(check, draft, frame, organization, moment, random)
    source = _words(check, draft, frame)
    check_people(check, draft)
    resources = check_resources(check, draft)
    context = check_context(check, draft, verified=frame.rights.verified)
    filled = _fill(context, frame.enrich(draft))
    walk = Walk(check, event_type.mask if event_type is not None else (), frame.rights.unmasked)
    _params(draft, walk, context)
    changes = _changes(check, draft, walk)
    details = _details(check, draft, walk)
    if event_type is not None and event_type.requires:
        _required(check, draft, event_type)
    facts = _facts(check, draft, frame)
    if check.errors or event_id is None or organization is None or draft.actor is None:
        raise InvalidEvent(tuple(check.errors))

    texts, size = _encode(check, (_people(draft, frame), resources, context, changes, details))
    if size + _CLEAR_BYTES > model.MAX_EVENT_BYTES:
        message = f"is {size:,} bytes of JSON; at most {model.MAX_EVENT_BYTES:,} are allowed"
        raise InvalidEvent((FieldError(pointer, "too_large", message),))
    values = (
        event_id,
        ROW_VERSION,
        organization,
        draft.project,
        draft.action,
        draft.outcome,
        frame.catalogs.severity(draft.action, draft.outcome, draft.severity),
        source,
        1 if draft.imported else 0,
        draft.parent_id.bytes if draft.parent_id is not None else None,
        facts,
        draft.actor.id,
        *texts,
        random[:32],
        None,
    )
    return Row(event_id, organization, values, None, key_given(draft), frame.rights.compare, filled, size)


def at(row: Row, moment: int) -> Row:
    """A row whose event nobody gave a time or a name, as of another moment.

    Args:
        row: that :func:`prepare` made.
        moment: microseconds since 1970 UTC.
    """
    event_id = make_id(moment, int.from_bytes(row.id[8:], "big"))
    values = (event_id, *row.values[1:])
    return Row(
        event_id, row.organization, values, row.recorded_at, row.given, row.compare, row.filled, row.size
    )


def key_given(draft: Draft) -> bool:
    """Whether the caller named the event, so that it may exist already."""
    return draft.id is not None or draft.idempotency_key is not None


def _words(check: Check, draft: Draft, frame: Frame) -> str:
    """Project, outcome, severity and source; returns the source."""
    if draft.project is not None and not is_name(draft.project):
        check.bad("project", "pattern", NAME_RULE, draft.project)
    if draft.outcome not in model.OUTCOMES:
        check.bad("outcome", "enum", "must be success or failure", draft.outcome)
    if draft.severity is not None and draft.severity not in model.SEVERITIES:
        check.bad("severity", "enum", "must be info, warning or critical", draft.severity)
    source = frame.source if draft.source is None else draft.source
    if not is_source(source):
        check.bad("source", "pattern", "must match [a-z][a-z0-9_]{0,31}", source)
    return source


def _fill(context: dict[str, Any], derived: Mapping[str, Any]) -> frozenset[str]:
    """Put what can be derived where nothing was said; returns the names of these fields."""
    if not derived:
        return _NOTHING
    added = {name: value for name, value in derived.items() if name not in context}
    context.update(added)
    return frozenset(added)


_NOTHING: frozenset[str] = frozenset()


def _people(draft: Draft, frame: Frame) -> dict[str, Any]:
    """The group of the actor."""
    people: dict[str, Any] = {"actor": draft.actor}
    if draft.on_behalf_of is not None:
        people["on_behalf_of"] = draft.on_behalf_of
    if draft.session is not None:
        people["session"] = draft.session
    if frame.by is not None:
        people["recorded_by"] = frame.by
    return people


def _params(draft: Draft, walk: Walk, context: dict[str, Any]) -> None:
    """Put the masked parameters of the request into the context."""
    if draft.request is not None and draft.request.params is not None:
        params = walk.object("request/params", draft.request.params, 3)
        if params is not draft.request.params:
            context["request"] = msgspec.structs.replace(draft.request, params=params)


def _organization(check: Check, draft: Draft, frame: Frame) -> str | None:
    name = draft.organization if draft.organization is not None else frame.organization
    if name is None:
        check.bad("organization", "required", "name the organization that the event belongs to")
    elif not is_name(name):
        check.bad("organization", "pattern", NAME_RULE, name)
    elif frame.fixed and name != frame.organization:
        check.bad("organization", "scope", "is not one that this credential may record for", name)
    else:
        return name
    return None


def _action(check: Check, draft: Draft, frame: Frame) -> EventType | None:
    action = draft.action
    if not is_action(action):
        check.bad(
            "action",
            "pattern",
            "must be 3 to 128 characters: segments of a-z 0-9 _ - joined by dots, such as user.create",
            action,
        )
        return None
    if action.startswith(model.RESERVED) and not frame.rights.reserved:
        check.bad(
            "action",
            "reserved",
            "actions under audit., log., access. and detection. are the product's own",
            action,
        )
    return frame.catalogs.event_type(action)


def _identity(
    check: Check, draft: Draft, frame: Frame, organization: str | None, moment: int | None, random: bytes
) -> bytes | None:
    if draft.imported and not frame.rights.may_import:
        check.bad("imported", "ability", "needs the ability events:import", True)
    parent: object = draft.parent_id
    if parent is not None and not isinstance(parent, UUID):
        check.bad("parent_id", "type", "must be a UUID", parent)
    occurred = moment
    if draft.occurred_at is not None:
        occurred = _occurred(check, draft.occurred_at, frame)
    key = draft.idempotency_key
    if draft.id is not None:
        return _named(check, draft, frame, occurred)
    if key is not None:
        check.text("idempotency_key", key, KEY, least=1)
        if draft.occurred_at is None:
            check.bad(
                "occurred_at",
                "required",
                "an idempotency_key needs an explicit occurred_at; the two together are the identity",
            )
    if occurred is None or check.errors or organization is None:
        return None
    if key is not None:
        if find_character(key, None) is not None or "\0" in key:
            check.bad("idempotency_key", "characters", "holds U+0000 or a lone surrogate", key)
            return None
        return make_id(occurred, keyed_tail(frame.secret(organization), key))
    return make_id(occurred, int.from_bytes(random[32:40], "big"))


def _occurred(check: Check, value: Any, frame: Frame) -> int | None:
    try:
        occurred = parse_time(value)
    except TimeError as error:
        check.bad("occurred_at", "time", str(error), value)
        return None
    if occurred > frame.now + AHEAD:
        check.bad("occurred_at", "in_future", "lies more than 5 minutes ahead of the server's clock", value)
    elif occurred < frame.now - IMPORT_AFTER and not frame.rights.may_import:
        check.bad(
            "occurred_at",
            "too_old",
            "lies more than 30 days back, which needs the ability events:import",
            value,
        )
    else:
        return occurred
    return None


def _named(check: Check, draft: Draft, frame: Frame, occurred: int | None) -> bytes | None:
    if not frame.rights.may_set_id:
        check.bad(
            "id",
            "forbidden",
            "is ours to give; name the event by idempotency_key and occurred_at",
            str(draft.id),
        )
        return None
    name: object = draft.id
    if not isinstance(name, UUID) or name.version != 7:
        check.bad("id", "uuid7", "must be a UUID of version 7", str(name))
        return None
    if draft.occurred_at is None:
        _occurred(check, microseconds_of(name.bytes), frame)
    elif occurred is not None and microseconds_of(name.bytes) != occurred:
        check.bad("id", "time", "was not made for the moment of occurred_at", str(name))
    return name.bytes


def _changes(check: Check, draft: Draft, walk: Walk) -> dict[str, Any]:
    changes: object = draft.changes
    if changes is None or changes == {}:
        return {}
    if not isinstance(changes, dict):
        check.bad("changes", "type", "must be an object of fields with old and new")
        return {}
    kept: dict[str, Any] = {}
    for field, change in changes.items():
        if not isinstance(field, str) or not isinstance(change, Change):
            check.bad(f"changes/{field}", "type", "must be an object with old and new")
            continue
        where = f"changes/{escape_pointer(field)}"
        old = walk.value(f"{where}/old", change.old, 4)
        new = walk.value(f"{where}/new", change.new, 4)
        if walk.secret(field):
            old, new = mask_value(old), mask_value(new)
        kept[field] = change if old is change.old and new is change.new else Change(old=old, new=new)
    return {"changes": kept}


def _details(check: Check, draft: Draft, walk: Walk) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if draft.description is not None:
        check.text("description", draft.description, TEXT)
        details["description"] = draft.description
    if draft.reason is not None:
        check.text("reason", draft.reason, TEXT)
        details["reason"] = draft.reason
    metadata: object = draft.metadata
    if isinstance(metadata, dict):
        details["metadata"] = walk.object("metadata", metadata, 2)
    elif metadata is not None:
        check.bad("metadata", "type", "must be a JSON object", type(metadata).__name__)
    return details


def _required(check: Check, draft: Draft, event_type: EventType) -> None:
    for field in event_type.requires:
        if not getattr(draft, field):
            check.bad(field, "required", f"{event_type.action} requires it")


def _facts(check: Check, draft: Draft, frame: Frame) -> str | None:
    if draft.facts is None:
        return None
    if not frame.rights.reserved or not draft.action.startswith(model.RESERVED):
        check.bad("facts", "forbidden", "are the product's own; put what you know into metadata")
        return None
    for key, value in draft.facts.items():
        if not FACT.match(key) or type(value) not in (str, int):
            check.bad(f"facts/{key}", "type", "must be a text or an integer under an ASCII key", value)
    return encode_group(draft.facts).decode() if not check.errors else None


def _encode(check: Check, groups: tuple[dict[str, Any], ...]) -> tuple[list[str], int]:
    """The texts of the groups, and how many bytes they are together."""
    try:
        lines = encode_groups(groups)
    except UnicodeEncodeError:
        raise _character(check, groups, None, "surrogate", "holds a lone surrogate, no character") from None
    if b"\\u0000" in lines and find_character(msgspec.to_builtins(groups), "\0") is not None:
        raise _character(check, groups, "\0", "nul", "holds U+0000, which is not allowed in text")
    texts = lines.decode().split("\n")
    texts.pop()
    return texts, len(lines) - len(texts)


def _character(
    check: Check, groups: tuple[dict[str, Any], ...], character: str | None, rule: str, message: str
) -> InvalidEvent:
    pointers = (find_character(msgspec.to_builtins(fields), character) for fields in groups)
    pointer = next((found for found in pointers if found is not None), "")
    return InvalidEvent((FieldError(check.pointer + pointer, rule, message),))
