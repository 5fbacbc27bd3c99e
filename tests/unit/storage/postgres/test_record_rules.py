"""Recording from SQL: whatever is accepted has a proper leaf, all else is refused by name."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affidavit.core.event import CI, Actor, Change, Location, Request, Resource, Session
from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS
from affidavit.testing.author import Author, draft
from tests.unit.storage.postgres.recording import ACTOR, GROUPS, WHOLE, Recording, told

# What is refused.


def dated(said: dict[str, Any]) -> dict[str, Any]:
    """With moments counted from now, and not from when the tests were collected."""
    now = datetime.now(UTC)
    return {name: now + value if isinstance(value, timedelta) else value for name, value in said.items()}


def member(group: str, name: str, value: Any) -> dict[str, str]:
    """A group with one field."""
    return {group: json.dumps({name: value})}


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no organization": ({"organization": None}, "/organization", "required"),
    "an empty organization": ({"organization": ""}, "/organization", "pattern"),
    "an organization with a path": ({"organization": "a..b"}, "/organization", "pattern"),
    "an organization with a line": ({"organization": "acme\n"}, "/organization", "pattern"),
    "an organization with an umlaut": ({"organization": "größe"}, "/organization", "pattern"),
    "a long organization": ({"organization": "a" * 129}, "/organization", "pattern"),
    "a project with a space": ({"project": "a b"}, "/project", "pattern"),
    "no action": ({"action": None}, "/action", "required"),
    "an action of one segment": ({"action": "create"}, "/action", "pattern"),
    "an action with a capital": ({"action": "User.create"}, "/action", "pattern"),
    "an action with a line": ({"action": "user.create\n"}, "/action", "pattern"),
    "a long action": ({"action": "a." + "b" * 127}, "/action", "pattern"),
    **{
        f"the reserved {name}": ({"action": f"{name}.x"}, "/action", "reserved")
        for name in ("audit", "log", "access", "detection")
    },
    "an outcome": ({"outcome": "maybe"}, "/outcome", "enum"),
    "a severity": ({"severity": "fatal"}, "/severity", "enum"),
    "a source": ({"source": "Web"}, "/source", "pattern"),
    "a source with a line": ({"source": "web\n"}, "/source", "pattern"),
    "the future": ({"occurred_at": timedelta(minutes=6)}, "/occurred_at", "in_future"),
    "infinity": ({"occurred_at": "infinity"}, "/occurred_at", "in_future"),
    "the far past": (
        {"occurred_at": -timedelta(days=30, minutes=1)},
        "/occurred_at",
        "too_old",
    ),
    "minus infinity": ({"occurred_at": "-infinity"}, "/occurred_at", "too_old"),
    "a key without a time": ({"idempotency_key": "k"}, "/occurred_at", "required"),
    "an empty key": (
        {"idempotency_key": "", "occurred_at": datetime.now(UTC)},
        "/idempotency_key",
        "too_long",
    ),
    "a long key": (
        {"idempotency_key": "k" * 256, "occurred_at": datetime.now(UTC)},
        "/idempotency_key",
        "too_long",
    ),
    "a UUID of version 4": ({"id": UUID("9f0c2c4e-7f0e-4d6a-8c37-0f6a2d1c9b11")}, "/id", "uuid7"),
    "an id of another time": (
        {
            "id": UUID(bytes=make_id(time.time_ns() // 1000, 1)),
            "occurred_at": datetime.now(UTC) - timedelta(1),
        },
        "/id",
        "time",
    ),
    "an id of long ago": ({"id": UUID(bytes=make_id(1_000_000, 1))}, "/occurred_at", "too_old"),
    "an id and a key": (
        {"id": UUID(bytes=make_id(time.time_ns() // 1000, 1)), "idempotency_key": "k"},
        "/id",
        "forbidden",
    ),
    "a short secret": ({"secret": b"short"}, "/secret", "length"),
    "no actor": ({"actor": None}, "/actor", "required"),
    "an empty actor": ({"actor": "{}"}, "/actor", "required"),
    "recorded_by": (
        {"actor": '{"actor":{"type":"user","id":"a"},"recorded_by":{"type":"x"}}'},
        "/recorded_by",
        "forbidden",
    ),
    "an actor without a type": (member("actor", "actor", {"id": "a"}), "/actor/type", "required"),
    "an actor of another type": (
        member("actor", "actor", {"id": "a", "type": "root"}),
        "/actor/type",
        "enum",
    ),
    "an actor without an id": (member("actor", "actor", {"type": "user"}), "/actor/id", "required"),
    "an actor with an empty id": (
        member("actor", "actor", {"type": "user", "id": ""}),
        "/actor/id",
        "required",
    ),
    "an actor with a number": (member("actor", "actor", {"type": "user", "id": 7}), "/actor/id", "type"),
    "an actor with a long id": (
        member("actor", "actor", {"type": "user", "id": "x" * 1025}),
        "/actor/id",
        "too_long",
    ),
    "an actor with a null": (
        member("actor", "actor", {"type": "user", "id": "a", "name": None}),
        "/actor/name",
        "type",
    ),
    "an actor with a long e-mail": (
        member("actor", "actor", {"type": "user", "id": "a", "email": "x" * 321}),
        "/actor/email",
        "too_long",
    ),
    "an actor with more": (
        member("actor", "actor", {"type": "user", "id": "a", "x/y~z": 1}),
        "/actor/x~1y~0z",
        "unknown",
    ),
    "an actor that is a text": (member("actor", "actor", "ana"), "/actor", "type"),
    "on behalf of nobody": (
        {"actor": '{"actor":{"type":"user","id":"a"},"on_behalf_of":{"type":"user"}}'},
        "/on_behalf_of/id",
        "required",
    ),
    "a session without a type": (
        {"actor": '{"actor":{"type":"user","id":"a"},"session":{"id":"s"}}'},
        "/session/type",
        "required",
    ),
    "resources that are none": (member("resources", "resources", {}), "/resources", "type"),
    "a resource that is a number": (member("resources", "resources", [1]), "/resources/0", "type"),
    "a resource without an id": (
        member("resources", "resources", [{"type": "a", "id": "1"}, {"type": "a"}]),
        "/resources/1/id",
        "required",
    ),
    "21 resources": (
        member("resources", "resources", [{"type": "a", "id": "1"}] * 21),
        "/resources",
        "too_many",
    ),
    "an ip of another form": (member("context", "ip", "nowhere"), "/ip", "address"),
    "an ip with a mask": (member("context", "ip", "10.0.0.0/8"), "/ip", "address"),
    "an ip with a leading zero": (member("context", "ip", "10.0.0.01"), "/ip", "address"),
    "an ip with a zone": (member("context", "ip", "fe80::1%eth0"), "/ip", "address"),
    "IPv4 within IPv6": (member("context", "ip", "::ffff:10.0.0.1"), "/ip", "address"),
    "a long user agent": (member("context", "user_agent", "x" * 1001), "/user_agent", "too_long"),
    "a location that is a text": (member("context", "location", "Berlin"), "/location", "type"),
    "a country that is null": (
        member("context", "location", {"country_code": None}),
        "/location/country_code",
        "type",
    ),
    "a CI that is verified": (
        member("context", "ci", {"platform": "x", "confidence": "verified"}),
        "/ci/confidence",
        "enum",
    ),
    "a request with other params": (member("context", "request", {"params": []}), "/request/params", "type"),
    "a field of another group": (member("context", "reason", "x"), "/reason", "unknown"),
    "changes that are a list": (member("changes", "changes", []), "/changes", "type"),
    "a change that is a value": (member("changes", "changes", {"a/b": 1}), "/changes/a~1b", "type"),
    "a change that is a list": (member("changes", "changes", {"a": [{"old": 1}]}), "/changes/a", "type"),
    "a change with more": (member("changes", "changes", {"a": {"old": 1, "by": 2}}), "/changes/a", "type"),
    "a long reason": (member("details", "reason", "x" * 1001), "/reason", "too_long"),
    "metadata that is a list": (member("details", "metadata", []), "/metadata", "type"),
    "metadata that is null": (member("details", "metadata", None), "/metadata", "type"),
    "not JSON": ({"details": "{"}, "/details", "json"),
    "an empty text": ({"details": ""}, "/details", "json"),
    "an array": ({"details": "[]"}, "/details", "type"),
    "two objects": ({"details": '{"reason":"a"}{}'}, "/details", "json"),
    "a key twice": ({"details": '{"reason":"a","reason":"b"}'}, "/details", "duplicate_key"),
    "a key twice, once escaped": (
        {"details": '{"reason":"a","r\\u0065ason":"b"}'},
        "/details",
        "duplicate_key",
    ),
    "a key twice beside an escaped colon": (
        {"details": '{"metadata":{"a":"\\u003a","b":1,"b":2}}'},
        "/details",
        "duplicate_key",
    ),
    "a key twice, deep": ({"details": '{"metadata":{"a":[{"b":1,"b":1}]}}'}, "/details", "duplicate_key"),
    "U+0000": ({"details": '{"reason":"\\u0000"}'}, "/details", "json"),
    "half of a surrogate pair": ({"details": '{"reason":"\\ud800"}'}, "/details", "json"),
    "NaN": ({"details": '{"metadata":{"a":NaN}}'}, "/details", "json"),
    "a number beyond a float": ({"details": '{"metadata":{"a":1e309}}'}, "/details", "number"),
    "a number of eight characters and 131,073 digits": (
        {"details": '{"metadata":{"a":[' + "1e131071," * 2_000 + "1]}}"},
        "/details",
        "number",
    ),
    "a long float": ({"details": '{"metadata":{"a":' + "9" * 310 + ".5}}"}, "/details", "number"),
    "a huge integer": ({"details": '{"metadata":{"a":' + "1" * 5_000 + "}}"}, "/details", "number"),
    "a number as a key's number": ({"context": '{"request":{"params":{"a":-1e400}}}'}, "/context", "number"),
    "a context of numbers": ({"context": '{"x":[' + "1e131071," * 2_000 + "1]}"}, "/context", "number"),
    "too deep": ({"details": '{"metadata":' + '{"a":' * 32 + "1" + "}" * 33}, "/details", "depth"),
    "far too deep": (
        {"details": '{"metadata":{"a":' + "[" * 100_000 + "]" * 100_000 + "}}"},
        "/details",
        "json",
    ),
    "deep changes": (
        {"changes": '{"changes":{"a":{"old":' + "[" * 40 + "]" * 40 + "}}}"},
        "/changes",
        "depth",
    ),
    "an actor that is deep": ({"actor": '{"actor":' + "[" * 40 + "]" * 40 + "}"}, "/actor", "depth"),
    "more than 256 KiB": ({"details": '{"metadata":{"a":"' + "x" * 262_144 + '"}}'}, "", "too_large"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_breaks_a_rule_is_refused_by_name(database: Recording, name: str) -> None:
    """SQLSTATE, pointer and rule; nothing is stored."""
    said, pointer, rule = REFUSED[name]
    assert database.refused(**dated(said)) == ("YA422", pointer, rule)


@pytest.mark.parametrize(
    "said",
    [
        {"occurred_at": timedelta(minutes=3)},
        {"occurred_at": -timedelta(days=29)},
        {"action": "audit-trail.x"},
        {"action": "logs.x"},
        member("context", "ip", "2001:db8::1"),
        {"details": '{"metadata":' + '{"a":' * 31 + '"[[{{"' + "}" * 32},
        {"details": '{"metadata":{"a":"' + "x" * 261_000 + '"}}'},
        {"details": '{"metadata":{"a":' + "1" * 4_000 + ',"b":1e308,"c":1e-400,"d":-0.0,"e":"1e999"}}'},
        {"details": '{"metadata":{"a":"\\\\u0000 \\" : \\u003a \\ud83d\\ude00"}}'},
        {"details": '{"metadata":{"":1," ":2,"a:b":3,"\\"":4}}'},
        {"resources": "\r\n{}"},
        {"resources": '{ "resources" : [ ] }'},
        {"changes": '{"changes":{"a":{},"b":{"old":[],"new":null}}}'},
        {"actor": '{"actor":{"type":"user","id":"\\u0001\\t ünï"}}'},
    ],
    ids=lambda said: str(said)[:40],
)
def test_what_keeps_the_rules_is_recorded(database: Recording, said: dict[str, Any]) -> None:
    """Values close to a limit, and texts that only look like something else."""
    event_id, _ = database.record(**dated(said))
    database.check_leaf(event_id)


def test_an_error_quotes_little(database: Recording) -> None:
    """A hundred characters of a value at most."""
    with pytest.raises(psycopg.DatabaseError) as error:
        database.record(outcome="x" * 10_000)
    assert "x" * 100 in str(error.value)
    assert "x" * 101 not in str(error.value)


# Everything that is accepted has a proper leaf, and whatever the recorder writes is accepted.

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def some(kind: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A part of an event, or none."""
    return st.none() | st.builds(kind, **fields)


