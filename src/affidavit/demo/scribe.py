"""The scribe: writes down what happens in one organization, as drafts with id, time and recording time."""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import UUID

from affidavit.core.event import Actor, Change, Draft, Location, Request, Resource, Session
from affidavit.core.ids import make_id
from affidavit.demo.cast import Machine, Organization, Person, identity
from affidavit.demo.organizations import UNKNOWN_PLACES

__all__ = ["MINUTE", "SECOND", "Entry", "Scribe", "change"]

SECOND = 1_000_000
MINUTE = 60 * SECOND

Entry = tuple[int, str, Draft]
"""Recording time in microseconds since 1970 UTC, organization, event."""


def change(**fields: tuple[Any, Any]) -> dict[str, Change]:
    """``change(plan=("free", "pro"))``: old and new values by field."""
    return {name: Change(old=old, new=new) for name, (old, new) in fields.items()}


class Scribe:
    """Collects entries of one organization. The random generator is the only source of chance.

    Attributes:
        versions: counts up by name, such as the versions of a secret, over the whole time.
    """

    def __init__(self, organization: Organization, random: Random) -> None:
        self.organization = organization
        self.random = random
        self.versions: dict[str, int] = {}
        self._entries: list[Entry] = []

    def take(self) -> list[Entry]:
        """What was written since the last call."""
        entries, self._entries = self._entries, []
        return entries

    def version(self, name: str) -> int:
        """The next number of a name, from 2 on."""
        self.versions[name] = self.versions.get(name, 1) + 1
        return self.versions[name]

    def write(
        self,
        at: int,
        action: str,
        actor: Actor,
        *resources: Resource,
        outcome: str = "success",
        **fields: Any,
    ) -> Draft:
        """An event at a moment.

        Args:
            at: microseconds since 1970 UTC.
            action: the dotted name.
            actor: who did it.
            resources: what it was done to, the primary one first.
            outcome: ``success`` or ``failure``.
            fields: further fields of the draft.
        """
        draft = Draft(
            action=action,
            organization=self.organization.name,
            id=UUID(bytes=make_id(at, self.random.getrandbits(62))),
            occurred_at=at,
            outcome=outcome,  # type: ignore[arg-type]
            actor=actor,
            resources=resources,
            **fields,
        )
        self._entries.append((at + self.random.randint(5_000, 400_000), self.organization.name, draft))
        return draft

    def person(
        self, at: int, action: str, person: Person, *resources: Resource, source: str = "web", **fields: Any
    ) -> Draft:
        """An event by a person, from where that person works on that day; ``fields`` may say otherwise."""
        ip: str = fields.pop("ip", None) or self.address(person, at)
        context: dict[str, Any] = {
            "ip": ip,
            "location": UNKNOWN_PLACES.get(ip, person.place.location),
            "user_agent": person.browser.agent,
            "client": person.browser.label,
            "session": self.web_session(person, at),
        }
        if source == "cli":
            name = self.organization.name.partition("-")[0]
            session = Session(type="cli", id=identity(person.email, "cli"))
            context |= {"user_agent": f"{name}ctl/2.14.0", "client": "Command line", "session": session}
        actor: Actor = fields.pop("actor", person.actor)
        return self.write(at, action, actor, *resources, source=source, **{**context, **fields})

    def machine(
        self, at: int, action: str, machine: Machine, *resources: Resource, source: str = "api", **fields: Any
    ) -> Draft:
        """An event by a program with a token, from a CI platform where it runs on one."""
        ip: str = fields.pop("ip", machine.address)
        location: Location | None = UNKNOWN_PLACES.get(ip, machine.location)
        ci = machine.ci if ip == machine.address else None
        context: dict[str, Any] = {
            "ip": ip,
            "location": location,
            "user_agent": machine.agent,
            "session": machine.session,
            "ci": ci,
        }
        return self.write(at, action, machine.actor, *resources, source=source, **{**context, **fields})

    def system(
        self, at: int, action: str, name: str, *resources: Resource, source: str, **fields: Any
    ) -> Draft:
        """An event by a part of the product itself; it has no address."""
        return self.write(
            at, action, Actor(type="system", id=name, name=name), *resources, source=source, **fields
        )

    def address(self, person: Person, at: int) -> str:
        """The office's address on office days, else that of the person's home."""
        day = at // (24 * 60 * MINUTE)
        at_home = int(identity(person.email, str(day))[:2], 16) < 100
        return person.home if at_home else person.place.address

    def web_session(self, person: Person, at: int) -> Session:
        """The web session of a person's day."""
        day = at // (24 * 60 * MINUTE)
        return Session(type="web", id=identity(person.email, "session", str(day)))

    def request(self, method: str, endpoint: str, **params: Any) -> Request:
        """A request with an id of its own."""
        number = f"req_{self.random.getrandbits(48):012x}"
        return Request(id=number, method=method, endpoint=endpoint, params=params or None)
