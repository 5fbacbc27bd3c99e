"""From a filter to SQL conditions on one row of the event table. Pure.

For each condition there are two expressions: one that holds for at least all events that match (*maybe*) and
one that holds for none but these (*surely*). A condition narrows a scan by *maybe*, a negated one by
``NOT surely``; what is left is decided on the fetched row by :mod:`affidavit.core.match`. How a text is
looked for within a group is each engine's own: a :class:`Dialect`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from affidavit.core.event import OUTCOMES, SEVERITIES
from affidavit.core.filter import Condition, Filter
from affidavit.core.ids import first_id, last_id
from affidavit.core.match import needle

__all__ = [
    "BEYOND",
    "Dialect",
    "Expression",
    "any_of",
    "id_range",
    "impossible",
    "is_action",
    "needles",
    "one_of",
    "outcome_of",
    "severities_of",
]

BEYOND = b"\xff" * 17
"""Above every id."""


class Expression(NamedTuple):
    """SQL without column prefixes, and its parameters."""

    sql: str
    parameters: tuple[object, ...] = ()


def outcome_of(filter_: Filter) -> str | None:
    """The one outcome that a filter admits, ``None`` where it admits both."""
    admitted = _admitted(filter_, "outcome", OUTCOMES)
    return admitted[0] if len(admitted) == 1 else None


def severities_of(filter_: Filter) -> tuple[str, ...] | None:
    """The severities above ``info`` that a filter admits; ``None`` where it admits ``info`` too."""
    admitted = _admitted(filter_, "severity", SEVERITIES)
    return None if "info" in admitted else admitted


def impossible(filter_: Filter) -> bool:
    """Whether the conditions on outcome exclude each other."""
    return not _admitted(filter_, "outcome", OUTCOMES)


def _admitted(filter_: Filter, field: str, all_: tuple[str, ...]) -> tuple[str, ...]:
    admitted = all_
    for condition in filter_.conditions:
        if condition.field == field:
            admitted = tuple(
                value for value in admitted if (value in condition.values) is not condition.negated
            )
    return admitted


def id_range(filter_: Filter) -> tuple[bytes, bytes]:
    """Smallest id of the dates (inclusive) and the bound above them (exclusive)."""
    low = first_id(filter_.start) if filter_.start is not None else b""
    high = last_id(filter_.end) + b"\0" if filter_.end is not None else BEYOND
    return low, high


def any_of(expressions: Iterable[Expression]) -> Expression:
    """OR; of none it is false."""
    listed = list(expressions)
    return Expression(
        "(" + (" OR ".join(expression.sql for expression in listed) or "1 = 0") + ")",
        tuple(parameter for expression in listed for parameter in expression.parameters),
    )


def one_of(column: str, values: Iterable[object]) -> Expression:
    """A column has one of the values."""
    listed = tuple(values)
    return Expression(f"{column} IN ({','.join('?' * len(listed))})", listed)


def needles(value: str) -> list[str]:
    """A name or address as it may stand in a group, in quotes and ASCII lower case, where it is all ASCII.

    Whatever its case: what folds to it and has other letters is found by these letters.
    """
    return sorted(f'"{needle(text)}"' for text in {value.casefold(), value} if text.isascii())


def is_action(value: str) -> Expression:
    """A whole action, or a prefix such as ``user.*``."""
    if value.endswith(".*"):
        prefix = value[:-1]
        # "/" follows "." in ASCII, so this is the range of everything that starts with the prefix.
        return Expression("(action >= ? AND action < ?)", (prefix, prefix[:-1] + "/"))
    return Expression("action = ?", (value,))


class Dialect(ABC):
    """How one engine says it."""

    LATE: ClassVar[str]
    """Holds where a row was recorded late."""

    def narrowing(self, conditions: Iterable[Condition]) -> list[Expression]:
        """What may be put into a WHERE clause without losing an event."""
        found = []
        for condition in conditions:
            if condition.negated:
                if (surely := self._surely(condition)) is not None:
                    found.append(Expression(f"NOT coalesce({surely.sql}, {self.FALSE})", surely.parameters))
            else:
                found.append(self._maybe(condition))
        return found

    FALSE: ClassVar[str]

    def _exact(self, condition: Condition) -> Expression | None:
        """For conditions that SQL decides by itself."""
        values = condition.values
        match condition.field:
            case "outcome" | "severity" | "source" | "project" as column:
                return one_of(column, values)
            case "action":
                return any_of(map(is_action, values))
            case "action_group":
                return any_of(is_action(f"{value}.*") for value in values)
            case "parent_id":
                return one_of("parent_id", map(self.parent, values))
            case "imported":
                return self._flag("imported", values)
            case "late":
                return self._flag(self.LATE, values)
            case "q":
                return any_of(map(self.search, values))
        return None

    @staticmethod
    def _flag(sql: str, values: tuple[str, ...]) -> Expression:
        return any_of(Expression(sql if value == "true" else f"NOT {sql}") for value in values)

    def _maybe(self, condition: Condition) -> Expression:
        if (exact := self._exact(condition)) is not None:
            return exact
        values = condition.values
        match condition.field:
            case "actor":
                return any_of([one_of("actor_id", values), *(self.folded("actor", each) for each in values)])
            case "on_behalf_of":
                parts = any_of(self.folded("actor", value) for value in values)
                key = self.holds_key("actor", "on_behalf_of")
                return Expression(f"({key.sql} AND {parts.sql})", (*key.parameters, *parts.parameters))
            case "token":
                return any_of(self.folded("actor", value) for value in values)
            case "session":
                return any_of(self.holds("actor", "id", value) for value in values)
            case "resource":
                return any_of(self.folded("resources", value) for value in values)
            case "resource_type":
                return any_of(self.holds("resources", "type", value) for value in values)
            case "ip":
                return any_of(
                    self.within(value) if "/" in value else self.holds("context", "ip", value)
                    for value in values
                )
            case "request_id":
                return any_of(self.holds("context", "id", value) for value in values)
            case "trace_id":
                return any_of(self.holds("context", "trace_id", value) for value in values)
            case "country_code":
                return any_of(self.holds_lower("context", "country_code", value) for value in values)
        raise AssertionError(f"no plan for the filter {condition.field}")

    def _surely(self, condition: Condition) -> Expression | None:
        if (exact := self._exact(condition)) is not None:
            return exact
        match condition.field:
            case "actor":
                return one_of("actor_id", condition.values)
            case "ip":
                return self.surely_from(condition.values)
        return None

    @abstractmethod
    def parent(self, value: str) -> object:
        """An id as a parameter."""

    @abstractmethod
    def search(self, value: str) -> Expression:
        """``q``: exactly the rows that hold the text."""

    @abstractmethod
    def folded(self, column: str, value: str) -> Expression:
        """A name or address in a group's text, whatever its case; texts with other letters pass as well."""

    @abstractmethod
    def holds(self, column: str, name: str, value: str) -> Expression:
        """A member with exactly this text stands somewhere in the group."""

    @abstractmethod
    def holds_lower(self, column: str, name: str, value: str) -> Expression:
        """The same, blind to ASCII case."""

    @abstractmethod
    def holds_key(self, column: str, name: str) -> Expression:
        """A member of this name stands somewhere in the group."""

    @abstractmethod
    def within(self, network: str) -> Expression:
        """The address lies in a CIDR range."""

    @abstractmethod
    def surely_from(self, values: tuple[str, ...]) -> Expression | None:
        """The address is, without a doubt, one of these or lies in one of these ranges."""
