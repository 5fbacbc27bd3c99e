"""Two hundred thousand events of three organizations, skewed as real logs are, made in seconds.

The rows do not come through the recorder, which would take a minute, but they have its form: the groups are
canonical JSON, ids hold their time, one in a hundred is late.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS
from affidavit.core.times import DAY, SECOND
from affidavit.testing.author import NOW

EVENTS = 200_000
SPAN = 60 * DAY
BIG, MIDDLE, SMALL = "acme", "globex", "tiny"

HOT_ACTOR, RARE_ACTOR, HOT_EMAIL = "u-hot", "u-rare", "hot@example.org"
HOT_IP, RARE_IP = "10.0.0.7", "198.51.100.9"
HOT_RESOURCE, RARE_RESOURCE = "r-hot", "r-rare"
RARE = 6
"""Events of each rare value, spread over the whole time."""

ACTIONS = (
    *("page.read",) * 60,
    *(f"user.{verb}" for verb in ("create", "delete", "update", "invite", "suspend")),
    *(f"team.member.{verb}" for verb in ("add", "remove", "promote")),
    *(f"api.request.n{number}" for number in range(12)),
    *(f"secret.{verb}" for verb in ("create", "rotate")),
)


TEMPLATES = 20_000
"""Different contents; each row has one of them, an id and a time of its own."""


def text(value: Any) -> str:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content(random: Random, *, rare: bool = False) -> tuple[Any, ...]:
    """All columns but the id, the secret and the time."""
    chance, pick = random.random, random.randrange
    share = chance()
    actor = RARE_ACTOR if rare else HOT_ACTOR if chance() < 0.3 else f"u-{int(2000 * chance() ** 3)}"
    people: dict[str, Any] = {"actor": {"id": actor, "type": "user"}}
    if actor == HOT_ACTOR:
        people["actor"]["email"] = HOT_EMAIL
    if chance() < 0.02:
        people["on_behalf_of"] = {"id": f"u-{pick(50)}", "type": "user"}
    if chance() < 0.5:
        people["session"] = {"id": f"s-{pick(5000)}", "token_name": f"token {pick(20)}", "type": "web"}
    resource = (
        RARE_RESOURCE if rare else HOT_RESOURCE if chance() < 0.2 else f"r-{int(20000 * chance() ** 2)}"
    )
    address = RARE_IP if rare else HOT_IP if chance() < 0.2 else f"10.{pick(4)}.{pick(40)}.{pick(250)}"
    context: dict[str, Any] = {"ip": address}
    if chance() < 0.3:
        context["location"] = {"country_code": ("DE", "FR", "US")[pick(3)] if chance() < 0.99 else "VN"}
    if chance() < 0.1:
        context["trace_id"] = f"{pick(10_000):032x}"
    return (
        1,
        BIG if share < 0.85 or rare else MIDDLE if share < 0.99 else SMALL,
        "warehouse" if chance() < 0.1 else None,
        ACTIONS[pick(len(ACTIONS))],
        "failure" if chance() < 0.03 else "success",
        "critical" if chance() < 0.005 else "warning" if chance() < 0.05 else "info",
        "web" if chance() < 0.8 else "cli",
        0,
        None if chance() < 0.97 else make_id(NOW, pick(300)),
        None,
        actor,
        text(people),
        text({"resources": [{"id": resource, "name": f"name of {resource}", "type": "table"}]}),
        text(context),
        "{}",
        text({"metadata": {"n": pick(500), "note": f"note {pick(500)} " + "x" * 60}}),
    )


def rows(seed: int = 1) -> Iterator[tuple[Any, ...]]:
    """The values of all columns, in recording order."""
    random = Random(seed)
    chance = random.random
    contents = [content(random) for _ in range(TEMPLATES)]
    rare = content(random, rare=True)
    for number in range(EVENTS):
        now = NOW - SPAN + SPAN * number // EVENTS
        age = int((3 * DAY if chance() < 0.01 else SECOND) * chance())
        made = rare if number % (EVENTS // RARE) == 777 else contents[int(TEMPLATES * chance())]
        id_ = make_id(now - age, random.getrandbits(62))
        yield id_, *made, number.to_bytes(32, "big"), None, now


def fill(path: Path) -> None:
    """Put all rows into an empty database, in one transaction with all triggers."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -262144")
        connection.execute("BEGIN")
        marks = ", ".join("?" * len(COLUMNS))
        connection.executemany(
            f"INSERT OR FAIL INTO affidavit_events ({', '.join(COLUMNS)}) VALUES ({marks})", rows()
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
