"""The one way in: every field and limit of the event model, named where it is broken, and nothing stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from affidavit.core.catalog import Catalog, CatalogSet, EventType
from affidavit.core.event import Actor, Change, Draft, RecordedBy
from affidavit.core.ids import make_id, microseconds_of
from affidavit.core.row import COLUMNS, Recorded, Row
from affidavit.core.times import parse_time
from affidavit.errors import InvalidEvent, TooLarge
from affidavit.recorder.intake import Intake, Rights

NOW = parse_time("2026-11-21T12:00:00Z")
SECRET = bytes(range(32))
ANA = {"type": "user", "id": "ana"}
PLAIN: dict[str, Any] = {"action": "team.update", "actor": ANA}


class Billing(Catalog, prefix="billing", title="Billing"):
    """A catalog of an app."""

    refund = EventType("invoice.refund", title="Invoice refunded", severity="warning", requires=("reason",))
    card = EventType("card.add", title="Card added", mask=("iban",))


class Shelf:
    """Keeps what was stored, in memory."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def insert(self, rows: Sequence[Row]) -> list[Recorded]:
        self.rows += rows
        return [Recorded(row.id, False) for row in rows]


@pytest.fixture
def shelf() -> Shelf:
    """An empty store."""
    return Shelf()


@pytest.fixture
def intake(shelf: Shelf) -> Intake:
    """An intake with a fixed clock and counted randomness."""
    catalogs = CatalogSet.of(Billing)
    counter = iter(range(10**9))

    def entropy(count: int) -> bytes:
        return b"".join(sha256(str(next(counter)).encode()).digest() for _ in range(count // 32 + 1))[:count]

    return Intake(
        shelf.insert,
        clock=lambda: NOW,
        entropy=entropy,
        catalogs=lambda: catalogs,
        organization_secret=lambda _: SECRET,
    )


def columns(row: Row) -> dict[str, Any]:
    """The row by column names."""
    return dict(zip(COLUMNS, (*row.values, None), strict=True))


def one(
    intake: Intake, event: dict[str, Any], rights: Rights | None = None, **keywords: Any
) -> dict[str, Any]:
    """The row of one event."""
    (row,) = intake.prepare_json(
        json.dumps(event).encode(), organization="acme", by=None, rights=rights or Rights(), **keywords
    )
    return columns(row)


def refusal(
    intake: Intake, body: bytes | dict[str, Any], rights: Rights | None = None
) -> list[tuple[str, str]]:
    """Pointer and rule of each error."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidEvent) as refused:
        intake.prepare_json(raw, organization="acme", by=None, rights=rights or Rights())
    return [(error.pointer, error.rule) for error in refused.value.errors]


def test_every_field_goes_into_its_group_as_exact_text(intake: Intake) -> None:
    """A row has five JSON objects: no white space, keys sorted, absent fields left out."""
    event = {
        "action": "team.update",
        "project": "web",
        "occurred_at": "2026-11-21T11:59:59.123456Z",
        "outcome": "failure",
        "severity": "critical",
        "source": "mcp",
        "parent_id": "01a1fd77-d086-7f60-b226-97b6a5026b7b",
        "actor": {"type": "agent", "id": "a1", "name": "Zoë", "email": "z@x.io"},
        "on_behalf_of": {"type": "user", "id": "ana"},
        "session": {"type": "api_token", "token_id": "t1", "token_name": "ci"},
        "resources": [{"type": "team", "id": "7", "name": "Core"}],
        "ip": "::ffff:192.0.2.1",
        "location": {"city": "Bern", "country_code": "CH"},
        "user_agent": "curl/8",
        "client": "curl",
        "ci": {"platform": "GitHub Actions", "confidence": "declared"},
        "request": {
            "id": "r1",
            "method": "PATCH",
            "endpoint": "/teams/7",
            "params": {"b": 1, "a": [True, None]},
        },
        "trace_id": "ab" * 16,
        "span_id": "cd" * 8,
        "changes": {"name": {"old": "a", "new": {"z": 1, "y": 2}}},
        "description": "Team renamed",
        "reason": "merger",
        "metadata": {"ß": 1, "z": 1.5, "a": 10**30},
    }
    row = one(intake, event)
    assert row["actor"] == (
        '{"actor":{"email":"z@x.io","id":"a1","name":"Zoë","type":"agent"},'
        '"on_behalf_of":{"id":"ana","type":"user"},'
        '"session":{"token_id":"t1","token_name":"ci","type":"api_token"}}'
    )
    assert row["resources"] == '{"resources":[{"id":"7","name":"Core","type":"team"}]}'
    assert json.loads(row["context"]) == {
        "ip": "192.0.2.1",
        **{name: event[name] for name in ("location", "user_agent", "client", "ci", "request")},
        **{name: event[name] for name in ("trace_id", "span_id")},
    }
    assert row["changes"] == '{"changes":{"name":{"new":{"y":2,"z":1},"old":"a"}}}'
    assert row["details"] == (
        '{"description":"Team renamed","metadata":{"a":1000000000000000000000000000000,"z":1.5,"ß":1},'
        '"reason":"merger"}'
    )
    assert microseconds_of(row["id"]) == parse_time("2026-11-21T11:59:59.123456Z")
    assert (row["organization"], row["project"], row["outcome"]) == ("acme", "web", "failure")
    assert (row["severity"], row["source"], row["actor_id"]) == ("critical", "mcp", "a1")
    assert row["parent_id"] == UUID("01a1fd77-d086-7f60-b226-97b6a5026b7b").bytes
    assert len(row["secret"]) == 32
    assert row["remains"] is None


def test_absent_groups_are_empty_objects(intake: Intake) -> None:
    """The least event has its actor and four empty groups."""
    row = one(intake, PLAIN)
    assert [row[name] for name in ("resources", "context", "changes", "details")] == ["{}"] * 4


LONG = "x" * 2000
BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"action": "team"}, "/action", "pattern"),
    ({"action": "Team.update"}, "/action", "pattern"),
    ({"action": "team..update"}, "/action", "pattern"),
    ({"action": "team.update\n"}, "/action", "pattern"),
    ({"action": "a." + "b" * 127}, "/action", "pattern"),
    ({"action": "audit.erasure"}, "/action", "reserved"),
    ({"action": "log.restored"}, "/action", "reserved"),
    ({"action": "access.token.created"}, "/action", "reserved"),
    ({"action": "detection.spray"}, "/action", "reserved"),
    ({"organization": "../x"}, "/organization", "pattern"),
    ({"organization": "other"}, "/organization", "scope"),
    ({"project": "a..b"}, "/project", "pattern"),
    ({"project": "-a"}, "/project", "pattern"),
    ({"project": "a" * 129}, "/project", "pattern"),
    ({"id": "01a1fd77-d086-7f60-b226-97b6a5026b7b"}, "/id", "forbidden"),
    ({"occurred_at": "2026-02-30T00:00:00Z"}, "/occurred_at", "time"),
    ({"occurred_at": "2026-11-21T12:05:00.000001Z"}, "/occurred_at", "in_future"),
    ({"occurred_at": "2026-10-22T11:59:59.999999Z"}, "/occurred_at", "too_old"),
    ({"idempotency_key": "k"}, "/occurred_at", "required"),
    ({"idempotency_key": "", "occurred_at": "2026-11-21T12:00:00Z"}, "/idempotency_key", "required"),
    ({"idempotency_key": "k" * 256, "occurred_at": "2026-11-21T12:00:00Z"}, "/idempotency_key", "too_long"),
    ({"outcome": "maybe"}, "/outcome", "type"),
    ({"severity": "fatal"}, "/severity", "type"),
    ({"source": "Web"}, "/source", "pattern"),
    ({"source": "w" * 33}, "/source", "pattern"),
    ({"imported": True}, "/imported", "ability"),
    ({"parent_id": "7"}, "/parent_id", "type"),
    ({"actor": None}, "/actor", "required"),
    ({"actor": {"type": "robot", "id": "1"}}, "/actor/type", "type"),
    ({"actor": {"type": "user", "id": ""}}, "/actor/id", "required"),
    ({"actor": {"type": "user", "id": LONG}}, "/actor/id", "too_long"),
    ({"actor": {"type": "user", "id": "1", "name": LONG}}, "/actor/name", "too_long"),
    ({"actor": {"type": "user", "id": "1", "email": LONG}}, "/actor/email", "too_long"),
    ({"actor": {"type": "user", "id": "1", "role": "x"}}, "/actor/role", "unknown"),
    ({"actor": {"type": "user"}}, "/actor/id", "required"),
    ({"resources": [{"type": "t", "id": "1"}, {"id": "2"}]}, "/resources/1/type", "required"),
    ({"on_behalf_of": {"type": "user", "id": LONG}}, "/on_behalf_of/id", "too_long"),
    ({"session": {"type": ""}}, "/session/type", "required"),
    ({"session": {"type": "web", "id": LONG}}, "/session/id", "too_long"),
    ({"recorded_by": {"type": "x"}}, "/recorded_by", "unknown"),
    ({"recorded_at": "2026-11-21T12:00:00Z"}, "/recorded_at", "unknown"),
    ({"resources": [{"type": "t", "id": "1"}] * 21}, "/resources", "too_many"),
    ({"resources": [{"type": "t", "id": ""}]}, "/resources/0/id", "required"),
    ({"resources": [{"type": "t" * 129, "id": "1"}]}, "/resources/0/type", "too_long"),
    ({"ip": "192.0.2.1:80"}, "/ip", "address"),
    ({"ip": "fe80::1%eth0"}, "/ip", "address"),
    ({"user_agent": "x" * 1001}, "/user_agent", "too_long"),
    ({"location": {"city": "x" * 257}}, "/location/city", "too_long"),
    ({"ci": {"platform": "x", "confidence": "verified"}}, "/ci/confidence", "forbidden"),
    ({"request": {"method": "x" * 65}}, "/request/method", "too_long"),
    ({"description": "x" * 1001}, "/description", "too_long"),
    ({"reason": "x" * 1001}, "/reason", "too_long"),
    ({"metadata": [1]}, "/metadata", "type"),
    ({"changes": {"a": 1}}, "/changes", "type"),
    ({"facts": {"a": 1}}, "/facts", "forbidden"),
    ({"unheard": 1}, "/unheard", "unknown"),
    ({"action": "billing.invoice.refund"}, "/reason", "required"),
]


@pytest.mark.parametrize(("change", "pointer", "rule"), BROKEN, ids=lambda value: str(value)[:40])
def test_a_broken_rule_is_named_by_field_and_rule(
    intake: Intake, shelf: Shelf, change: dict[str, Any], pointer: str, rule: str
) -> None:
    """Each rule of the event model refuses the event and says which field and which rule."""
    errors = refusal(intake, {**PLAIN, **change})
    assert any(found.startswith(pointer) and broken == rule for found, broken in errors), errors
    assert shelf.rows == []


@pytest.mark.parametrize(
    ("body", "pointer", "rule"),
    [
        (b'{"action": "a.b", "actor"', "", "json"),
        (b'{"action":"a.b","action":"a.c","actor":{"type":"user","id":"1"}}', "/action", "duplicate_key"),
        (b'{"action":"a.b","metadata":{"k":{"x":1,"\\u0078":2}}}', "/metadata/k/x", "duplicate_key"),
        (b'{"action":"a.b","metadata":{"k":"\\u0000"}}', "/metadata/k", "nul"),
        (b'{"action":"a.b","metadata":{"k":"\\ud83d"}}', "", "surrogate"),
        (b'{"action":"a.b","metadata":{"k":NaN}}', "", "json"),
        (b'{"action":"a.b","metadata":{"k":1e999}}', "", "json"),
        (b'{"action":"a.b","metadata":{"k":"\xff"}}', "", "utf8"),
        (b'{"action":"a.b","metadata":' + b'{"a":' * 1000 + b"1" + b"}" * 1001, "", "depth"),
        (b"[]", "", "type"),
        (b'{"events":[]}', "/events", "type"),
        (b'{"events":[{"action":"a.b"}],"more":1}', "/more", "unknown"),
    ],
    ids=str,
)
def test_what_json_parsers_let_through_is_refused(
    intake: Intake, body: bytes, pointer: str, rule: str
) -> None:
    """Duplicate keys, U+0000, lone surrogates, NaN, bad UTF-8 and depth are errors with a pointer."""
    assert refusal(intake, body) == [(pointer, rule)]


def test_depth_32_passes_and_33_does_not(intake: Intake) -> None:
    """The event is the first level, metadata the second."""

    def nested(levels: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(levels):
            value = {"a": value}
        return {**PLAIN, "metadata": value}

    assert one(intake, nested(31))["details"].count("{") == 32
    assert refusal(intake, nested(32)) == [("/metadata" + "/a" * 31, "depth")]


def test_an_event_over_256_kib_is_refused(intake: Intake) -> None:
    """300 KiB of metadata is an error that names the limit, one event below it passes."""
    assert refusal(intake, {**PLAIN, "metadata": {"k": "x" * 300 * 1024}}) == [("", "too_large")]
    assert len(one(intake, {**PLAIN, "metadata": {"k": "x" * 250 * 1024}})["details"]) > 250 * 1024


def test_the_size_of_an_event_is_in_bytes_not_in_characters(intake: Intake) -> None:
    """Letters that take two to four bytes count as these, for an event and for a batch."""
    assert refusal(intake, {**PLAIN, "metadata": {"k": "漢" * 100 * 1024}}) == [("", "too_large")]
    assert refusal(intake, {**PLAIN, "metadata": {"k": "\U0001f600" * 70 * 1024}}) == [("", "too_large")]
    assert len(one(intake, {**PLAIN, "metadata": {"k": "漢" * 80 * 1024}})["details"]) > 80 * 1024
    large = {**PLAIN, "metadata": {"k": "漢" * 80 * 1024}}
    row = intake.prepare_json(json.dumps(large).encode(), organization="acme", by=None)[0]
    assert row.size > 240 * 1024


def test_all_broken_rules_of_up_to_twenty_events_are_named(intake: Intake) -> None:
    """One answer names what is wrong in every event of a batch, at most twenty events."""
    bad = {"action": "X", "actor": ANA, "reason": "x" * 1001}
    errors = refusal(intake, {"events": [PLAIN, *[bad] * 30]})
    assert errors[:2] == [("/events/1/action", "pattern"), ("/events/1/reason", "too_long")]
    assert {pointer.split("/")[2] for pointer, _ in errors} == {str(number) for number in range(1, 21)}


def test_a_batch_holds_a_thousand_events(intake: Intake) -> None:
    """A thousand pass, one more is too large."""
    body = json.dumps({"events": [PLAIN] * 1000}).encode()
    assert len(intake.prepare_json(body, organization="acme", by=None)) == 1000
    with pytest.raises(TooLarge):
        intake.prepare_json(json.dumps({"events": [PLAIN] * 1001}).encode(), organization="acme", by=None)


def test_times_that_nobody_gave_are_consecutive_and_end_now(intake: Intake) -> None:
    """A batch's own times are moved back together; none lies ahead of recorded_at."""
    given = {**PLAIN, "occurred_at": "2026-11-21T11:00:00Z"}
    body = json.dumps({"events": [PLAIN, given, PLAIN, PLAIN]}).encode()
    times = [microseconds_of(row.id) for row in intake.prepare_json(body, organization="acme", by=None)]
    assert times == [NOW - 2, parse_time("2026-11-21T11:00:00Z"), NOW - 1, NOW]


def test_key_and_time_make_the_id(intake: Intake) -> None:
    """The id is the time and 62 bits of SHA-256(secret, key); the same again gives the same id."""
    event = {**PLAIN, "occurred_at": "2026-11-21T11:00:00Z", "idempotency_key": "order-7"}
    tail = int.from_bytes(sha256(SECRET + b"order-7").digest()[:8], "big") >> 2
    expected = make_id(parse_time("2026-11-21T11:00:00Z"), tail)
    assert one(intake, event)["id"] == one(intake, event)["id"] == expected
    header = {**PLAIN, "occurred_at": "2026-11-21T11:00:00Z"}
    assert one(intake, header, idempotency_key="order-7")["id"] == expected


def test_secrets_are_masked_before_anything_is_stored(intake: Intake) -> None:
    """In metadata, changes and request.params, at any depth; catalogued keys too."""
    event = {
        "action": "billing.card.add",
        "actor": ANA,
        "metadata": {"list": [{"apiKey": "s1"}], "iban": "s2", "ok": "kept"},
        "changes": {
            "password": {"old": "s3", "new": "s4"},
            "settings": {"old": {"token": "s5"}, "new": None},
        },
        "request": {"params": {"authorization": "s6"}},
    }
    row = one(intake, event)
    stored = "".join(row[name] for name in ("actor", "resources", "context", "changes", "details"))
    assert not any(f"s{number}" in stored for number in range(1, 7))
    assert json.loads(row["details"])["metadata"] == {
        "list": [{"apiKey": "[masked]"}],
        "iban": "[masked]",
        "ok": "kept",
    }
    assert json.loads(row["changes"])["changes"]["settings"] == {"old": {"token": "[masked]"}, "new": None}


def test_an_error_never_quotes_a_secret(intake: Intake) -> None:
    """The value of a broken field under a secret key is masked in the error as well."""
    with pytest.raises(InvalidEvent) as refused:
        intake.prepare(
            [Draft(action="a.b", actor=Actor(type="user", id="1"), changes={"password": "hunter2"})],  # type: ignore[dict-item]
            organization="acme",
        )
    assert "hunter2" not in str(refused.value.errors)


def test_severity_is_catalogued_raised_and_never_lowered(intake: Intake) -> None:
    """A given severity can only raise what catalog and classifier say."""
    refund = {"action": "billing.invoice.refund", "actor": ANA, "reason": "late"}
    assert one(intake, refund)["severity"] == "warning"
    assert one(intake, {**refund, "severity": "info"})["severity"] == "warning"
    assert one(intake, {**refund, "severity": "critical"})["severity"] == "critical"


def test_rights_open_what_is_closed(intake: Intake) -> None:
    """events:import allows old and imported events; the product itself may use reserved actions and facts."""
    old = {**PLAIN, "occurred_at": "2020-01-01T00:00:00Z", "imported": True}
    assert one(intake, old, Rights(may_import=True))["imported"] == 1
    ours = {"action": "audit.export.started", "actor": ANA, "facts": {"rows": 3}}
    assert one(intake, ours, Rights(reserved=True))["facts"] == '{"rows":3}'
    assert refusal(intake, {**PLAIN, "facts": {"rows": 3}}, Rights(reserved=True)) == [
        ("/facts", "forbidden")
    ]
    event_id = UUID(bytes=make_id(NOW - 5, 77))
    assert one(intake, {**PLAIN, "id": str(event_id)}, Rights(may_set_id=True))["id"] == event_id.bytes
    other = {**PLAIN, "id": str(event_id), "occurred_at": "2026-11-21T11:00:00Z"}
    assert refusal(intake, other, Rights(may_set_id=True)) == [("/id", "time")]


def test_drafts_of_the_same_process_are_checked_as_they_are(intake: Intake) -> None:
    """What no parser has seen is checked all the same: NaN, sets, datetimes, surrogates, wrong types."""
    actor = Actor(type="user", id="1")

    def rules(**fields: Any) -> list[tuple[str, str]]:
        with pytest.raises(InvalidEvent) as refused:
            intake.prepare([Draft(action="a.b", actor=actor, **fields)], organization="acme")
        return [(error.pointer, error.rule) for error in refused.value.errors]

    assert rules(metadata={"x": float("nan")}) == [("/metadata/x", "number")]
    assert rules(metadata={"x": object()}) == [("/metadata/x", "type")]
    assert rules(metadata={1: "x"}) == [("/metadata", "key")]
    assert rules(metadata={"x": "\ud83d"}) == [("/metadata/x", "surrogate")]
    assert rules(reason="a\0b") == [("/reason", "nul")]
    assert rules(description=7) == [("/description", "type")]
    naive = datetime(2026, 11, 21)  # noqa: DTZ001 - the point of it
    assert rules(occurred_at=naive) == [("/occurred_at", "time")]
    assert rules(outcome="perhaps") == [("/outcome", "enum")]
    assert rules(idempotency_key="\ud83d", occurred_at=NOW) == [("/idempotency_key", "characters")]
    (row,) = intake.prepare(
        [
            Draft(
                action="a.b",
                actor=actor,
                metadata={"when": datetime(2026, 1, 1, tzinfo=UTC), "id": UUID(int=7), "many": (1, 2)},
                changes={"x": Change(old={1, 2} and [1, 2], new=None)},
            )
        ],
        organization="acme",
    )
    assert json.loads(columns(row)["details"])["metadata"] == {
        "when": "2026-01-01T00:00:00Z",
        "id": "00000000-0000-0000-0000-000000000007",
        "many": [1, 2],
    }


def test_the_credential_is_ours_to_say(intake: Intake) -> None:
    """recorded_by comes from whoever records, into the group of the actor."""
    by = RecordedBy(type="api_token", token_id="t1", token_name="ci", address="192.0.2.7")
    (row,) = intake.prepare_json(json.dumps(PLAIN).encode(), organization="acme", by=by)
    assert json.loads(columns(row)["actor"])["recorded_by"] == {
        "type": "api_token",
        "token_id": "t1",
        "token_name": "ci",
        "address": "192.0.2.7",
    }
