"""A small log full of traps, the questions that fall into them, and walks over the answers."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from hypothesis import strategies as st

from affidavit.access.ciphers import TokenCipher
from affidavit.core.credentials import ALL
from affidavit.core.cursor import Order
from affidavit.core.event import Actor, Change, Draft, Location, RecordedBy, Request, Resource, Session
from affidavit.core.filter import FIELDS
from affidavit.core.ids import make_id
from affidavit.core.query import parse_params
from affidavit.core.row import Row, StoredEvent
from affidavit.core.times import DAY, HOUR, format_time
from affidavit.log.reader import Reader
from affidavit.testing.author import NOW, Author, Clock
from affidavit.testing.conformance.suite import seal
from affidavit.testing.engine import Engine
from affidavit.testing.postgres import PostgresEngine
from affidavit.testing.sqlite import SqliteEngine
from tests.postgres import Server
from tests.properties import naive

Pairs = Sequence[tuple[str, str]]

ORGANIZATIONS = ("acme", "Acme", "globex")
TEXTS = (
    *("ana", "ana", "ana", "ana", "Ana", "ANA", "bob"),
    *("straße", "STRASSE", "strasse", "ß", "SS", "İ", "i̇", "i", "\u212a", "K", "k", "é", "É", "e\u0301", "ﬃ"),
    *(
        "%",
        "_",
        "\\",
        "*",
        "?",
        "[",
        "]",
        "[a-z]",
        '"',
        "'",
        "a%b",
        "a_b",
        "axb",
        "a\\b",
        'x"y',
        "x\ny",
        "\x1f",
    ),
    *('","id":"ana', "\u2028", "\U0001f600", "null", "0", " ", "ana "),
)
"""Ids and names: skewed, cases that fold together or do not, what LIKE, GLOB and JSON treat specially."""
EMAILS = (
    "ana@x.io",
    "ana@x.io",
    "ANA@X.IO",
    "straße@x.io",
    "STRASSE@x.io",
    "\u212aim@x.io",
    "kim@x.io",
    "İ@x.io",
)
ADDRESSES = (
    *("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.255", "10.0.1.1", "10.1.0.1", "192.168.0.1"),
    *("::ffff:10.0.0.1", "2001:db8::1", "2001:DB8:0:0::2", "2001:db8::1:1", "2001:db8:1::1", "::1"),
)
NETWORKS = (
    *(
        "10.0.0.0/24",
        "10.0.0.0/23",
        "10.0.0.0/16",
        "10.0.0.1/32",
        "0.0.0.0/0",
        "10.0.0.7/24",
        "192.168.0.0/31",
    ),
    *("2001:db8::/32", "2001:db8::/120", "2001:db8::/112", "::/0", "::ffff:10.0.0.0/120", "::ffff:0:0/96"),
)
ACTIONS = (
    *("user.create", "user.create", "user.create", "user.delete", "user.role.assign", "user.role.revoke"),
    *(
        "users.list",
        "user-x.y",
        "user_x.y",
        "team.update",
        "team.update.all",
        "auth.login.failed",
        "a.b",
        "0.0",
    ),
)
PREFIXES = ("user.*", "user.role.*", "team.*", "team.update.*", "use.*", "a.*", "nobody.*")
GROUPS = ("user", "users", "user-x", "user_x", "team", "a", "0", "nobody")
PROJECTS = ("p", "p", "P", "p-1", "p_1", "p:1")
TYPES = ("team", "team", "TEAM", "user", "%", "te_m")
TRACES = ("4bf92f3577b34da6a3ce929d0e0e4736", "4BF92F3577B34DA6A3CE929D0E0E4736", "ana", "\u212a")
COUNTRIES = ("DE", "de", "De", "FR", "us", "ſs", "SS")
PARENTS = tuple(UUID(bytes=make_id(NOW, number)) for number in range(3))
AGES = (0, 0, 1, 2, HOUR, HOUR - 1, HOUR + 1, DAY, DAY + 1, 2 * DAY, 2 * DAY + 1, 40 * DAY, 40 * DAY - 1)
NEEDLES = (
    *(
        "ana",
        "ANA",
        "partial rotation",
        "user.",
        "USER.CREATE",
        "actor",
        '"actor":{',
        '":"',
        "%",
        "_",
        "\\",
        "\\\\",
    ),
    *(
        "\n",
        "\x1f",
        "\\u001f",
        "[",
        "*",
        "?",
        "'",
        "ß",
        "STRASSE",
        "straße",
        "\u212a",
        "k",
        "İ",
        "é",
        "É",
        "{}",
    ),
    *(
        "10.0.0.",
        "metadata",
        "null",
        "1e2",
        "100.0",
        "\u2028",
        "\U0001f600",
        "masked",
        "no such text",
        " ",
        "a%b",
    ),
)


def texts(random: Random, chance: float = 0.5) -> str | None:
    """One of the texts, or none."""
    return random.choice(TEXTS) if random.random() < chance else None


def person(random: Random) -> Actor:
    """Somebody, often the same, sometimes under the address of another."""
    email = random.choice(EMAILS) if random.random() < 0.4 else None
    return Actor(
        type=random.choice(("user", "service")), id=random.choice(TEXTS), name=texts(random, 0.2), email=email
    )


def credential(random: Random) -> dict[str, Any]:
    """Id, token id and token name, any of them absent."""
    return {"id": texts(random), "token_id": texts(random), "token_name": texts(random)}


def some(random: Random, chance: float, make: Callable[[], Any]) -> Any:
    """Something, or nothing."""
    return make() if random.random() < chance else None


def event(random: Random, now: int) -> Draft:
    """An event with any of the fields that a filter looks at."""
    occurred_at = now - random.choice(AGES)
    resources = tuple(
        Resource(type=random.choice(TYPES), id=random.choice(TEXTS), name=texts(random))
        for _ in range(random.choice((0, 1, 1, 2, 3)))
    )
    return Draft(
        action=random.choice(ACTIONS),
        occurred_at=occurred_at,
        project=some(random, 0.5, lambda: random.choice(PROJECTS)),
        outcome=random.choice(("success", "success", "success", "failure")),
        severity=some(random, 0.2, lambda: random.choice(("info", "warning", "critical"))),
        source=some(random, 0.5, lambda: random.choice(("web", "cli", "web"))),
        imported=random.random() < 0.1,
        parent_id=some(random, 0.3, lambda: random.choice(PARENTS)),
        actor=person(random),
        on_behalf_of=some(random, 0.2, lambda: person(random)),
        session=some(random, 0.4, lambda: Session(type="web", **credential(random))),
        resources=resources,
        ip=some(random, 0.7, lambda: random.choice(ADDRESSES)),
        location=some(
            random, 0.4, lambda: Location(country_code=random.choice(COUNTRIES), city=texts(random))
        ),
        request=some(random, 0.4, lambda: Request(id=texts(random), method="GET")),
        trace_id=some(random, 0.3, lambda: random.choice(TRACES)),
        changes=some(random, 0.2, lambda: {random.choice(TEXTS): Change(old=1e2, new=texts(random))}),
        reason=some(random, 0.2, lambda: random.choice(("partial rotation", "PARTIAL ROTATION"))),
        metadata=some(random, 0.3, lambda: {random.choice(TEXTS): [random.choice(NEEDLES), 10**20]}),
        id=some(random, 0.2, lambda: UUID(bytes=make_id(occurred_at, random.randrange(4)))),
    )


GROUPS_OF_EVENTS = ("actor", "resources", "context", "changes", "details")


class World(ABC):
    """A database with its writer, reader and follower, and everything that a test does to it."""

    def __init__(self, engine: Engine, clock: Clock, seed: int) -> None:
        self.random = Random(seed)
        self.clock = clock
        self.engine = engine
        self.database = self.engine.create()
        self.stores = self.engine.open(self.database)
        self.author = Author(self.clock, seed)
        self.follower = self.stores.follower()
        cipher = TokenCipher(b"k" * 32, self.random.randbytes)
        self.reader = Reader(self.stores.events, self.stores.index, self.stores.log, cipher)

    @abstractmethod
    def events(self) -> list[naive.Event]:
        """Every event, as a plain connection reads it."""

    @abstractmethod
    def erase(self, chance: float) -> None:
        """Take away groups of some rows, as erasure and expiry will: under a permit, in one transaction."""

    def nulls(self) -> str:
        """Two groups and what goes with them, each set to NULL."""
        gone = self.random.sample(GROUPS_OF_EVENTS, 2)
        columns = [*gone, *(["actor_id"] if "actor" in gone else []), "secret"]
        return ", ".join(f"{column} = NULL" for column in columns)

    def close(self) -> None:
        """Let go of the files."""
        self.follower.close()
        self.engine.close()

    def record(self, number: int) -> None:
        """Record that many events, each in an organization of its own choice, time passing between them."""
        rows: list[Row] = []
        for _ in range(number):
            self.clock.forward(self.random.choice((0, 1, HOUR // 100)))
            by = (
                RecordedBy(type="api_token", **credential(self.random))
                if self.random.random() < 0.3
                else None
            )
            (row,) = self.author.rows(
                event(self.random, self.clock.now),
                organization=self.random.choice(ORGANIZATIONS[: self.random.choice((1, 1, 3))]),
                by=by,
            )
            rows.append(msgspec.structs.replace(row, recorded_at=self.clock.now, compare=False))
        self.stores.events.insert(rows)

    def follow(self) -> None:
        """Bring the index up to the newest event, with all its upkeep."""
        while self.follower.step():
            while self.follower.tidy():
                pass

    def walk(
        self,
        organizations: Sequence[str] | None,
        pairs: Pairs,
        *,
        order: Order,
        limit: int,
        seconds: float,
        between: Callable[[int], None] = lambda page: None,
    ) -> list[StoredEvent]:
        """All pages of a question through tokens; each page in order and no longer than asked for."""
        filter_ = parse_params(pairs)
        asked = ALL if organizations is None else tuple(organizations)
        events: list[StoredEvent] = []
        token: str | None = None
        number = 0
        while True:
            page = self.reader.page(asked, filter_, limit=limit, order=order, token=token, seconds=seconds)
            shared = len({event.id for event in page.events[limit - 1 :]})
            assert len(page.events) <= limit or (order == "desc" and shared == 1)
            events += page.events
            token = page.continuation_token
            if token is None or page.caught_up:
                break
            number += 1
            between(number)
        keys = [event.seq if order == "asc" else event.id for event in events]
        for one, other in pairwise(keys):
            assert one < other if order == "asc" else one >= other  # type: ignore[operator]
        assert len({(e.organization, e.id) for e in events}) == len(events), "an event came twice"
        return events


class SqliteWorld(World):
    """On SQLite, in a folder."""

    def __init__(self, folder: Path, seed: int, template: bytes | None = None) -> None:
        clock = Clock()
        super().__init__(SqliteEngine(folder, clock=clock, template=template), clock, seed)

    def events(self) -> list[naive.Event]:
        return naive.read_all(Path(self.database))

    def erase(self, chance: float) -> None:
        connection = sqlite3.connect(self.database)
        try:
            for organization in ORGANIZATIONS:
                connection.execute(
                    "INSERT INTO affidavit_permit VALUES (?, 'erasure', 'm', NULL, NULL)", [organization]
                )
            for (seq,) in connection.execute("SELECT seq FROM affidavit_events").fetchall():
                if self.random.random() < chance:
                    connection.execute(
                        f"UPDATE affidavit_events SET {self.nulls()}, remains = '{{}}' WHERE seq = ?", [seq]
                    )
            connection.execute("DELETE FROM affidavit_permit")
            connection.commit()
        finally:
            connection.close()


class PostgresWorld(World):
    """On a PostgreSQL server."""

    def __init__(self, server: Server, seed: int) -> None:
        clock = Clock()
        super().__init__(PostgresEngine(server, clock=clock), clock, seed)

    def events(self) -> list[naive.Event]:
        return naive.read_postgres(self.database)

    def place(self) -> None:
        """Give every event its place in recording order."""
        seal(self.stores)

    def erase(self, chance: float) -> None:
        with psycopg.connect(self.database) as connection:
            for organization in ORGANIZATIONS:
                connection.execute(
                    "INSERT INTO affidavit_permit VALUES (%s, 'erasure', 'm', NULL, NULL)", [organization]
                )
            for key in connection.execute("SELECT organization, id FROM affidavit_events").fetchall():
                if self.random.random() < chance:
                    connection.execute(
                        f"UPDATE affidavit_events SET {self.nulls()}, remains = '{{}}'"
                        " WHERE organization = %s AND id = %s",
                        key,
                    )
            connection.execute("DELETE FROM affidavit_permit")

    def make_month(self, day: str) -> None:
        """Make the month of a day; what stands of it in the default partition moves there."""
        with psycopg.connect(self.database) as connection:
            connection.execute(
                "SELECT affidavit_month_make(date_trunc('month', %s::date)::date, 1000000)", [day]
            )


def times() -> st.SearchStrategy[str]:
    """Bounds that fall on, before and after the moments of events, and whole days."""
    moments = st.builds(
        lambda age, step: format_time(NOW - age + step),
        st.sampled_from(AGES),
        st.sampled_from((-1, 0, 1, HOUR)),
    )
    return moments | st.sampled_from(
        (
            "2025-12-31",
            "2026-01-01",
            "2025-11-22",
            "2025-12-30T23:59:59.9999999Z",
            "2025-12-31T01:00:00+01:00",
        )
    )


VALUES: dict[str, tuple[str, ...]] = {
    "actor": (*TEXTS, *EMAILS),
    "action": (*ACTIONS, *PREFIXES),
    "action_group": GROUPS,
    "outcome": ("success", "failure"),
    "severity": ("info", "warning", "critical"),
    "source": ("web", "cli", "api", "nobody"),
    "resource": TEXTS,
    "resource_type": (*TYPES, "nobody"),
    "project": (*PROJECTS, "nobody"),
    "ip": (*ADDRESSES, *NETWORKS),
    "token": TEXTS,
    "session": TEXTS,
    "on_behalf_of": (*TEXTS, *EMAILS),
    "parent_id": (*map(str, PARENTS), str(PARENTS[0]).upper(), str(PARENTS[1]).replace("7", "6")),
    "request_id": TEXTS,
    "trace_id": TRACES,
    "country_code": ("DE", "de", "fr", "SS", "XX"),
    "late": ("true", "false"),
    "imported": ("true", "false"),
    "q": NEEDLES,
}
assert set(VALUES) == set(FIELDS), "every filter has its traps"


@st.composite
def questions(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Parameters: up to four filters with or without ``not_``, one to three values each, and dates."""
    pairs: list[tuple[str, str]] = []
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=4)):
        name = draw(st.sampled_from((field, field, f"not_{field}")))
        pairs += [
            (name, value) for value in draw(st.lists(st.sampled_from(VALUES[field]), min_size=1, max_size=3))
        ]
    for name in ("start_date", "end_date"):
        if draw(st.integers(0, 4)) == 0:
            pairs.append((name, draw(times())))
    return draw(st.permutations(pairs))


def scopes() -> st.SearchStrategy[tuple[str, ...] | None]:
    """One, several, unknown, no organization, or all of them."""
    return st.sampled_from(
        (("acme",), ("acme",), None, ("Acme", "globex"), ORGANIZATIONS, ("nobody",), ("globex", "nobody"), ())
    )
