"""From a draft to a row: every rule of the event model is checked here, once.

Pure: the clock's reading, random bytes, the organization's secret and the rights of the caller are arguments. A
broken rule does not stop the check, so that one answer names everything that is wrong.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from affidavit.core import event as model
from affidavit.core.catalog import CatalogSet, EventType
from affidavit.core.event import Actor, Change, Draft, RecordedBy, Resource
from affidavit.core.ids import keyed_tail, make_id, microseconds_of
from affidavit.core.names import NAME_RULE, name_is_valid
from affidavit.core.mask import is_secret, mask_value
from affidavit.core.row import ROW_VERSION, Row, encode_group
from affidavit.core.scan import escape_pointer, find_character
from affidavit.core.times import DAY, MINUTE, TimeError, parse_time
from affidavit.errors import VALUE_CHARACTERS, FieldError, InvalidEvent

__all__ = ["Frame", "Rights", "check_organization", "normal_address", "prepare"]

AHEAD = 5 * MINUTE
"""How far ``occurred_at`` may lie ahead of our clock."""
IMPORT_AFTER = 30 * DAY
"""How far ``occurred_at`` may lie back without the ability ``events:import``."""

ACTION = re.compile(r"(?=.{3,128}\Z)[a-z0-9_-]+(?:\.[a-z0-9_-]+)+\Z", re.ASCII)
SOURCE = re.compile(r"[a-z][a-z0-9_]{0,31}\Z", re.ASCII)
FACT = re.compile(r"[\x20-\x7e]{1,128}\Z", re.ASCII)

ID, NAME_LENGTH, EMAIL, TYPE, TEXT, KEY = 1024, 1024, 320, 128, 1000, 255


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


check_organization = lru_cache(maxsize=4096)(name_is_valid)
"""Whether a name fits an organization or a project."""


@lru_cache(maxsize=8192)
def _is_action(action: str) -> bool:
    return ACTION.match(action) is not None


@lru_cache(maxsize=1024)
def _is_source(source: str) -> bool:
    return SOURCE.match(source) is not None


@lru_cache(maxsize=16384)
def normal_address(text: str) -> str | None:
    """The shortest form of an IP address, IPv4 unwrapped from IPv6, without a zone; ``None`` where it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
    return str(address)


class _Check:
    """Collects the broken rules of one event."""

    __slots__ = ("errors", "pointer")

    def __init__(self, pointer: str) -> None:
        self.pointer = pointer
        self.errors: list[FieldError] = []

    def bad(self, field: str, rule: str, message: str, value: Any = None) -> None:
        self.errors.append(FieldError(f"{self.pointer}/{field}", rule, message, _quoted(field, value)))

    def text(self, field: str, value: object, limit: int, *, least: int = 0) -> None:
        """A text of ``least`` to ``limit`` characters."""
        if not isinstance(value, str):
            self.bad(field, "type", f"must be a text, not {type(value).__name__}", value)
        elif len(value) > limit:
            self.bad(field, "too_long", f"is {len(value):,} characters long; at most {limit:,} are allowed", value)
        elif len(value) < least:
            self.bad(field, "required", "must not be empty", value)


