"""Where the log stands, for people: what was alarmed, and what only whoever looks at the files can see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from affidavit.errors import LogError, StorageError
from affidavit.log.guard import differences
from affidavit.log.prover import Prover
from affidavit.log.signer import KEY, MISSING, MOST_NAMED, REFUSED
from affidavit.storage.guard import Guard
from affidavit.storage.log import Alarm, LogStore

__all__ = ["Check", "standing"]


class Alarms(Protocol):
    """Reads what was alarmed."""

    def alarms(self) -> list[Alarm]:
        """All, oldest first."""
        ...


Check = Callable[[], object]
"""Looks at something; raises where that is not as it should be."""


def standing(
    *,
    alarms: Alarms,
    log: LogStore,
    files: Check,
    guard: Callable[[], Guard | None],
    keys: Check,
    now: int,
    thorough: bool = True,
) -> list[Alarm]:
    """Everything that stands against the log, the oldest alarm first; nothing is changed.

    Args:
        alarms: what was alarmed.
        log: the trees.
        files: raises where the log file is not that of the events.
        guard: opens the guard; ``None`` while there is nothing to guard yet.
        keys: loads the log keys.
        now: microseconds since 1970 UTC.
        thorough: whether every log is compared with what the guard remembers of it.
    """
    found: dict[tuple[str, str], Alarm] = {}

    def add(kind: str, subject: str, text: str) -> None:
        found.setdefault((kind, subject), Alarm(kind, subject, now, text))

    try:
        files()
        found.update({(each.kind, each.subject): each for each in alarms.alarms()})
        seen = _seen_by(guard, log, thorough=thorough)
    except (LogError, StorageError) as error:
        if ("log_sequence", error.category) not in found:
            add("log_files", "", error.message)
        seen = iter(())
    try:
        for kind, subject, text in seen:
            add(kind, subject, text)
    except (LogError, StorageError) as error:
        add(MISSING, "", error.message)
    try:
        keys()
    except (LogError, StorageError) as error:
        add(KEY, "", error.message)
    return sorted(found.values(), key=lambda each: each.raised_at)


def _seen_by(
    open_guard: Callable[[], Guard | None], log: LogStore, *, thorough: bool
) -> Iterator[tuple[str, str, str]]:
    guard = open_guard()
    if guard is None:
        return
    try:
        for count, each in enumerate(differences(guard, log, Prover(log)) if thorough else ()):
            if count == MOST_NAMED:
                yield REFUSED, "", f"More than {MOST_NAMED} logs are not those that were signed."
                return
            yield REFUSED, each.head.origin, each.text
    finally:
        guard.close()
