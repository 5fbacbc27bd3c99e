"""What each condition means on one event: the rule that every answer is checked against.

An engine may find candidates in any way; whether an event is in the answer is decided here, on the stored
texts themselves. Ids compare exactly, names and e-mail addresses after Unicode case folding, ``q`` is blind
to ASCII case.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from affidavit.core.filter import Condition, Filter
from affidavit.core.ids import format_id
from affidavit.core.row import StoredEvent, encode_group

__all__ = ["ascii_lower", "matches", "needle", "within"]

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def ascii_lower(text: str) -> str:
    """Lower case for A to Z only, as SQLite's ``lower`` and ``LIKE`` do."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


@lru_cache(maxsize=1024)
def needle(value: str) -> str:
    """A searched text as it stands inside stored JSON: escaped, in ASCII lower case."""
    return ascii_lower(encode_group(value).decode()[1:-1])


def matches(filter_: Filter, event: StoredEvent) -> bool:
    """Whether an event is in the answer to a filter."""
    if filter_.start is not None and event.occurred_at < filter_.start:
        return False
    if filter_.end is not None and event.occurred_at > filter_.end:
        return False
    return all(_holds(condition, event) for condition in filter_.conditions)


def _holds(condition: Condition, event: StoredEvent) -> bool:
    found = _TESTS[condition.field](condition.values, event)
    return found is not condition.negated


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _part(event: StoredEvent, name: str) -> Mapping[str, Any]:
    part = event.groups().get(name)
    return part if isinstance(part, Mapping) else {}


def _person(values: tuple[str, ...], person: Mapping[str, Any]) -> bool:
    return _named(values, person, "id", "email")


def _named(values: tuple[str, ...], part: Mapping[str, Any], exact: str, folded: str) -> bool:
    identity, name = _text(part.get(exact)), _text(part.get(folded)).casefold()
    return any((identity and value == identity) or (name and value.casefold() == name) for value in values)


def _actor(values: tuple[str, ...], event: StoredEvent) -> bool:
    return _person(values, _part(event, "actor")) or _person(values, _part(event, "on_behalf_of"))


def _action(values: tuple[str, ...], event: StoredEvent) -> bool:
    return any(
        event.action.startswith(value[:-1]) if value.endswith(".*") else event.action == value
        for value in values
    )


def _resources(event: StoredEvent) -> Iterator[Mapping[str, Any]]:
    resources = event.groups().get("resources")
    if isinstance(resources, list):
        yield from (resource for resource in resources if isinstance(resource, Mapping))


def _resource(values: tuple[str, ...], event: StoredEvent) -> bool:
    return any(_named(values, resource, "id", "name") for resource in _resources(event))


def _ip(values: tuple[str, ...], event: StoredEvent) -> bool:
    text = _text(event.groups().get("ip"))
    return bool(text) and any(text == value if "/" not in value else within(text, value) for value in values)


@lru_cache(maxsize=65536)
def within(address: str, network: str) -> bool:
    """Whether an address lies in a CIDR range; no address lies in none."""
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return False


def _token(values: tuple[str, ...], event: StoredEvent) -> bool:
    return any(
        _named(values, _part(event, name), "token_id", "token_name") for name in ("session", "recorded_by")
    )


def _search(values: tuple[str, ...], event: StoredEvent) -> bool:
    texts = [ascii_lower(text) for text in (event.action, *event.texts) if text is not None]
    return any(needle(value) in text for value in values for text in texts)


def _one(read: Callable[[StoredEvent], Any]) -> Callable[[tuple[str, ...], StoredEvent], bool]:
    return lambda values, event: read(event) in values


_TESTS: dict[str, Callable[[tuple[str, ...], StoredEvent], bool]] = {
    "actor": _actor,
    "action": _action,
    "action_group": _one(lambda event: event.action.partition(".")[0]),
    "outcome": _one(lambda event: event.outcome),
    "severity": _one(lambda event: event.severity),
    "source": _one(lambda event: event.source),
    "resource": _resource,
    "resource_type": lambda values, event: any(
        resource.get("type") in values for resource in _resources(event)
    ),
    "project": _one(lambda event: event.project),
    "ip": _ip,
    "token": _token,
    "session": _one(lambda event: _part(event, "session").get("id")),
    "on_behalf_of": lambda values, event: _person(values, _part(event, "on_behalf_of")),
    "parent_id": _one(lambda event: format_id(event.parent_id) if event.parent_id is not None else None),
    "request_id": _one(lambda event: _part(event, "request").get("id")),
    "trace_id": _one(lambda event: event.groups().get("trace_id")),
    "country_code": lambda values, event: (
        ascii_lower(_text(_part(event, "location").get("country_code"))) in map(ascii_lower, values)
    ),
    "late": _one(lambda event: "true" if event.late else "false"),
    "imported": _one(lambda event: "true" if event.imported else "false"),
    "q": _search,
}