people = st.builds(
    Actor,
    type=st.sampled_from(["user", "service", "system", "anonymous", "agent"]),
    id=words,
    name=st.none() | texts,
    email=st.none() | texts,
)
things = st.builds(Resource, type=words, id=words, name=st.none() | texts)
drafts = st.fixed_dictionaries(
    {
        "actor": people,
        "on_behalf_of": st.none() | people,
        "session": some(Session, type=words, id=st.none() | texts, token_name=st.none() | texts),
        "resources": st.lists(things, max_size=4).map(tuple),
        "ip": st.none() | st.ip_addresses().map(str),
        "location": some(Location, city=st.none() | texts, country_code=st.none() | texts),
        "user_agent": st.none() | texts,
        "ci": some(CI, platform=words, confidence=st.sampled_from(["token", "declared", "guess"])),
        "request": some(
            Request, id=st.none() | texts, params=st.none() | st.dictionaries(texts, values, max_size=3)
        ),
        "trace_id": st.none() | texts,
        "changes": st.none() | st.dictionaries(texts, st.builds(Change, old=values, new=values), max_size=3),
        "description": st.none() | texts,
        "reason": st.none() | texts,
        "metadata": st.none() | st.dictionaries(texts, values, max_size=4),
    }
)  # fmt: skip


