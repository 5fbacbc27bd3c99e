"""Our side of the comparison: what an app does to record, in the context of a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from affidavit.core.event import Actor, Request
from affidavit.embed import Audit
from affidavit.recorder.adapters.dispatch import adapter_of
from affidavit.recorder.fields import Said
from bench.recorders_by_hand import ACTION, ACTOR, CONTEXT

__all__ = ["known", "opened", "record_together", "said_of"]


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


def said_of(
    audit: Audit, keys: Iterable[int], name: str, changes: Mapping[str, tuple[Any, Any]]
) -> list[Said]:
    """An event for each customer, as the adapters take several."""
    return [
        audit.recorder.said(ACTION, {"resource": ("customer", key, name), "changes": changes}) for key in keys
    ]


def record_together(
    audit: Audit, target: Any, keys: Iterable[int], name: str, changes: Mapping[str, tuple[Any, Any]]
) -> Any:
    """Record an event for each customer by one call of the adapter, the one that a session's commit makes."""
    return adapter_of(target).record(audit.recorder, target, said_of(audit, keys, name, changes), "public")
