"""A data subject: where in an event a person is found. Pure.

*Exact* hits are values that are the subject: typed ones (ids compare exactly, names and e-mails after Unicode
case folding, addresses in their normal form) and any string in free JSON that equals it. A *substring* hit
is everything else where the subject's text occurs, keys, numbers and JSON within strings included; it may be
somebody else, so that it is only reported unless a person confirms it.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from affidavit.core.event import GROUPS

__all__ = ["SHORTEST_SUBSTRING", "SUBSTRING", "Subject"]

SUBSTRING = "substring"
"""The kind of hits that must be confirmed; every other kind names the field whose value is the subject."""

SHORTEST_SUBSTRING = 3
"""Characters that a subject must have for its substring hits to be erased."""

_decode = msgspec.json.Decoder().decode
_PERSONS = ("actor", "on_behalf_of")
_CREDENTIALS = ("session", "recorded_by")


class Subject:
    """One person, given as a text: an id, a name, an e-mail, an address.

    Args:
        text: 1 character at least.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._folded = text.casefold()
        self._is_email = "@" in text
        self._address = _address(text)
        self._needles = _needles(text, self._address)

    def is_value(self, value: object) -> bool:
        """Whether a value without a type of its own is the subject: equal; an e-mail also in other case."""
        if not isinstance(value, str):
            return False
        return value == self.text or (self._is_email and value.casefold() == self._folded)

    def is_name(self, value: object) -> bool:
        """Whether a name or an e-mail is the subject's: equal after case folding."""
        return isinstance(value, str) and value.casefold() == self._folded

    def is_within(self, text: str) -> bool:
        """Whether the subject occurs anywhere in a text, in any case, also as JSON writes it."""
        folded = text.casefold()
        return any(needle in folded for needle in self._needles)

    def hits(self, texts: Sequence[bytes | None]) -> dict[str, set[str]]:
        """Where an event holds the subject.

        Args:
            texts: the five groups in the order of ``GROUPS``, ``None`` where one is gone.

        Returns:
            Group to the kinds of its hits; groups without one are left out.
        """
        found = {}
        for group, raw in zip(GROUPS, texts, strict=True):
            if raw is not None and raw != b"{}" and (kinds := self._kinds(group, raw)):
                found[group] = kinds
        return found

    def _kinds(self, group: str, raw: bytes) -> set[str]:
        text = raw.decode(errors="replace")
        within = self.is_within(text)
        if not within and "\\" not in text:
            return set()
        try:
            members = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {SUBSTRING} if within else set()
        kinds = set(self._exact(group, members)) if isinstance(members, dict) else set()
        if not kinds and (within or any(self.is_within(each) for each in _strings(members))):
            kinds.add(SUBSTRING)
        return kinds

    def _exact(self, group: str, members: Mapping[str, Any]) -> Iterator[str]:
        if group == "actor":
            yield from self._people(members)
        elif group == "resources":
            yield from self._resources(members.get("resources"))
        elif group == "context":
            if self._is_address(members.get("ip")):
                yield "ip"
            request = members.get("request")
            if isinstance(request, dict) and self._anywhere(request.get("params")):
                yield "request.params"
        elif group == "changes":
            if self._anywhere(members.get("changes")):
                yield "changes"
        else:
            for field in ("description", "reason"):
                if self.is_value(members.get(field)):
                    yield field
            if self._anywhere(members.get("metadata")):
                yield "metadata"

    def _people(self, members: Mapping[str, Any]) -> Iterator[str]:
        for who in _PERSONS:
            person = members.get(who)
            if isinstance(person, dict):
                yield from self._fields(who, person, ("id",), ("name", "email"))
        for how in _CREDENTIALS:
            credential = members.get(how)
            if isinstance(credential, dict):
                yield from self._fields(how, credential, ("id", "token_id"), ("token_name",))
                if self._is_address(credential.get("address")):
                    yield f"{how}.address"

    def _resources(self, resources: Any) -> Iterator[str]:
        for resource in resources if isinstance(resources, list) else ():
            if isinstance(resource, dict):
                yield from self._fields("resources", resource, ("id",), ("name",))

    def _fields(
        self, owner: str, members: Mapping[str, Any], ids: Sequence[str], names: Sequence[str]
    ) -> Iterator[str]:
        yield from (f"{owner}.{field}" for field in ids if members.get(field) == self.text)
        yield from (f"{owner}.{field}" for field in names if self.is_name(members.get(field)))

    def _is_address(self, value: object) -> bool:
        if not isinstance(value, str):
            return False
        return value == self.text or (self._address is not None and _address(value) == self._address)

    def _anywhere(self, value: Any) -> bool:
        """Whether a string value within free JSON is the subject; keys are no values."""
        waiting = [value]
        while waiting:
            each = waiting.pop()
            if isinstance(each, dict):
                waiting.extend(each.values())
            elif isinstance(each, list):
                waiting.extend(each)
            elif self.is_value(each):
                return True
        return False


def _strings(value: Any) -> Iterator[str]:
    """Every string within a JSON value, keys included."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting.extend(each.values())
            waiting.extend(each)
        elif isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, str):
            yield each


def _address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _needles(text: str, address: str | None) -> tuple[str, ...]:
    """What to look for in a folded text: the subject plain, and as JSON writes it once and twice."""
    spelled = {text, address or text}
    for _ in range(2):
        spelled |= {json.dumps(each, ensure_ascii=plain)[1:-1] for each in spelled for plain in (True, False)}
    return tuple({each.casefold() for each in spelled})