def _quoted(field: str, value: Any) -> Any:
    """The refused value as an error may show it: short, and never a secret."""
    if any(is_secret(part) for part in field.split("/")):
        return mask_value(value) if not isinstance(value, dict) else None
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, float) or math.isfinite(value) else str(value)
    text = value if isinstance(value, str) else str(value)
    return text.encode("utf-8", "backslashreplace").decode()[:VALUE_CHARACTERS]


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
    check = _Check(pointer)
    organization = _organization(check, draft, frame)
    if draft.project is not None and not (isinstance(draft.project, str) and check_organization(draft.project)):
        check.bad("project", "pattern", NAME_RULE, draft.project)
    event_type = _action(check, draft, frame)
    event_id = _identity(check, draft, frame, organization, moment, random)
    if draft.outcome not in model.OUTCOMES:
        check.bad("outcome", "enum", "must be success or failure", draft.outcome)
    if draft.severity is not None and draft.severity not in model.SEVERITIES:
        check.bad("severity", "enum", "must be info, warning or critical", draft.severity)
    source = frame.source if draft.source is None else draft.source
    if not isinstance(source, str) or not _is_source(source):
        check.bad("source", "pattern", "must match [a-z][a-z0-9_]{0,31}", source)
    _people(check, draft, frame)
    resources = _resources(check, draft)
    context, filled = _context(check, draft, frame)
    extra = event_type.mask if event_type is not None else ()
    walk = _Walk(check, frozenset(extra), frame.rights.unmasked)
    if draft.request is not None and draft.request.params is not None:
        params = walk.object("request/params", draft.request.params, 3)
        if params is not draft.request.params:
            context["request"] = msgspec.structs.replace(draft.request, params=params)
    changes = _changes(check, draft, walk)
    details = _details(check, draft, walk)
    if event_type is not None and event_type.requires:
        _required(check, draft, event_type)
    facts = _facts(check, draft, frame)
    if check.errors:
        raise InvalidEvent(tuple(check.errors))

    actor: dict[str, Any] = {"actor": draft.actor}
    if draft.on_behalf_of is not None:
        actor["on_behalf_of"] = draft.on_behalf_of
    if draft.session is not None:
        actor["session"] = draft.session
    if frame.by is not None:
        actor["recorded_by"] = frame.by
    texts = _encode(check, {"actor": actor, "resources": resources, "context": context, "changes": changes, "details": details})
    size = sum(map(len, texts))
    # The clear fields and punctuation of the wire form are at most about 700 bytes.
    if size + 700 > model.MAX_EVENT_BYTES:
        raise InvalidEvent(
            (FieldError(pointer, "too_large", f"is {size:,} bytes of JSON; at most {model.MAX_EVENT_BYTES:,} are allowed"),)
        )
    assert event_id is not None and organization is not None and draft.actor is not None
    severity = frame.catalogs.severity(draft.action, draft.outcome, draft.severity)
    values = (
        event_id,
        ROW_VERSION,
        organization,
        draft.project,
        draft.action,
        draft.outcome,
        severity,
        source,
        1 if draft.imported else 0,
        draft.parent_id.bytes if draft.parent_id is not None else None,
        facts,
        draft.actor.id,
        *texts,
        random[:32],
        None,
    )
    given = key_given(draft)
    return Row(event_id, organization, values, None, given, frame.rights.compare, filled, size)


def key_given(draft: Draft) -> bool:
    """Whether the caller named the event, so that it may exist already."""
    return draft.id is not None or draft.idempotency_key is not None


def _organization(check: _Check, draft: Draft, frame: Frame) -> str | None:
    name = draft.organization if draft.organization is not None else frame.organization
    if name is None:
        check.bad("organization", "required", "name the organization that the event belongs to")
    elif not isinstance(name, str) or not check_organization(name):
        check.bad(
            "organization",
            "pattern",
            NAME_RULE,
            name,
        )
    elif frame.fixed and name != frame.organization:
        check.bad("organization", "scope", "is not one that this credential may record for", name)
    else:
        return name
    return None


def _action(check: _Check, draft: Draft, frame: Frame) -> EventType | None:
    action = draft.action
    if not isinstance(action, str) or not _is_action(action):
        check.bad(
            "action",
            "pattern",
            "must be 3 to 128 characters: two or more segments of a-z 0-9 _ - joined by dots, such as user.create",
            action,
        )
        return None
    if action.startswith(model.RESERVED) and not frame.rights.reserved:
        check.bad("action", "reserved", "actions under audit., log., access. and detection. are the product's own", action)
    return frame.catalogs.event_type(action)


def _identity(
    check: _Check, draft: Draft, frame: Frame, organization: str | None, moment: int | None, random: bytes
) -> bytes | None:
    if draft.imported and not frame.rights.may_import:
        check.bad("imported", "ability", "needs the ability events:import", True)
    if draft.parent_id is not None and not isinstance(draft.parent_id, UUID):
        check.bad("parent_id", "type", "must be a UUID", draft.parent_id)
    occurred = moment
    if draft.occurred_at is not None:
        occurred = _occurred(check, draft.occurred_at, frame)
    key = draft.idempotency_key
    if draft.id is not None:
        return _named(check, draft, frame, occurred)
    if key is not None:
        check.text("idempotency_key", key, KEY, least=1)
        if draft.occurred_at is None:
            check.bad("occurred_at", "required", "an idempotency_key needs an explicit occurred_at; the two together are the identity")
    if occurred is None or check.errors or organization is None:
        return None
    if key is not None:
        if (found := find_character(key, None) or find_character(key, "\0")) is not None:
            check.bad("idempotency_key", "characters", "holds U+0000 or a lone surrogate", key)
            return None
        return make_id(occurred, keyed_tail(frame.secret(organization), key))
    return make_id(occurred, int.from_bytes(random[32:40], "big"))