@given(fields=drafts)
@settings(max_examples=60)
def test_what_the_recorder_writes_is_accepted_to_the_byte(
    database: Recording, fields: dict[str, Any]
) -> None:
    """The texts of any event that the recorder makes are stored as they are, and give the same leaf."""
    (row,) = Author(lambda: time.time_ns() // 1000).rows(draft("team.update", **fields))
    at = COLUMNS.index("actor")
    said = dict(zip(GROUPS, row.values[at : at + 5], strict=True))
    secret = row.values[COLUMNS.index("secret")]
    event_id, _ = database.record(
        action="team.update", source="api", id=UUID(bytes=row.id), secret=secret, **said
    )
    stored = database.row(event_id)
    expected = {
        name: value.encode() if isinstance(value, str) else value
        for name, value in zip(COLUMNS, row.values, strict=False)
    }
    # What the classifier makes of an event is for the caller to say here.
    expected["severity"] = b"info"
    assert stored == expected | {"recorded_at": stored["recorded_at"]}
    database.check_leaf(event_id)


def spoiled(random: Random, value: Any) -> Any:
    """A value of which one part is another, is gone, or is there under another name."""
    hostile: tuple[Any, ...] = (
        "",
        None,
        0,
        7.5,
        "x",
        "x" * 1025,
        [],
        {},
        {"id": 1},
        ["a"],
        {"type": "user", "id": "a"},
        True,
        "1.2.3.4",
    )
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        turn = random.random()
        if turn < 0.12:
            return {name: member for name, member in value.items() if name != key}
        if turn < 0.24:
            return value | {
                random.choice(["x", "id", "old", "actor", "ip", "name", ""]): random.choice(hostile)
            }
        return value | {key: spoiled(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.8:
        at = random.randrange(len(value))
        return [*value[:at], spoiled(random, value[at]), *value[at + 1 :]]
    return random.choice(hostile)


CHARACTERS = '{}[]":,\\ 019.eE-+truefalsnil\t\n\u00e9/' + "'"


def garbled(random: Random, text: str) -> str:
    """JSON with a character taken away, put in or changed, or a member written twice."""
    for _ in range(random.choice((0, 0, 0, 0, 0, 0, 0, 1, 2))):
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice(("", random.choice(CHARACTERS))) + text[at + random.choice((0, 1)) :]
    if random.random() < 0.03:
        at = text.find('"')
        text = text[:at] + '"reason":"x","ip":"::1",' + text[at:] if at >= 0 else text
    return text


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_accepted_has_a_proper_leaf(database: Recording, seed: int) -> None:
    """Hundreds of spoiled events: each is refused by name, or sealed and read without a complaint."""
    random = Random(seed)
    outcomes: dict[str, int] = {}
    for _ in range(400):
        event = {**WHOLE, (group := random.choice(GROUPS)): WHOLE[group]}
        for _ in range(random.choice((0, 1, 1, 2))):
            group = random.choice(GROUPS)
            event[group] = spoiled(random, event[group])
        said = {
            name: garbled(random, json.dumps(value)) for name, value in event.items() if random.random() < 0.8
        }
        said.setdefault("actor", ACTOR)
        try:
            event_id, _ = database.record(**said)
        except psycopg.DatabaseError as error:
            state, _, rule = told(error)
            assert state == "YA422"
            outcomes[rule] = outcomes.get(rule, 0) + 1
        else:
            database.check_leaf(event_id)
            outcomes["recorded"] = outcomes.get("recorded", 0) + 1
    # Both happen, and for several reasons: else this would show nothing.
    assert outcomes["recorded"] > 40
    assert {"json", "type", "unknown", "required"} <= set(outcomes)
