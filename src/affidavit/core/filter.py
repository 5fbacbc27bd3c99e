"""Filters: what a reader asks for, in one form for the API, the search line, the CLI and the page.

A :class:`Filter` is an AND of conditions; the values of one condition are OR; a negated condition is the
complement, events without the field included. Parsing is in :mod:`.query`, the meaning of each
condition on one event in :mod:`.match`.
"""

from __future__ import annotations

import msgspec

__all__ = ["FIELDS", "Condition", "Filter"]

FIELDS = (
    "actor",
    "action",
    "action_group",
    "outcome",
    "severity",
    "source",
    "resource",
    "resource_type",
    "project",
    "ip",
    "token",
    "session",
    "on_behalf_of",
    "parent_id",
    "request_id",
    "trace_id",
    "country_code",
    "late",
    "imported",
    "q",
)
"""The fields a condition may name, each also with ``not_`` before it. The two dates stand apart."""


class Condition(msgspec.Struct, frozen=True):
    """One filter: ``field`` has one of ``values``, or (negated) none of them.

    Attributes:
        field: one of :data:`FIELDS`.
        values: at least one; normalised by the parser (addresses, booleans, ids in canonical text).
        negated: the complement, absent values included.
    """

    field: str
    values: tuple[str, ...]
    negated: bool = False


class Filter(msgspec.Struct, frozen=True):
    """All conditions of one question. The default matches every event.

    Attributes:
        conditions: sorted by field and negation, at most one for each pair of these.
        start: inclusive bound of ``occurred_at``, microseconds since 1970 UTC.
        end: inclusive bound of ``occurred_at``, microseconds since 1970 UTC.
    """

    conditions: tuple[Condition, ...] = ()
    start: int | None = None
    end: int | None = None