def _occurred(check: _Check, value: Any, frame: Frame) -> int | None:
    try:
        occurred = parse_time(value)
    except TimeError as error:
        check.bad("occurred_at", "time", str(error), value)
        return None
    if occurred > frame.now + AHEAD:
        check.bad("occurred_at", "in_future", "lies more than 5 minutes ahead of the server's clock", value)
    elif occurred < frame.now - IMPORT_AFTER and not frame.rights.may_import:
        check.bad("occurred_at", "too_old", "lies more than 30 days back, which needs the ability events:import", value)
    else:
        return occurred
    return None


def _named(check: _Check, draft: Draft, frame: Frame, occurred: int | None) -> bytes | None:
    if not frame.rights.may_set_id:
        check.bad("id", "forbidden", "is ours to give; name the event by idempotency_key and occurred_at", str(draft.id))
        return None
    if not isinstance(draft.id, UUID) or draft.id.version != 7:
        check.bad("id", "uuid7", "must be a UUID of version 7", str(draft.id))
        return None
    if draft.occurred_at is None:
        occurred = _occurred(check, microseconds_of(draft.id.bytes), frame)
    elif occurred is not None and microseconds_of(draft.id.bytes) != occurred:
        check.bad("id", "time", "was not made for the moment of occurred_at", str(draft.id))
    return draft.id.bytes


def _people(check: _Check, draft: Draft, frame: Frame) -> None:
    if draft.actor is None:
        check.bad("actor", "required", 'say who did it; where nobody knows: {"type": "anonymous", "id": "anonymous"}')
    else:
        _person(check, "actor", draft.actor)
    if draft.on_behalf_of is not None:
        _person(check, "on_behalf_of", draft.on_behalf_of)
    session = draft.session
    if session is not None:
        check.text("session/type", session.type, TYPE, least=1)
        for name, value in (("id", session.id), ("token_id", session.token_id), ("token_name", session.token_name)):
            if value is not None:
                check.text(f"session/{name}", value, ID)


def _person(check: _Check, field: str, actor: Actor) -> None:
    if actor.type not in model.ACTOR_TYPES:
        check.bad(f"{field}/type", "enum", f"must be one of {', '.join(model.ACTOR_TYPES)}", actor.type)
    check.text(f"{field}/id", actor.id, ID, least=1)
    if actor.name is not None:
        check.text(f"{field}/name", actor.name, NAME_LENGTH)
    if actor.email is not None:
        check.text(f"{field}/email", actor.email, EMAIL)


def _resources(check: _Check, draft: Draft) -> dict[str, Any]:
    resources = draft.resources
    if not resources:
        return {}
    if len(resources) > model.MAX_RESOURCES:
        check.bad("resources", "too_many", f"names {len(resources)} resources; at most 20 are allowed")
    for number, resource in enumerate(resources):
        if not isinstance(resource, Resource):
            check.bad(f"resources/{number}", "type", "must be a resource of type, id and name")
            continue
        check.text(f"resources/{number}/type", resource.type, TYPE, least=1)
        check.text(f"resources/{number}/id", resource.id, ID, least=1)
        if resource.name is not None:
            check.text(f"resources/{number}/name", resource.name, NAME_LENGTH)
    return {"resources": resources}


_CONTEXT_TEXTS = (("user_agent", TEXT), ("client", 128), ("trace_id", 128), ("span_id", 128))


def _context(check: _Check, draft: Draft, frame: Frame) -> tuple[dict[str, Any], frozenset[str]]:
    context: dict[str, Any] = {}
    if draft.ip is not None:
        address = normal_address(draft.ip) if isinstance(draft.ip, str) else None
        if address is None:
            check.bad("ip", "address", "must be an IPv4 or IPv6 address without port or zone", draft.ip)
        context["ip"] = address
    for name, limit in _CONTEXT_TEXTS:
        value = getattr(draft, name)
        if value is not None:
            check.text(name, value, limit)
            context[name] = value
    for part, limit in (("location", 256), ("ci", 1024)):
        value = getattr(draft, part)
        if value is not None:
            for name in value.__struct_fields__:
                if (text := getattr(value, name)) is not None:
                    check.text(f"{part}/{name}", text, limit)
            context[part] = value
    if draft.ci is not None:
        if draft.ci.confidence == "verified" and not frame.rights.verified:
            check.bad("ci/confidence", "forbidden", "verified is ours to say; send token, declared or guess", "verified")
        elif draft.ci.confidence not in model.CONFIDENCES:
            check.bad("ci/confidence", "enum", f"must be one of {', '.join(model.CONFIDENCES)}", draft.ci.confidence)
    request = draft.request
    if request is not None:
        for name, limit in (("id", 1024), ("method", 64), ("endpoint", 4096)):
            if (value := getattr(request, name)) is not None:
                check.text(f"request/{name}", value, limit)
        context["request"] = request
    added = {name: value for name, value in frame.enrich(draft).items() if name not in context}
    if added:
        context.update(added)
    return context, frozenset(added)


