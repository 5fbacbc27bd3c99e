"""Events to measure with, in the shape of real audit logs. The same seed gives the same events.

Actors, actions, addresses, tokens and resources are Zipf distributed; a part of the actions and half of the
user agents occur once or hardly ever. Two populations: events of applications (lognormal, median 350 bytes of
groups) and of clouds and identity providers (median 1,200), and one event in a thousand of 10 to 20 KB.
*Lean* events, for recording, are all of the first kind and have 350 bytes of groups on average.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import Final
from uuid import UUID

from affidavit.core.event import Actor, Change, Draft, Location, Request, Resource, Session
from affidavit.core.ids import make_id

__all__ = ["DAYS", "MAIN", "ORGANIZATIONS", "Source", "Zipf"]

DAYS: Final = 90
"""The time that a filled store spans."""
MAIN: Final = "org-00"
"""The organization that has seven tenths of the events, and is asked."""
ORGANIZATIONS: Final = tuple(f"org-{number:02}" for number in range(25))

_GROUPS: Final = {
    "user": ("login", "logout", "create", "update", "delete", "role.assign", "password.change", "invite"),
    "document": ("view", "create", "update", "delete", "share", "export", "comment", "move"),
    "project": ("create", "update", "archive", "member.add", "member.remove", "settings.update"),
    "billing": ("invoice.create", "invoice.pay", "invoice.refund", "plan.change", "card.add"),
    "secret": ("read", "rotate", "create", "delete"),
    "pipeline": ("run", "cancel", "retry", "approve", "deploy", "artifact.upload"),
    "api": ("request.get", "request.post", "request.delete", "key.create", "key.revoke"),
    "report": ("view", "schedule", "export"),
}
_RARE: Final = 40
_CLOUD: Final = tuple(
    f"aws.{service}.{verb}{noun}"
    for service in ("ec2", "s3", "iam", "kms", "sts", "lambda", "rds", "logs")
    for verb in ("describe", "get", "list", "put", "create", "delete")
    for noun in ("instances", "object", "role", "key")
)
_COUNTRIES: Final = ("DE", "US", "FR", "GB", "NL", "PL", "IN", "JP", "BR", "CA", "SE", "ES", "IT", "CH", "AT")
_KINDS: Final = ("document", "project", "user", "invoice", "secret", "pipeline", "report", "bucket", "role")
_WORDS: Final = tuple(
    "quota region cluster renewed partial attempt ticket approved by policy owner shared weekly batch"
    " rows staging production import export channel retry window limit exceeded default manual".split()
)
_BOOK: Final = " ".join(random.Random(2).choices(_WORDS, k=20_000))
"""Texts are cut out of it."""


class Zipf:
    """Draws from a list, the first members most often.

    Args:
        members: in falling order of frequency.
        exponent: 1.0 is Zipf's law.
    """

    def __init__(self, members: Sequence[str], exponent: float = 1.0) -> None:
        self._members = members
        self._sums = list(accumulate(1 / rank**exponent for rank in range(1, len(members) + 1)))

    def draw(self, rng: random.Random) -> str:
        """One member."""
        return self._members[bisect(self._sums, rng.random() * self._sums[-1])]


class Source:
    """A stream of drafts.

    Args:
        seed: of the stream; two with one seed are equal.
        lean: only application events, 350 bytes of groups on average.
    """

    def __init__(self, seed: int, *, lean: bool = False) -> None:
        self._rng = random.Random(seed)
        self._lean = lean
        actions = [f"{group}.{name}" for group, names in _GROUPS.items() for name in names]
        random.Random(1).shuffle(actions)
        rare = [f"{group}.rare_{number}" for number in range(_RARE) for group in ("user", "admin")]
        self._actions = Zipf([*actions, *rare], 1.2)
        self._cloud = Zipf(_CLOUD, 1.1)
        self._others = Zipf(ORGANIZATIONS[1:])
        self._actors = Zipf([f"u-{number:05}" for number in range(5_000)])
        self._addresses = Zipf([_address(number) for number in range(4_000)])
        self._agents = Zipf([_agent(number) for number in range(3_000)], 1.3)
        self._tokens = Zipf([f"tok_{number:03}" for number in range(200)])
        self._resources = Zipf([f"{number:06}" for number in range(50_000)], 0.8)
        self._projects = Zipf([f"project-{number:02}" for number in range(30)])
        self._countries = Zipf(_COUNTRIES)

    def organization(self) -> str:
        """Which organization the next event is of."""
        return MAIN if self._rng.random() < 0.7 else self._others.draw(self._rng)

    def drafts(self, count: int, *, at: int | None = None, step: int = 0) -> list[Draft]:
        """The next events.

        Args:
            count: how many.
            at: ``occurred_at`` of the first, microseconds since 1970 UTC; ``None`` leaves it to the recorder.
            step: microseconds from one to the next.
        """
        return [self.draft(None if at is None else at + number * step) for number in range(count)]

    def draft(self, at: int | None = None) -> Draft:
        """The next event, at a moment; one in a hundred occurred up to two days before it."""
        rng = self._rng
        if at is not None and rng.random() < 0.01:
            at -= int(rng.random() * 2 * 86_400_000_000)
        if not self._lean and rng.random() < 0.25:
            return self._of_cloud(at)
        return self._of_application(at)

    def _of_application(self, at: int | None) -> Draft:
        rng = self._rng
        actor = self._actors.draw(rng)
        kind = rng.choice(_KINDS)
        resource = self._resources.draw(rng)
        request = Request(id=f"{rng.getrandbits(64):016x}") if rng.random() < 0.3 else None
        token = self._tokens.draw(rng) if rng.random() < 0.3 else None
        size = rng.randrange(40, 130) if self._lean else int(min(4_000, rng.lognormvariate(4.4, 1.0)))
        return Draft(
            action=self._actions.draw(rng),
            organization=self.organization(),
            project=self._projects.draw(rng) if rng.random() < 0.5 else None,
            occurred_at=at,
            outcome="failure" if rng.random() < 0.05 else "success",
            source=rng.choice(("web", "web", "web", "api", "cli", "scheduler")),
            parent_id=UUID(bytes=make_id(rng.randrange(20_000) * 10**9, 0)) if rng.random() < 0.02 else None,
            actor=Actor(
                type="user",
                id=actor,
                name=f"Person {actor[2:]}" if rng.random() < 0.7 else None,
                email=f"{actor}@example.com",
            ),
            on_behalf_of=(
                Actor(type="user", id=self._actors.draw(rng), email=f"{actor}@example.net")
                if rng.random() < 0.02
                else None
            ),
            session=Session(type="api_token", token_id=token) if token is not None else None,
            resources=(Resource(type=kind, id=resource, name=f"{kind} {resource}"),),
            ip=self._addresses.draw(rng),
            user_agent=self._agents.draw(rng) if rng.random() < 0.2 else None,
            location=Location(country_code=self._countries.draw(rng)) if rng.random() < 0.2 else None,
            request=request,
            changes=(
                {"state": Change(old=rng.choice(_WORDS), new=rng.choice(_WORDS))}
                if rng.random() < 0.2
                else None
            ),
            metadata={"note": self._text(size)},
        )

    def _of_cloud(self, at: int | None) -> Draft:
        rng = self._rng
        actor = self._actors.draw(rng)
        huge = rng.random() < 0.004
        size = rng.randrange(9_000, 19_000) if huge else int(min(6_000, rng.lognormvariate(6.4, 0.5)))
        return Draft(
            action=self._cloud.draw(rng),
            organization=self.organization(),
            occurred_at=at,
            outcome="failure" if rng.random() < 0.1 else "success",
            source="aws",
            actor=Actor(type="service", id=f"arn:aws:iam::123456789012:role/{actor}"),
            session=Session(type="web", id=f"{rng.getrandbits(80):020x}"),
            resources=tuple(
                Resource(type="bucket", id=f"arn:aws:s3:::{self._resources.draw(rng)}")
                for _ in range(rng.randrange(3))
            ),
            ip=self._addresses.draw(rng),
            user_agent=self._agents.draw(rng),
            location=Location(country_code=self._countries.draw(rng), country="Somewhere"),
            request=Request(id=f"{rng.getrandbits(64):016x}", method="POST", endpoint="/"),
            trace_id=f"{rng.getrandbits(128):032x}",
            metadata={
                "account": "123456789012",
                "record": {f"key{number}": self._text(size // 12) for number in range(12)},
            },
        )

    def _changes(self) -> dict[str, Change]:
        return {"state": Change(old=self._rng.choice(_WORDS), new=self._rng.choice(_WORDS))}

    def _text(self, size: int) -> str:
        start = self._rng.randrange(len(_BOOK) - 20_000)
        return _BOOK[start : start + size]


def _address(number: int) -> str:
    if number % 20 == 19:
        return f"2001:db8:{number:x}::{number * 7919 % 65536:x}"
    return f"10.{number % 7}.{number // 7 % 60}.{number * 37 % 256}"


def _agent(number: int) -> str:
    return (
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_{number % 9}) AppleWebKit/537.36 (KHTML, like Gecko)"
        f" Chrome/{80 + number % 60}.0.{number}.0 Safari/537.36"
    )
