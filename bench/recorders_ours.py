"""Our side of the comparison: what an app does to record, in the context of a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from affidavit.core.event import Actor, Request
from affidavit.embed import Audit
from bench.recorders_by_hand import ACTION, ACTOR, CONTEXT

__all__ = ["fields_of", "known", "opened", "record_together"]


def known() -> dict[str, Any]:
    """What the middleware puts into the context of a request."""
    return {
        "actor": Actor(**ACTOR),  # type: ignore[arg-type]
        "ip": CONTEXT["ip"],
        "user_agent": CONTEXT["user_agent"],
        "request": Request(**CONTEXT["request"]),
    }


def opened(database: Any) -> Audit:
    """The audit log of an app."""
    return Audit(database, organization="acme")


def fields_of(keys: Iterable[int], name: str, changes: Mapping[str, tuple[Any, Any]]) -> list[Any]:
    """The fields of an event for each customer."""
    return [{"resource": ("customer", key, name), "changes": changes} for key in keys]


def record_together(
    audit: Audit, target: Any, keys: Iterable[int], name: str, changes: Mapping[str, tuple[Any, Any]]
) -> Any:
    """Record an event for each customer by one call."""
    return audit.record_many(target, ACTION, fields_of(keys, name, changes))