def _changes(check: _Check, draft: Draft, walk: _Walk) -> dict[str, Any]:
    changes = draft.changes
    if not changes:
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


def _details(check: _Check, draft: Draft, walk: _Walk) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if draft.description is not None:
        check.text("description", draft.description, TEXT)
        details["description"] = draft.description
    if draft.reason is not None:
        check.text("reason", draft.reason, TEXT)
        details["reason"] = draft.reason
    if draft.metadata is not None:
        if isinstance(draft.metadata, dict):
            details["metadata"] = walk.object("metadata", draft.metadata, 2)
        else:
            check.bad("metadata", "type", "must be a JSON object", type(draft.metadata).__name__)
    return details


def _required(check: _Check, draft: Draft, event_type: EventType) -> None:
    for field in event_type.requires:
        if not getattr(draft, field):
            check.bad(field, "required", f"{event_type.action} requires it")


def _facts(check: _Check, draft: Draft, frame: Frame) -> str | None:
    if draft.facts is None:
        return None
    if not frame.rights.reserved or not draft.action.startswith(model.RESERVED):
        check.bad("facts", "forbidden", "are the product's own; put what you know into metadata")
        return None
    for key, value in draft.facts.items():
        if not FACT.match(key) or type(value) not in (str, int):
            check.bad(f"facts/{key}", "type", "must be a text or an integer under an ASCII key", value)
    return encode_group(draft.facts).decode() if not check.errors else None


class _Walk:
    """Goes once through free JSON: types, depth, and the masking of secrets, copying only what changes."""

    __slots__ = ("_check", "_extra", "_unmasked")

    def __init__(self, check: _Check, extra: frozenset[str], unmasked: frozenset[str]) -> None:
        self._check = check
        self._extra = extra
        self._unmasked = unmasked

    def secret(self, key: str) -> bool:
        return (is_secret(key) or key in self._extra) and key not in self._unmasked

    def object(self, where: str, value: dict[str, Any], depth: int) -> dict[str, Any]:
        if depth > model.MAX_DEPTH:
            self._check.bad(where, "depth", f"is nested deeper than {model.MAX_DEPTH} levels")
            return {}
        copy: dict[str, Any] | None = None
        for key, member in value.items():
            kind = type(member)
            if type(key) is not str:
                self._check.bad(where, "key", "has a key that is not a text", key)
                continue
            if kind is str or kind is int or kind is bool or member is None:
                kept = member
            else:
                kept = self.value(f"{where}/{escape_pointer(key)}", member, depth + 1)
            if is_secret(key) or key in self._extra:
                if key not in self._unmasked:
                    kept = mask_value(kept)
            if kept is not member:
                if copy is None:
                    copy = dict(value)
                copy[key] = kept
        return value if copy is None else copy

    def value(self, where: str, value: Any, depth: int) -> Any:
        """Any JSON value; ``depth`` is the level it would open if it is an object or array."""
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, dict):
            return self.object(where, value, depth)
        if isinstance(value, float):
            if not math.isfinite(value):
                self._check.bad(where, "number", "must be a finite number", value)
            return value
        if isinstance(value, list | tuple):
            if depth > model.MAX_DEPTH:
                self._check.bad(where, "depth", f"is nested deeper than {model.MAX_DEPTH} levels")
                return []
            kept = [self.value(f"{where}/{number}", item, depth + 1) for number, item in enumerate(value)]
            if type(value) is list and all(map(_is, kept, value)):
                return value
            return kept
        try:
            return self.value(where, msgspec.to_builtins(value), depth)
        except (TypeError, RecursionError):
            self._check.bad(where, "type", f"is a {type(value).__name__}, which JSON cannot hold")
            return None


def _is(left: Any, right: Any) -> bool:
    return left is right


def _encode(check: _Check, groups: dict[str, dict[str, Any]]) -> list[str]:
    texts = []
    for name, fields in groups.items():
        try:
            text = encode_group(fields) if fields else b"{}"
        except UnicodeEncodeError:
            pointer = find_character(msgspec.to_builtins(fields), None)
            raise _character(check, pointer, "surrogate", "holds a lone surrogate, which is no character") from None
        if b"\\u0000" in text and (pointer := find_character(msgspec.to_builtins(fields), "\0")) is not None:
            raise _character(check, pointer, "nul", "holds U+0000, which is not allowed in text")
        texts.append(text.decode())
    return texts


def _character(check: _Check, pointer: str | None, rule: str, message: str) -> InvalidEvent:
    return InvalidEvent((FieldError(check.pointer + (pointer or ""), rule, message),))
