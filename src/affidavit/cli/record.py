"""``affidavit record``: record one event from flags, or events as JSON from standard input."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from affidavit.cli.exits import UsageError, refuse_flags
from affidavit.cli.instance import credential, opened, writable_organization
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, print_json, wants_json
from affidavit.core.event import ACTOR_TYPES, MAX_BATCH_BYTES, MAX_DEPTH
from affidavit.core.ids import format_id
from affidavit.core.prepare import Rights
from affidavit.core.scan import decode_json

if TYPE_CHECKING:
    from affidavit.wiring import Instance

__all__ = ["command"]

STANDARD_INPUT = "-"


def command(
    action: Annotated[
        str,
        Parameter(
            help="Dotted name such as user.role.assign. - reads events as JSON from standard input: "
            'one object, an array, {"events": [...]} or one object a line.',
            allow_leading_hyphen=True,
        ),
    ],
    /,
    *,
    actor: Annotated[
        str | None, Parameter(help=f"Who did it, TYPE:ID or JSON; TYPE is {', '.join(ACTOR_TYPES)}.")
    ] = None,
    actor_name: Annotated[str | None, Parameter(help="Display name of the actor.")] = None,
    actor_email: Annotated[str | None, Parameter(help="E-mail of the actor.")] = None,
    on_behalf_of: Annotated[str | None, Parameter(help="For whom, TYPE:ID.")] = None,
    resource: Annotated[
        list[str] | None,
        Parameter(negative=(), help="What it was done to, TYPE:ID or JSON with type, id, name; repeatable."),
    ] = None,
    outcome: Annotated[str | None, Parameter(help="success or failure; default success.")] = None,
    severity: Annotated[str | None, Parameter(help="info, warning or critical; can only raise ours.")] = None,
    source: Annotated[str | None, Parameter(help="Channel; default cli.")] = None,
    project: Annotated[str | None, Parameter(help="Project inside the organization.")] = None,
    occurred_at: Annotated[str | None, Parameter(help="When it happened, RFC 3339; default now.")] = None,
    idempotency_key: Annotated[str | None, Parameter(help="Key under which it is recorded once.")] = None,
    parent_id: Annotated[str | None, Parameter(help="Id of the bulk operation it belongs to.")] = None,
    ip: Annotated[str | None, Parameter(help="Address the request came from.")] = None,
    user_agent: Annotated[str | None, Parameter(help="Browser or program of the request.")] = None,
    description: Annotated[str | None, Parameter(help="One sentence.")] = None,
    reason: Annotated[str | None, Parameter(help="Why, in the person's words.")] = None,
    change: Annotated[
        list[str] | None,
        Parameter(negative=(), help='A change as FIELD={"old": ..., "new": ...} or FIELD=NEW; repeatable.'),
    ] = None,
    metadata: Annotated[
        str | None,
        Parameter(help="A JSON object; - reads it from standard input.", allow_leading_hyphen=True),
    ] = None,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Record an event and print its id."""
    refuse_flags([action])
    settings = common.settings()
    organization = writable_organization(settings)
    if action == STANDARD_INPUT:
        events = _from_stdin()
    else:
        given: dict[str, Any] = {
            "action": action,
            "actor": _named("--actor", actor, name=actor_name, email=actor_email),
            "on_behalf_of": _named("--on-behalf-of", on_behalf_of),
            "resources": [_named("--resource", text) for text in resource or ()],
            "changes": dict(_change(text) for text in change or ()) or None,
            "metadata": _metadata(metadata),
            "outcome": outcome,
            "severity": severity,
            "source": source,
            "project": project,
            "occurred_at": occurred_at,
            "idempotency_key": idempotency_key,
            "parent_id": parent_id,
            "ip": ip,
            "user_agent": user_agent,
            "description": description,
            "reason": reason,
        }
        events = [{name: value for name, value in given.items() if value not in (None, [])}]
    with opened(settings, make=True) as instance:
        _record(instance, organization, events, json)


def _record(instance: Instance, organization: str, events: list[Any], json: bool | None) -> None:
    """Record all of them in one transaction and print what became of each."""
    body = events[0] if len(events) == 1 else {"events": events}
    rows = instance.intake.prepare_json(
        msgspec.json.encode(body),
        organization=organization,
        by=credential().recorded_by(),
        rights=Rights(may_import=True),
    )
    for recorded in instance.insert(rows):
        if wants_json(json):
            print_json({"id": format_id(recorded.id), "duplicate": recorded.duplicate})
        else:
            line(format_id(recorded.id) + (" (was recorded before)" if recorded.duplicate else ""))


def _from_stdin() -> list[Any]:
    raw = sys.stdin.buffer.read(MAX_BATCH_BYTES + 1)
    if len(raw) > MAX_BATCH_BYTES:
        raise UsageError("standard input is larger than 16 MiB; use: affidavit import ndjson -")
    text = raw.strip()
    if not text:
        raise UsageError("standard input is empty; give an event as JSON")
    if text[:1] != b"[" and b"\n" in text and _is_object(text.splitlines()[0]):
        return [decode_json(each, levels=MAX_DEPTH) for each in text.splitlines() if each.strip()]
    value = decode_json(text, levels=MAX_DEPTH + 2)
    if isinstance(value, dict) and set(value) == {"events"}:
        value = value["events"]
    return value if isinstance(value, list) else [value]


def _is_object(text: bytes) -> bool:
    """Whether the first line is a whole JSON object, so that there is one a line."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _named(flag: str, text: str | None, **more: str | None) -> dict[str, Any] | None:
    """Actor or resource from ``TYPE:ID`` (the id may hold colons) or from a JSON object."""
    if text is None:
        return None
    kind, colon, id_ = text.partition(":")
    if text.startswith("{"):
        found = decode_json(text.encode(), levels=1)
    elif colon and id_:
        found = {"type": kind, "id": id_}
    else:
        raise UsageError(f"{flag}: write TYPE:ID, such as user:ana, or a JSON object, not {text!r}")
    return {**found, **{name: value for name, value in more.items() if value is not None}}


def _change(text: str) -> tuple[str, dict[str, Any]]:
    field, equals, value = text.partition("=")
    if not equals or not field:
        raise UsageError(f"--change: write FIELD=NEW or FIELD={{...}}, not {text!r}")
    if value.startswith("{"):
        sides = decode_json(value.encode(), levels=MAX_DEPTH)
        if isinstance(sides, dict) and sides and set(sides) <= {"old", "new"}:
            return field, sides
    return field, {"new": value}


def _metadata(text: str | None) -> Any:
    if text is None:
        return None
    raw = sys.stdin.buffer.read(MAX_BATCH_BYTES) if text == STANDARD_INPUT else text.encode()
    return decode_json(raw, levels=MAX_DEPTH)
