"""Free JSON within an event: one walk for its types, its depth and the masking of secrets. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from affidavit.core.event import MAX_DEPTH
from affidavit.core.mask import is_secret, mask_value
from affidavit.core.rules import Check
from affidavit.core.scan import escape_pointer

__all__ = ["Walk"]


class Walk:
    """Goes through free JSON, copying only what changes.

    Args:
        check: collects what is wrong.
        extra: further secret keys, of the event type.
        unmasked: keys that are no secrets in the vendor's format.
    """

    __slots__ = ("_check", "_extra", "_unmasked")

    def __init__(self, check: Check, extra: Iterable[str], unmasked: frozenset[str]) -> None:
        self._check = check
        self._extra = frozenset(extra)
        self._unmasked = unmasked

    def secret(self, key: str) -> bool:
        """Whether values under a key are masked."""
        return (is_secret(key) or key in self._extra) and key not in self._unmasked

    def object(self, where: str, value: dict[str, Any], depth: int) -> dict[str, Any]:
        """An object that opens at level ``depth`` of the event."""
        if depth > MAX_DEPTH:
            self._check.bad(where, "depth", f"is nested deeper than {MAX_DEPTH} levels")
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
            if self.secret(key):
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
            if depth > MAX_DEPTH:
                self._check.bad(where, "depth", f"is nested deeper than {MAX_DEPTH} levels")
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
