"""The difference of two states of a resource, as the ``changes`` of an event."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from affidavit.core.event import Change

__all__ = ["diff"]

_PLAIN = re.compile(r"[^.\[\]\"\s]+\Z")


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    """What changed between two states, one entry a field, in order of the field names.

    Objects are descended into, their members named by path (``address.city``; a member whose name holds a
    dot, bracket, quote or space is written ``address["post code"]``). Two lists of one length whose different
    members are all objects are descended into as well (``rules[2].port``); every other list is one value, so
    that a list of abilities shows whole on both sides. A member missing on one side is ``null`` there.
    ``1``, ``1.0`` and ``true`` are three different values.

    Args:
        old: the state before.
        new: the state after.
    """
    changes: dict[str, Change] = {}
    _descend("", old, new, changes)
    return dict(sorted(changes.items()))


def _descend(path: str, old: Mapping[str, Any], new: Mapping[str, Any], changes: dict[str, Change]) -> None:
    for key in {**old, **new}:
        _compare(_member(path, key), old.get(key), new.get(key), changes)


def _compare(path: str, old: Any, new: Any, changes: dict[str, Change]) -> None:
    if _same(old, new):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        _descend(path, old, new, changes)
    elif _is_list(old) and _is_list(new) and _objects_differ(old, new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            _compare(f"{path}[{number}]", before, after, changes)
    else:
        changes[path] = Change(old=old, new=new)


def _member(path: str, key: str) -> str:
    if _PLAIN.match(key):
        return f"{path}.{key}" if path else key
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}["{escaped}"]'


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _objects_differ(old: Sequence[Any], new: Sequence[Any]) -> bool:
    return len(old) == len(new) and all(
        _same(before, after) or (isinstance(before, Mapping) and isinstance(after, Mapping))
        for before, after in zip(old, new, strict=True)
    )


def _same(old: Any, new: Any) -> bool:
    """Equality of JSON values: types count, so ``1 != True`` and ``1 != 1.0``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    if _is_list(old) and _is_list(new):
        return len(old) == len(new) and all(map(_same, old, new))
    return type(old) is type(new) and bool(old == new)
