"""Retention policies: which class an action belongs to, how a table of classes is written, what is past it.

A policy says for a *class* of events how many days their groups are kept, counted from ``recorded_at``. A
class is an action, a ``prefix.*`` of whole segments, or ``*``; of those that match an action the longest
counts, and where none does the groups are kept for ever. The table stands as text in the facts of the events
``audit.retention.*``, so that whoever verifies decides by himself what may have expired.

Events that explain what is missing elsewhere belong to no class: see :func:`explains_others`.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from affidavit.core.strict import integer
from affidavit.core.unsound import Malformed

__all__ = [
    "CLASS_RULE",
    "EVERYTHING",
    "EXPLAINING",
    "MAX_CLASSES",
    "MAX_DAYS",
    "Policy",
    "class_covers",
    "class_is_valid",
    "explains_others",
    "longest_match",
    "parse_policy",
    "write_policy",
]

EVERYTHING: Final = "*"
"""The class of all actions."""

EXPLAINING: Final = ("audit.erasure.", "audit.hold.", "audit.retention.", "log.")
"""How the actions of events begin that explain what is missing elsewhere."""

MAX_DAYS: Final = 36_500
"""A hundred years; more is ``forever``."""
MAX_CLASSES: Final = 200
"""Of one organization, so that the table fits into a leaf."""

CLASS_RULE: Final = "must be an action, segments and a star (auth.*), or * alone, of at most 128 characters"

_FOREVER = "forever"
_DAY = 24 * 3600 * 1_000_000
_CLASS = re.compile(r"\*|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.(?:\*|[a-z0-9_-]+)", re.ASCII)
_CLASS_CHARACTERS = 128


def class_is_valid(name: str) -> bool:
    """Whether ``name`` keeps :data:`CLASS_RULE`."""
    return len(name) <= _CLASS_CHARACTERS and _CLASS.fullmatch(name) is not None


def class_covers(name: str, action: str) -> bool:
    """Whether an action is of this class. A hold keeps every action that its class covers."""
    return name in (EVERYTHING, action) or (name.endswith(".*") and action.startswith(name[:-1]))


def explains_others(action: str) -> bool:
    """Whether events of this action explain what is missing elsewhere.

    These are the erasures, policies, holds and what happened to the log. No policy lets them expire and they
    are never pruned: whoever wanted to hide something would begin with them. An erasure may still take the
    name of a person out of them.
    """
    return action.startswith(EXPLAINING)


def longest_match(classes: Iterable[str], action: str) -> str | None:
    """The one of ``classes`` that decides about an action; ``None`` where none covers it."""
    matching = [name for name in classes if class_covers(name, action)]
    # Of two classes that cover an action the longer text is the narrower one; `a.*` and `a.b` are as long.
    return max(matching, key=lambda name: (len(name), name == action), default=None)


class Policy:
    """The table of one organization.

    Args:
        rules: class to days, or to ``None`` for ever.

    Raises:
        Malformed: a class or a number of days breaks its rule, or there are more than :data:`MAX_CLASSES`.
    """

    __slots__ = ("rules",)

    def __init__(self, rules: Mapping[str, int | None]) -> None:
        if len(rules) > MAX_CLASSES:
            raise Malformed("a retention policy", f"must have at most {MAX_CLASSES} classes", len(rules))
        for name, days in rules.items():
            if not class_is_valid(name):
                raise Malformed("a class of events", CLASS_RULE, name)
            if days is not None and not 1 <= days <= MAX_DAYS:
                raise Malformed("the days of a retention policy", f"must be 1 to {MAX_DAYS} or forever", days)
        self.rules: Mapping[str, int | None] = dict(sorted(rules.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Policy({self.text!r})"

    @property
    def text(self) -> str:
        """The table as text: ``*=forever auth.*=90``, empty where there is no class."""
        return write_policy(self.rules)

    def days(self, action: str) -> int | None:
        """How many days the groups of an action are kept, ``None`` for ever."""
        if explains_others(action):
            return None
        name = longest_match(self.rules, action)
        return None if name is None else self.rules[name]

    def is_past(self, action: str, recorded_at: int, moment: int) -> bool:
        """Whether an event's groups may be gone at a moment.

        Args:
            action: of the event.
            recorded_at: of the event, microseconds since 1970 UTC; ``occurred_at`` never counts.
            moment: microseconds since 1970 UTC.
        """
        days = self.days(action)
        return days is not None and recorded_at + days * _DAY <= moment


def write_policy(rules: Mapping[str, int | None]) -> str:
    """A table as text: ``class=days`` or ``class=forever``, sorted by class, one space between."""
    return " ".join(f"{name}={_FOREVER if days is None else days}" for name, days in sorted(rules.items()))


def parse_policy(text: str) -> Policy:
    """Read a table that :func:`write_policy` wrote, strictly.

    Raises:
        Malformed: any other text, one that names a class twice or in another order included.
    """
    rules: dict[str, int | None] = {}
    for part in text.split(" ") if text else ():
        name, _, days = part.partition("=")
        rules[name] = None if days == _FOREVER else integer(days, "the days of a retention policy", MAX_DAYS)
    policy = Policy(rules)
    if policy.text != text:
        raise Malformed("a retention policy", "must be sorted classes with one space between", text)
    return policy
