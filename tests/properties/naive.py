"""A second reading of the filters, written from their description alone: slow, plain, over all rows.

It shares no code with the product: rows come through a plain connection, groups through ``json.loads``, a
question is the list of parameters as they stand in the address, and every event is asked every condition.
"""

from __future__ import annotations

import ipaddress
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GROUPS = ("actor", "resources", "context", "changes", "details")


class Event(NamedTuple):
    """One row as it stands in the table."""

    seq: int | None
    """Its place in recording order; ``None`` while it waits for it."""
    id: bytes
    organization: str
    clear: dict[str, Any]
    texts: tuple[str | None, ...]
    said: dict[str, Any]
    """The fields of all groups."""

    @property
    def occurred_at(self) -> int:
        """Microseconds: 48 bits of milliseconds, then ``ceil(rand_a * 1000 / 4096)``."""
        milliseconds = int.from_bytes(self.id[:6], "big")
        rand_a = int.from_bytes(self.id[6:8], "big") & 0x0FFF
        return milliseconds * 1000 + -(-rand_a * 1000 // 4096)

    @property
    def late(self) -> bool:
        return bool(self.clear["recorded_at"] - self.occurred_at > 24 * 3600 * 1_000_000)


def event_of(seq: int | None, row: Mapping[str, Any]) -> Event:
    """From the columns by their names."""
    texts = tuple(row[name] for name in GROUPS)
    said: dict[str, Any] = {}
    for text in texts:
        said.update(json.loads(text) if text is not None else {})
    clear = {name: value for name, value in row.items() if name not in GROUPS}
    return Event(seq, row["id"], row["organization"], clear, texts, said)


def read_postgres(url: str) -> list[Event]:
    """Every event of a database of PostgreSQL."""
    statement = (
        "SELECT (SELECT seq FROM affidavit_leaves l JOIN affidavit_trees t USING (tree)"
        " WHERE t.organization = e.organization AND l.id = e.id) AS place, e.* FROM affidavit_events e"
    )
    with psycopg.connect(url) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        events = []
        for row in cursor.execute(statement):
            ids = {name: row[name].bytes for name in ("id", "parent_id") if row[name] is not None}
            events.append(event_of(row["place"], row | ids))
        return events


def read_all(database: Path) -> list[Event]:
    """Every event of a file of SQLite."""
    connection = sqlite3.connect(database)
    try:
        connection.row_factory = sqlite3.Row
        rows = connection.execute("SELECT * FROM affidavit_events ORDER BY seq")
        return [event_of(row["seq"], dict(row)) for row in rows]
    finally:
        connection.close()


def answer(
    events: Iterable[Event],
    organizations: Sequence[str] | None,
    pairs: Sequence[tuple[str, str]],
    order: str,
) -> list[Event]:
    """The whole answer; ``None`` stands for all organizations. Recording order has what has its place."""
    found = [
        event
        for event in events
        if (organizations is None or event.organization in organizations) and matches(event, pairs)
    ]
    if order == "asc":
        return sorted((event for event in found if event.seq is not None), key=lambda event: event.seq or 0)
    return sorted(found, key=lambda event: event.id, reverse=True)


def matches(event: Event, pairs: Sequence[tuple[str, str]]) -> bool:
    """AND over the parameters, OR over the values of one, ``not_`` is the complement."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    for name, wanted in values.items():
        if name == "start_date":
            if event.occurred_at < bound(wanted[0], last=False):
                return False
        elif name == "end_date":
            if event.occurred_at > bound(wanted[0], last=True):
                return False
        else:
            found = any(has(event, name.removeprefix("not_"), value) for value in wanted)
            if found is name.startswith("not_"):
                return False
    return True


def bound(text: str, *, last: bool) -> int:
    """A plain date is 00:00:00 at the start and 23:59:59.999999 at the end; else RFC 3339."""
    moment = datetime.fromisoformat(text)
    if "T" not in text:
        moment = moment.replace(tzinfo=UTC)
        if last:
            moment += timedelta(days=1) - timedelta(microseconds=1)
    return (moment - EPOCH) // timedelta(microseconds=1)


def people(event: Event, *fields: str) -> Iterator[dict[str, Any]]:
    """Those of the fields that the event has."""
    for field in fields:
        if field in event.said:
            yield event.said[field]


def is_person(person: dict[str, Any], value: str) -> bool:
    """Ids compare exactly, e-mails after Unicode casefold."""
    return person.get("id") == value or ("email" in person and person["email"].casefold() == value.casefold())


def has(event: Event, field: str, value: str) -> bool:  # noqa: C901
    """Whether one filter with one value finds the event."""
    clear, said = event.clear, event.said
    match field:
        case "actor":
            return any(is_person(person, value) for person in people(event, "actor", "on_behalf_of"))
        case "on_behalf_of":
            return any(is_person(person, value) for person in people(event, "on_behalf_of"))
        case "action":
            if value.endswith(".*"):
                return bool(clear["action"].startswith(value[:-1]))
            return bool(clear["action"] == value)
        case "action_group":
            return bool(clear["action"].split(".")[0] == value)
        case "outcome" | "severity" | "source" | "project":
            return bool(clear[field] == value)
        case "resource":
            return any(
                resource["id"] == value or resource.get("name", "\0").casefold() == value.casefold()
                for resource in said.get("resources", [])
            )
        case "resource_type":
            return any(resource["type"] == value for resource in said.get("resources", []))
        case "ip":
            return "ip" in said and inside(said["ip"], value)
        case "token":
            return any(
                credential.get("token_id") == value
                or credential.get("token_name", "\0").casefold() == value.casefold()
                for credential in people(event, "session", "recorded_by")
            )
        case "session":
            return any(session.get("id") == value for session in people(event, "session"))
        case "parent_id":
            return bool(clear["parent_id"] == UUID(value).bytes)
        case "request_id":
            return bool(said.get("request", {}).get("id") == value)
        case "trace_id":
            return bool(said.get("trace_id") == value)
        case "country_code":
            return ascii_lower(said.get("location", {}).get("country_code", "")) == ascii_lower(value)
        case "late":
            return event.late is (value == "true")
        case "imported":
            return bool(clear["imported"]) is (value == "true")
        case "q":
            looked_for = ascii_lower(json.dumps(value, ensure_ascii=False)[1:-1])
            return any(
                looked_for in ascii_lower(text)
                for text in (clear["action"], *event.texts)
                if text is not None
            )
    raise AssertionError(f"no such filter: {field}")


def ascii_lower(text: str) -> str:
    """Lower case for A to Z and nothing else."""
    return "".join(chr(ord(letter) + 32) if "A" <= letter <= "Z" else letter for letter in text)


def inside(address: str, value: str) -> bool:
    """Address or CIDR; an IPv4 address written as IPv6 is that IPv4 address."""
    number, width = plain_address(address)
    text, slash, length = value.partition("/")
    wanted, wanted_width = plain_address(text)
    bits = int(length) if slash else ipaddress.ip_address(text).max_prefixlen
    if wanted_width == 32 and ":" in text:
        bits -= 96
    return width == wanted_width and number >> (width - bits) == wanted >> (width - bits)


def plain_address(text: str) -> tuple[int, int]:
    """Number and width in bits, IPv4 taken out of IPv6."""
    found = ipaddress.ip_address(text)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return int(found), found.max_prefixlen
