"""JSON lines: events in our own shape, or any records with a map that says where the fields are."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar
from uuid import UUID

import msgspec

from affidavit.core.event import (
    ACTOR_TYPES,
    SEVERITIES,
    Actor,
    ActorType,
    Change,
    Draft,
    Location,
    Request,
    Resource,
)
from affidavit.core.names import name_is_valid
from affidavit.ingest import fit
from affidavit.ingest.importers.mapping import Mapping, Term, values_at
from affidavit.ingest.records import LineShape
from affidavit.ingest.rejects import RejectedRecord
from affidavit.ingest.times import parse_vendor_time

__all__ = ["Ndjson"]

_OF_AN_ANSWER = ("state", "index", "late", "title", "redacted", "expired", "inconsistent", "alerts")
"""What our own answers and exports add to an event, and what is derived anew."""
_OF_THE_ORIGINAL = ("organization", "recorded_at", "recorded_by")
_ACTOR_WORDS: dict[str, ActorType] = {
    "bot": "service",
    "app": "service",
    "application": "service",
    "service_account": "service",
    "serviceaccount": "service",
    "api_key": "api_token",
    "apikey": "api_token",
    "token": "api_token",
}
Part = TypeVar("Part", Location, Request)
_PART_LIMITS = {"endpoint": fit.ENDPOINT_LENGTH, "method": 64, "id": fit.ID_LENGTH}


class Ndjson:
    """Maps JSON lines.

    Args:
        account: stands in ``metadata.account`` where a record names none.
        mapping: where the fields are; without it the records are events in our own shape.
    """

    name: ClassVar[str] = "ndjson"
    unmasked: ClassVar[frozenset[str]] = frozenset({"authorizationInfo", "secretId"})

    def __init__(self, account: str | None = None, mapping: Mapping | None = None) -> None:
        self._account = account
        self._map = mapping or Mapping()
        self._resources = sorted(
            {int(name.split(".")[1]) for name in self._map.fields if name.startswith("resources.")}
        )
        self.source = self._map.source
        self.wrapper = self._map.wrapper
        self.shape: LineShape | None = self._map.shape

    def events(self, record: dict[str, Any]) -> list[Draft]:
        """One event, or one for each element of the map's list; see the protocol."""
        if self._map.record:
            part = values_at(record, [self._map.record])
            if not part or not isinstance(part[0], dict):
                raise RejectedRecord(".".join(self._map.record), "required", "the line has no record there")
            record = part[0]
        if not self._map.fields:
            if "trailer" in record and "action" not in record:
                return []
            return [_own_shape(record)]
        if not self._map.each:
            return [self._mapped(record, None, "")]
        found = values_at(record, [self._map.each])
        elements = found[0] if found and isinstance(found[0], list) else []
        return [self._mapped(record, element, f"#{number}") for number, element in enumerate(elements)]

    def _mapped(self, record: dict[str, Any], element: Any, suffix: str) -> Draft:
        """The event of a record, or of one element of its list.

        Args:
            record: where the paths lead into.
            element: where those that begin with ``each`` lead into.
            suffix: tells the events of one record apart in their keys.
        """
        values = {name: self._value(name, terms, record, element) for name, terms in self._map.fields.items()}

        def text(target: str, limit: int = fit.TEXT_LENGTH) -> str | None:
            return fit.text(_text(values.get(target)), limit)

        occurred_at = parse_vendor_time(values.get("occurred_at"), "occurred_at")
        failed, word = self._outcome(values.get("outcome"), record, element)
        ip, other_address = fit.address(_text(values.get("ip")))
        key = _text(values.get("idempotency_key")) or fit.digest_key(record)
        severity, project = (text("severity") or "").lower(), text("project")
        extra = {
            name.partition(".")[2]: value for name, value in values.items() if name.startswith("metadata.")
        }
        extra |= {"account": text("account") or self._account, "category": text("category")}
        extra |= {"source_address": other_address, f"{self.source}_outcome": word}
        return Draft(
            action=self._action(values.get("action")),
            occurred_at=occurred_at,
            idempotency_key=fit.key(key + suffix, fit.KEY_LENGTH),
            outcome="failure" if failed else "success",
            severity=next((known for known in SEVERITIES if known == severity), None),
            source=self.source,
            project=project if project and name_is_valid(project) else None,
            imported=True,
            actor=_actor("actor", values) or Actor(type="anonymous", id="anonymous"),
            on_behalf_of=_actor("on_behalf_of", values),
            session=fit.session(
                text("session.type") or "web",
                text("session.id"),
                text("session.token_id"),
                text("session.token_name"),
            ),
            resources=fit.resources(_resource(at, values) for at in self._resources),
            ip=ip,
            location=_part(Location, "location", values),
            user_agent=text("user_agent"),
            client=text("client", 128),
            request=_part(Request, "request", values),
            trace_id=text("trace_id", 128),
            span_id=text("span_id", 128),
            changes=_changes(values),
            description=text("description"),
            reason=text("reason"),
            metadata=fit.metadata(self.source, record, **extra),
        )

    def _value(self, target: str, terms: tuple[Term, ...], record: dict[str, Any], element: Any) -> Any:
        """What the first alternative with a value gives; joined paths become one text."""
        for term in terms:
            if term.constant is not None:
                return term if target == "action" else term.constant
            found = values_at(record, term.paths, element)
            if len(term.paths) == 1 and found:
                return found[0]
            if joined := [text for value in found if (text := _text(value))]:
                return ("." if target == "action" else " ").join(joined)
        return None

    def _action(self, value: Any) -> str:
        """``<source>.`` and the record's words; a constant that has a dot stands as it is."""
        if isinstance(value, Term) and value.constant is not None:
            group, dot, rest = value.constant.partition(".")
            return fit.action_name(group, rest) if dot else fit.action_name(self.source, group)
        words = _text(value)
        if not words:
            raise RejectedRecord("action", "required", "the record has nothing at the path of the action")
        return fit.action_name(self.source, words)

    def _outcome(self, value: Any, record: dict[str, Any], element: Any) -> tuple[bool, str | None]:
        """Whether it failed, and the vendor's word where the map does not know it."""
        if any(_counts(found) for found in values_at(record, self._map.failure_if, element)):
            return True, None
        word = _text(value)
        if word is None or word.lower() in self._map.success:
            return False, None
        if word.lower() in self._map.failure:
            return True, None
        status = word.removesuffix(".0")
        if len(status) == 3 and status.isascii() and status.isdigit() and 100 <= int(status) <= 599:
            return int(status) >= 400, None
        return False, fit.text(word)


