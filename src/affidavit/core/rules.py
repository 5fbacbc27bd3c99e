"""The rules of the event's typed fields, and the collector of what breaks them. Pure.

Values are checked as they are, not as they are annotated: in the same process nothing else has.
"""

from __future__ import annotations

import ipaddress
import math
import re
from functools import lru_cache
from typing import Any

from affidavit.core import event as model
from affidavit.core.event import CI, Actor, Draft, Location, Request, Resource
from affidavit.core.mask import is_secret, mask_value
from affidavit.core.names import name_is_valid
from affidavit.errors import VALUE_CHARACTERS, FieldError

__all__ = [
    "Check",
    "check_context",
    "check_people",
    "check_resources",
    "is_action",
    "is_name",
    "is_source",
    "normal_address",
]

ACTION = re.compile(r"(?=.{3,128}\Z)[a-z0-9_-]+(?:\.[a-z0-9_-]+)+\Z", re.ASCII)
SOURCE = re.compile(r"[a-z][a-z0-9_]{0,31}\Z", re.ASCII)

ID, NAME, EMAIL, TYPE, TEXT = 1024, 1024, 320, 128, 1000
"""Characters at most."""


@lru_cache(maxsize=4096)
def is_name(name: object) -> bool:
    """Whether a value can name an organization or a project."""
    return isinstance(name, str) and name_is_valid(name)


@lru_cache(maxsize=8192)
def is_action(action: object) -> bool:
    """Whether a value is a dotted action of 3 to 128 characters."""
    return isinstance(action, str) and ACTION.match(action) is not None


@lru_cache(maxsize=1024)
def is_source(source: object) -> bool:
    """Whether a value can be a source."""
    return isinstance(source, str) and SOURCE.match(source) is not None


@lru_cache(maxsize=16384)
def normal_address(text: object) -> str | None:
    """The shortest form of an IP address, IPv4 unwrapped from IPv6, no zone; ``None`` where it is none."""
    if not isinstance(text, str):
        return None
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


class Check:
    """Collects the broken rules of one event.

    Args:
        pointer: where the event stands in the caller's document.
    """

    __slots__ = ("errors", "pointer")

    def __init__(self, pointer: str) -> None:
        self.pointer = pointer
        self.errors: list[FieldError] = []

    def bad(self, field: str, rule: str, message: str, value: Any = None) -> None:
        """Note one broken rule."""
        self.errors.append(FieldError(f"{self.pointer}/{field}", rule, message, _quoted(field, value)))

    def text(self, field: str, value: object, limit: int, *, least: int = 0) -> None:
        """A text of ``least`` to ``limit`` characters."""
        if not isinstance(value, str):
            self.bad(field, "type", f"must be a text, not {type(value).__name__}", value)
        elif len(value) > limit:
            self.bad(
                field, "too_long", f"is {len(value):,} characters long; at most {limit:,} are allowed", value
            )
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


def check_people(check: Check, draft: Draft) -> None:
    """Actor, on-behalf-of and session."""
    if draft.actor is None:
        check.bad(
            "actor",
            "required",
            'say who did it; where nobody knows: {"type": "anonymous", "id": "anonymous"}',
        )
    else:
        _person(check, "actor", draft.actor)
    if draft.on_behalf_of is not None:
        _person(check, "on_behalf_of", draft.on_behalf_of)
    session = draft.session
    if session is not None:
        check.text("session/type", session.type, TYPE, least=1)
        _check_texts(check, "session", session, ("id", "token_id", "token_name"), ID)


# Where most values are right, asking before a call that would name what is wrong is half of the work.


def _person(check: Check, field: str, actor: Actor) -> None:
    if actor.type not in model.ACTOR_TYPES:
        check.bad(f"{field}/type", "enum", f"must be one of {', '.join(model.ACTOR_TYPES)}", actor.type)
    id_, name, email = actor.id, actor.name, actor.email
    if type(id_) is not str or not 0 < len(id_) <= ID:
        check.text(f"{field}/id", id_, ID, least=1)
    if name is not None and (type(name) is not str or len(name) > NAME):
        check.text(f"{field}/name", name, NAME)
    if email is not None and (type(email) is not str or len(email) > EMAIL):
        check.text(f"{field}/email", email, EMAIL)


def check_resources(check: Check, draft: Draft) -> dict[str, Any]:
    """The group of resources."""
    resources = draft.resources
    if not resources:
        return {}
    if len(resources) > model.MAX_RESOURCES:
        check.bad("resources", "too_many", f"names {len(resources)} resources; at most 20 are allowed")
    for number, resource in enumerate[object](resources):
        if isinstance(resource, Resource):
            _resource(check, number, resource)
        else:
            check.bad(f"resources/{number}", "type", "must be a resource of type, id and name")
    return {"resources": resources}


def _resource(check: Check, number: int, resource: Resource) -> None:
    kind, id_, name = resource.type, resource.id, resource.name
    if type(kind) is not str or not 0 < len(kind) <= TYPE:
        check.text(f"resources/{number}/type", kind, TYPE, least=1)
    if type(id_) is not str or not 0 < len(id_) <= ID:
        check.text(f"resources/{number}/id", id_, ID, least=1)
    if name is not None and (type(name) is not str or len(name) > NAME):
        check.text(f"resources/{number}/name", name, NAME)


_CONTEXT_TEXTS = (("user_agent", TEXT), ("client", 128), ("trace_id", 128), ("span_id", 128))


def check_context(check: Check, draft: Draft, *, verified: bool) -> dict[str, Any]:
    """The group of the context; ``verified`` allows that word for a CI platform."""
    context: dict[str, Any] = {}
    if draft.ip is not None:
        context["ip"] = normal_address(draft.ip)
        if context["ip"] is None:
            check.bad("ip", "address", "must be an IPv4 or IPv6 address without port or zone", draft.ip)
    for name, limit in _CONTEXT_TEXTS:
        value = getattr(draft, name)
        if value is not None:
            check.text(name, value, limit)
            context[name] = value
    if draft.location is not None:
        _check_texts(check, "location", draft.location, Location.__struct_fields__, 256)
        context["location"] = draft.location
    if draft.ci is not None:
        _check_texts(check, "ci", draft.ci, CI.__struct_fields__, 1024)
        _check_confidence(check, draft.ci.confidence, verified=verified)
        context["ci"] = draft.ci
    if draft.request is not None:
        _check_request(check, draft.request)
        context["request"] = draft.request
    return context


def _check_texts(check: Check, part: str, value: object, names: tuple[str, ...], limit: int) -> None:
    for name in names:
        text = getattr(value, name)
        if text is not None and (type(text) is not str or len(text) > limit):
            check.text(f"{part}/{name}", text, limit)


def _check_confidence(check: Check, confidence: str, *, verified: bool) -> None:
    if confidence not in model.CONFIDENCES:
        check.bad("ci/confidence", "enum", f"must be one of {', '.join(model.CONFIDENCES)}", confidence)
    elif confidence == "verified" and not verified:
        check.bad("ci/confidence", "forbidden", "is ours to say; send token, declared or guess", confidence)


def _check_request(check: Check, request: Request) -> None:
    for name, limit in (("id", 1024), ("method", 64), ("endpoint", 4096)):
        text = getattr(request, name)
        if text is not None and (type(text) is not str or len(text) > limit):
            check.text(f"request/{name}", text, limit)
