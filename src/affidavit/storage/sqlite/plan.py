"""From a filter to SQL conditions on one row of the event table. Pure.

For each condition there are two expressions: one that holds for at least all events that match (*maybe*) and
one that holds for none but these (*surely*). A condition narrows a scan by *maybe*, a negated one by
``NOT surely``; what is left is decided on the fetched row by :mod:`affidavit.core.match`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from affidavit.core.event import SEVERITIES
from affidavit.core.filter import Condition, Filter
from affidavit.core.match import needle
from affidavit.core.row import encode_group

__all__ = ["Expression", "impossible", "narrowing", "outcome_of", "severities_of"]


class Expression(NamedTuple):
    """SQL without column prefixes, and its parameters."""

    sql: str
    parameters: tuple[object, ...] = ()


NEVER = Expression("0")

_NON_ASCII = "{column} GLOB '*[^ -~]*'"


def narrowing(conditions: Iterable[Condition]) -> list[Expression]:
    """What may be put into a WHERE clause without losing an event."""
    found = []
    for condition in conditions:
        if condition.negated:
            if (surely := _surely(condition)) is not None:
                found.append(Expression(f"NOT coalesce({surely.sql}, 0)", surely.parameters))
        else:
            found.append(_maybe(condition))
    return found


def outcome_of(filter_: Filter) -> str | None:
    """The one outcome that a filter admits, ``None`` where it admits both."""
    admitted = _admitted(filter_, "outcome", ("success", "failure"))
    return admitted[0] if len(admitted) == 1 else None


def severities_of(filter_: Filter) -> tuple[str, ...] | None:
    """The severities above ``info`` that a filter admits; ``None`` where it admits ``info`` too."""
    admitted = _admitted(filter_, "severity", SEVERITIES)
    return None if "info" in admitted else admitted


def impossible(filter_: Filter) -> bool:
    """Whether the conditions on outcome exclude each other."""
    return not _admitted(filter_, "outcome", ("success", "failure"))


def _admitted(filter_: Filter, field: str, all_: tuple[str, ...]) -> tuple[str, ...]:
    admitted = all_
    for condition in filter_.conditions:
        if condition.field == field:
            admitted = tuple(
                value for value in admitted if (value in condition.values) is not condition.negated
            )
    return admitted


def _any(expressions: Iterable[Expression]) -> Expression:
    listed = list(expressions)
    if not listed:
        return NEVER
    return Expression(
        "(" + " OR ".join(expression.sql for expression in listed) + ")",
        tuple(parameter for expression in listed for parameter in expression.parameters),
    )


def _one_of(column: str, values: Iterable[object]) -> Expression:
    listed = tuple(values)
    return Expression(f"{column} IN ({','.join('?' * len(listed))})", listed)


def _folded(column: str, value: str) -> Expression:
    """A name or address in a group's text, whatever its case; texts with other letters pass as well."""
    folded = value.casefold()
    fancy = _NON_ASCII.format(column=column)
    texts = {needle(text) for text in (folded, value) if text.isascii()}
    if not texts:
        return Expression(fancy)
    return Expression(
        "(" + " OR ".join([*(f"instr(lower({column}), ?)" for _ in texts), fancy]) + ")",
        tuple(f'"{text}"' for text in sorted(texts)),
    )


def _holds_text(column: str, name: str, value: str) -> Expression:
    """A member with exactly this text stands somewhere in the group."""
    return Expression(f"instr({column}, ?)", (f'"{name}":{encode_group(value).decode()}',))


def _holds_lower(column: str, name: str, value: str) -> Expression:
    return Expression(f"instr(lower({column}), ?)", (f'"{name}":"{needle(value)}"',))


def _like(value: str) -> str:
    escaped = needle(value).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _search(value: str) -> Expression:
    columns = ("action", "actor", "resources", "context", "changes", "details")
    sql = " OR ".join(f"coalesce({column} LIKE ? ESCAPE '\\', 0)" for column in columns)
    return Expression(f"({sql})", (_like(value),) * len(columns))


def _action(value: str) -> Expression:
    if value.endswith(".*"):
        prefix = value[:-1]
        # "/" follows "." in ASCII, so this is the range of everything that starts with the prefix.
        return Expression("(action >= ? AND action < ?)", (prefix, prefix[:-1] + "/"))
    return Expression("action = ?", (value,))


def _flag(sql: str, values: tuple[str, ...]) -> Expression:
    return _any(Expression(sql if value == "true" else f"NOT {sql}") for value in values)


def _network(value: str) -> Expression:
    if "/" in value:
        return Expression("affidavit_within(json_extract(context, '$.ip'), ?)", (value,))
    return _holds_text("context", "ip", value)


def _exact(condition: Condition) -> Expression | None:
    """For conditions that SQL decides by itself."""
    values = condition.values
    match condition.field:
        case "outcome" | "severity" | "source" | "project" as column:
            return _one_of(column, values)
        case "action":
            return _any(map(_action, values))
        case "action_group":
            return _any(_action(f"{value}.*") for value in values)
        case "parent_id":
            return _one_of("parent_id", (UUID(value).bytes for value in values))
        case "imported":
            return _flag("imported", values)
        case "late":
            return _flag("affidavit_late(id, recorded_at)", values)
        case "q":
            return _any(map(_search, values))
    return None


def _maybe(condition: Condition) -> Expression:
    if (exact := _exact(condition)) is not None:
        return exact
    values = condition.values
    match condition.field:
        case "actor":
            return _any([_one_of("actor_id", values), *(_folded("actor", value) for value in values)])
        case "on_behalf_of":
            parts = [_folded("actor", value) for value in values]
            return Expression(
                f"(instr(actor, '\"on_behalf_of\":') AND {_any(parts).sql})", _any(parts).parameters
            )
        case "token":
            return _any(_folded("actor", value) for value in values)
        case "session":
            return _any(_holds_text("actor", "id", value) for value in values)
        case "resource":
            return _any(_folded("resources", value) for value in values)
        case "resource_type":
            return _any(_holds_text("resources", "type", value) for value in values)
        case "ip":
            return _any(map(_network, values))
        case "request_id":
            return _any(_holds_text("context", "id", value) for value in values)
        case "trace_id":
            return _any(_holds_text("context", "trace_id", value) for value in values)
        case "country_code":
            return _any(_holds_lower("context", "country_code", value) for value in values)
    raise AssertionError(f"no plan for the filter {condition.field}")


def _surely(condition: Condition) -> Expression | None:
    if (exact := _exact(condition)) is not None:
        return exact
    match condition.field:
        case "actor":
            return _one_of("actor_id", condition.values)
        case "ip":
            return _any(
                Expression("affidavit_within(json_extract(context, '$.ip'), ?)", (value,))
                if "/" in value
                else Expression("json_extract(context, '$.ip') = ?", (value,))
                for value in condition.values
            )
    return None
