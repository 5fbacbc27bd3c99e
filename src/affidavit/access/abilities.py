"""The twelve abilities. Absent means no: the empty set grants nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from affidavit.errors import FieldError, Refused

__all__ = [
    "ABILITIES",
    "DETECTIONS_MANAGE",
    "ERASURE_MANAGE",
    "EVENTS_IMPORT",
    "EVENTS_WRITE",
    "EXPORT",
    "INSTANCE_OPERATE",
    "LIST",
    "LOG_READ",
    "MEMBERS_MANAGE",
    "RETENTION_MANAGE",
    "STREAMS_MANAGE",
    "TOKENS_MANAGE",
    "check_abilities",
]

LIST: Final = "audit-log:list"
EXPORT: Final = "audit-log:export"
LOG_READ: Final = "log:read"
EVENTS_WRITE: Final = "events:write"
EVENTS_IMPORT: Final = "events:import"
TOKENS_MANAGE: Final = "tokens:manage"
MEMBERS_MANAGE: Final = "members:manage"
STREAMS_MANAGE: Final = "streams:manage"
RETENTION_MANAGE: Final = "retention:manage"
ERASURE_MANAGE: Final = "erasure:manage"
DETECTIONS_MANAGE: Final = "detections:manage"
INSTANCE_OPERATE: Final = "instance:operate"

ABILITIES: Final[dict[str, str]] = {
    LIST: "Read events: lists, details, histogram and facets.",
    EXPORT: "Export events as files.",
    LOG_READ: "Read checkpoints and tiles of the log.",
    EVENTS_WRITE: "Record events.",
    EVENTS_IMPORT: "Record events marked imported, or more than 30 days old.",
    TOKENS_MANAGE: "List, create and revoke API tokens.",
    MEMBERS_MANAGE: "Manage members and their roles.",
    STREAMS_MANAGE: "Manage streams to other systems.",
    RETENTION_MANAGE: "Manage retention policies and legal holds.",
    ERASURE_MANAGE: "Erase the personal data of a subject.",
    DETECTIONS_MANAGE: "Manage detections and alerts.",
    INSTANCE_OPERATE: "Operate the instance: organizations and metrics.",
}
"""Every ability and what it permits, in the order of the documentation."""


def check_abilities(names: Iterable[str], pointer: str = "/abilities") -> tuple[str, ...]:
    """The given abilities once each, in the order of :data:`ABILITIES`.

    Raises:
        Refused: one of them does not exist.
    """
    given = list(names)
    unknown = [
        FieldError(
            f"{pointer}/{position}", "unknown_ability", f"must be one of {', '.join(ABILITIES)}", name[:100]
        )
        for position, name in enumerate(given)
        if name not in ABILITIES
    ]
    if unknown:
        raise Refused(f"There is no ability {unknown[0].value!r}; {unknown[0].message}.", tuple(unknown))
    return tuple(name for name in ABILITIES if name in given)
