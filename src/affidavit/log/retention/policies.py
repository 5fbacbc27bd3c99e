"""Retention policies: how long the groups of each class of events are kept; each change is an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from affidavit.access.events import AccessEvents
from affidavit.access.scope import Credential
from affidavit.core.event import Resource
from affidavit.core.retention import (
    CLASS_RULE,
    EXPLAINING,
    MAX_CLASSES,
    MAX_DAYS,
    class_is_valid,
    write_policy,
)
from affidavit.core.row import Row
from affidavit.errors import FieldError, NotFound, Refused
from affidavit.storage.retention import PolicyChange, PolicyStore, Rules

__all__ = ["FOREVER", "RetentionSettings", "check_class"]

FOREVER = "forever"
"""How a class without an end is written."""


class RetentionSettings:
    """Set, list and take away policies.

    Args:
        store: where they are kept.
        events: makes the events of each change, stored with it.
    """

    def __init__(self, store: PolicyStore, events: AccessEvents) -> None:
        self._store = store
        self._events = events

    def rules(self, organization: str) -> Rules:
        """The table of an organization; what no class of it covers is kept for ever."""
        return self._store.rules(organization)

    def organizations(self) -> list[str]:
        """Those that have a table, by name."""
        return self._store.organizations()

    def set(
        self, organization: str, name: str, days: int | None, by: Credential, *, address: str | None = None
    ) -> Rules:
        """Keep the groups of a class for that many days; recorded as ``audit.retention.changed``.

        Args:
            organization: whose events.
            name: the class.
            days: 1 to :data:`MAX_DAYS`, counted from ``recorded_at``; ``None`` for ever.
            by: who changes it.
            address: the address that the request came from.

        Returns:
            The whole table after the change. The same again changes nothing and is no event.

        Raises:
            Refused: class or days break their rule, or there are too many classes.
        """
        check_class(name)
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise _refused("/days", "days", f"must be 1 to {MAX_DAYS:,}, or {FOREVER}", days)
        return self._change(organization, name, lambda rules: {**rules, name: days}, by, address)

    def unset(self, organization: str, name: str, by: Credential, *, address: str | None = None) -> Rules:
        """Take a class out of the table, so that the next wider one decides; recorded like :meth:`set`.

        Raises:
            NotFound: the table does not have the class.
        """

        def without(rules: Rules) -> Rules:
            if name not in rules:
                raise NotFound(f"There is no policy for {name!r:.140} in {organization}.")
            return {other: days for other, days in rules.items() if other != name}

        return self._change(organization, name, without, by, address)

    def _change(
        self, organization: str, name: str, work: _Work, by: Credential, address: str | None
    ) -> Rules:
        def checked(rules: Rules) -> Rules:
            after = work(rules)
            if len(after) > MAX_CLASSES:
                raise _refused("/class", "too_many", f"at most {MAX_CLASSES} classes, this is one more", name)
            return after

        def rows(change: PolicyChange) -> list[Row]:
            return self._events.rows(
                "audit.retention.changed",
                by,
                (organization,),
                Resource(type="retention_policy", id=name),
                changes={"days": (_shown(change.before, name), _shown(change.after, name))},
                address=address,
                facts={"policy": write_policy(change.after)},
            )

        return self._store.change(organization, checked, rows).after


_Work = Callable[[Rules], Rules]


def check_class(name: str, pointer: str = "/class") -> None:
    """Refuse what is no class, and a class that could only cover events that are kept for ever.

    Raises:
        Refused: with the rule.
    """
    if not class_is_valid(name):
        raise _refused(pointer, "class", CLASS_RULE, name[:140])
    if name.startswith(EXPLAINING):
        kept = ", ".join(f"{prefix}*" for prefix in EXPLAINING)
        rule = f"{kept} explain what is missing and are kept for ever"
        raise _refused(pointer, "kept_for_ever", rule, name)


def _refused(pointer: str, rule: str, message: str, value: object) -> Refused:
    return Refused(f"{pointer[1:]}: {message}, not {value!r}.", (FieldError(pointer, rule, message, value),))


def _shown(rules: Mapping[str, int | None], name: str) -> int | str | None:
    if name not in rules:
        return None
    days = rules[name]
    return FOREVER if days is None else days
