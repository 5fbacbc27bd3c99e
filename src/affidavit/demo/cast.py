"""What the demonstration's cast is made of: people, machines, organizations, and ids that belong to names."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from uuid import UUID

import msgspec

from affidavit.core.event import CI, Actor, Location, Resource, Session

__all__ = ["Browser", "Machine", "Organization", "Person", "Place", "identity", "thing"]


@lru_cache(maxsize=65536)
def identity(*words: str) -> str:
    """A UUID that belongs to these words for ever."""
    return str(UUID(bytes=sha256("/".join(words).encode()).digest()[:16], version=4))


class Browser(msgspec.Struct, frozen=True):
    """What a person works with: the agent's text and its label."""

    agent: str
    label: str


class Place(msgspec.Struct, frozen=True):
    """Where people sit: its location, hours ahead of UTC, and the office's address."""

    location: Location
    offset: int
    address: str


class Person(msgspec.Struct, frozen=True):
    """One of the people.

    Attributes:
        role: ``owner``, ``admin``, ``engineer``, ``analyst`` or ``support``; decides what they do.
        weight: how busy they are, 1 for the busiest.
        home: the address they work from on days at home.
    """

    organization: str
    name: str
    email: str
    role: str
    weight: float
    place: Place
    home: str
    browser: Browser

    @property
    def actor(self) -> Actor:
        """The person as an actor."""
        return Actor(
            type="user", id=identity(self.organization, "user", self.email), name=self.name, email=self.email
        )

    @property
    def resource(self) -> Resource:
        """The person as what something is done to."""
        return Resource(type="user", id=self.actor.id, name=self.email)


class Machine(msgspec.Struct, frozen=True):
    """A token of a program: what calls it, from where.

    Attributes:
        daily: calls on a working day, on average; a fifth of it on other days.
        hours: of the day in UTC between which it calls.
    """

    organization: str
    name: str
    abilities: tuple[str, ...]
    address: str
    agent: str
    daily: int
    hours: tuple[int, int] = (0, 24)
    ci: CI | None = None
    location: Location | None = None

    @property
    def actor(self) -> Actor:
        """The token as an actor."""
        return Actor(type="api_token", id=identity(self.organization, "token", self.name), name=self.name)

    @property
    def session(self) -> Session:
        """How it signs in."""
        return Session(type="api_token", token_id=self.actor.id, token_name=self.name)

    @property
    def resource(self) -> Resource:
        """The token as what something is done to."""
        return Resource(type="api_token", id=self.actor.id, name=self.name)


class Organization(msgspec.Struct, frozen=True):
    """A tenant with its people and machines; the first person is its owner."""

    name: str
    title: str
    domain: str
    people: tuple[Person, ...]
    machines: tuple[Machine, ...]

    def person(self, first: str) -> Person:
        """The person with that first name."""
        return next(person for person in self.people if person.name.startswith(first + " "))

    def machine(self, name: str) -> Machine:
        """The machine with that name."""
        return next(machine for machine in self.machines if machine.name == name)

    @property
    def resource(self) -> Resource:
        """The organization as what something is done to."""
        return thing(self.name, "organization", self.title)


@lru_cache(maxsize=4096)
def thing(organization: str, kind: str, name: str) -> Resource:
    """Something of an organization, under an id that belongs to its name."""
    return Resource(type=kind, id=identity(organization, kind, name), name=name)