def _counts(value: Any) -> bool:
    return bool(value) and value not in ("0", "false", "False", "none", "None", "null")


def _actor(who: str, values: dict[str, Any]) -> Actor | None:
    kind, identity, name, email = (
        _text(values.get(f"{who}.{part}")) for part in ("type", "id", "name", "email")
    )
    word = (kind or "user").lower()
    known: ActorType = next((each for each in ACTOR_TYPES if each == word), _ACTOR_WORDS.get(word, "user"))
    actor = fit.actor(known, identity or email, name)
    if actor is None or not email or len(email) > fit.EMAIL_LENGTH:
        return actor
    return msgspec.structs.replace(actor, email=email)


def _resource(at: int, values: dict[str, Any]) -> Resource | None:
    kind, identity, name = (_text(values.get(f"resources.{at}.{part}")) for part in ("type", "id", "name"))
    return fit.resource(kind or "resource", identity, name)


def _part(part: type[Part], prefix: str, values: dict[str, Any]) -> Part | None:
    given = {
        name: fit.text(_text(values.get(f"{prefix}.{name}")), _PART_LIMITS.get(name, 256))
        for name in part.__struct_fields__
        if f"{prefix}.{name}" in values
    }
    return msgspec.convert(given, part) if any(given.values()) else None


def _changes(values: dict[str, Any]) -> dict[str, Change] | None:
    """Two objects, old and new, compared field by field."""
    if "changes.old" not in values and "changes.new" not in values:
        return None
    old, new = fit.mapping(values.get("changes.old")), fit.mapping(values.get("changes.new"))
    changed = {
        name: Change(old=old.get(name), new=new.get(name))
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    }
    return changed or None


def _text(value: Any) -> str | None:
    """A scalar as text, or the first scalar of a list."""
    if isinstance(value, list):
        value = next((each for each in value if isinstance(each, (str, int, float))), None)
    if isinstance(value, bool):
        return str(value).lower()
    return fit.text(value, fit.WHOLE)


def _own_shape(record: dict[str, Any]) -> Draft:
    fields = {name: value for name, value in record.items() if name not in _OF_AN_ANSWER}
    original = {name: fields.pop(name) for name in _OF_THE_ORIGINAL if fields.get(name) is not None}
    occurred_at = parse_vendor_time(fields.pop("occurred_at", None), "occurred_at")
    try:
        draft = msgspec.convert(fields, Draft)
    except msgspec.ValidationError as error:
        raise _refused(error) from error
    metadata = dict(draft.metadata or {})
    if original:
        metadata["original"] = original
    return msgspec.structs.replace(
        draft,
        occurred_at=occurred_at,
        imported=True,
        idempotency_key=draft.idempotency_key
        or (None if isinstance(draft.id, UUID) else fit.digest_key(record)),
        source=draft.source or "ndjson",
        actor=draft.actor or Actor(type="anonymous", id="anonymous"),
        metadata=metadata or None,
    )


def _refused(error: msgspec.ValidationError) -> RejectedRecord:
    message, _, path = str(error).partition(" - at `")
    field = path.rstrip("`").removeprefix("$").lstrip(".")
    rule = (
        "unknown_field"
        if "unknown field" in message
        else "required"
        if "missing required" in message
        else "type"
    )
    return RejectedRecord(field, rule, message)
