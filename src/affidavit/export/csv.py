"""CSV after RFC 4180 with every field of an event, safe to open in a spreadsheet.

A spreadsheet runs a cell that begins like a formula, and event text comes from strangers. A text cell
that, after leading spaces, begins with ``= + - @``, a tab, a line break or a full-width form of those signs
gets a quote (``'``) before it (OWASP, "CSV Injection"). Nothing else is altered but U+0000, which is
dropped. With ``safe=False`` cells are the event's own text, for programs.

Fields that hold objects (changes, metadata, parameters, several resources) are one JSON text each.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from affidavit.core.catalog import CatalogSet
from affidavit.core.ids import format_id, microseconds_of
from affidavit.core.row import StoredEvent
from affidavit.core.times import format_time

__all__ = ["COLUMNS", "DANGEROUS", "rows", "safe_cell"]

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a cell begins that a spreadsheet may run."""

_SUSPECT = frozenset((*DANGEROUS, " "))

COLUMNS = (
    "User",
    "Event Type",
    "Source",
    "IP",
    "Timestamp",
    "Event ID",
    "Action",
    "Outcome",
    "Severity",
    "Organization",
    "Project",
    "Recorded At",
    "Imported",
    "Late",
    "Parent ID",
    "Actor Type",
    "Actor ID",
    "Actor Name",
    "Actor Email",
    "On Behalf Of Type",
    "On Behalf Of ID",
    "On Behalf Of Name",
    "On Behalf Of Email",
    "Session Type",
    "Session ID",
    "Session Token ID",
    "Session Token Name",
    "Recorded By Type",
    "Recorded By ID",
    "Recorded By Token ID",
    "Recorded By Token Name",
    "Recorded By Address",
    "Resource Type",
    "Resource ID",
    "Resource Name",
    "Resources",
    "City",
    "Region",
    "Country",
    "Country Code",
    "User Agent",
    "Client",
    "CI Platform",
    "CI Confidence",
    "CI Repository",
    "CI Run ID",
    "Request ID",
    "Request Method",
    "Request Endpoint",
    "Request Parameters",
    "Trace ID",
    "Span ID",
    "Description",
    "Reason",
    "Changes",
    "Metadata",
    "Facts",
    "Redacted",
    "Inconsistent",
)
"""The header line. Columns are only ever added at the end."""


class _Person(msgspec.Struct, gc=False):
    type: str = ""
    id: str = ""
    name: str = ""
    email: str = ""


class _Credential(msgspec.Struct, gc=False):
    type: str = ""
    id: str = ""
    token_id: str = ""
    token_name: str = ""
    address: str = ""


class _Actor(msgspec.Struct, gc=False):
    actor: _Person | None = None
    on_behalf_of: _Person | None = None
    session: _Credential | None = None
    recorded_by: _Credential | None = None


class _Resource(msgspec.Struct, gc=False):
    type: str = ""
    id: str = ""
    name: str = ""


class _Resources(msgspec.Struct, gc=False):
    resources: list[_Resource] = []


class _Location(msgspec.Struct, gc=False):
    city: str = ""
    region: str = ""
    country: str = ""
    country_code: str = ""


class _CI(msgspec.Struct, gc=False):
    platform: str = ""
    confidence: str = ""
    repository: str = ""
    run_id: str = ""


class _Request(msgspec.Struct, gc=False):
    id: str = ""
    method: str = ""
    endpoint: str = ""
    params: msgspec.Raw = msgspec.Raw(b"")


class _Context(msgspec.Struct, gc=False):
    ip: str = ""
    location: _Location | None = None
    user_agent: str = ""
    client: str = ""
    ci: _CI | None = None
    request: _Request | None = None
    trace_id: str = ""
    span_id: str = ""


class _Details(msgspec.Struct, gc=False):
    description: str = ""
    reason: str = ""
    metadata: msgspec.Raw = msgspec.Raw(b"")


_actor_of = msgspec.json.Decoder(_Actor).decode
_resources_of = msgspec.json.Decoder(_Resources).decode
_context_of = msgspec.json.Decoder(_Context).decode
_details_of = msgspec.json.Decoder(_Details).decode

_NO_ACTOR, _NO_CONTEXT, _NO_DETAILS = _Actor(), _Context(), _Details()
_NO_PERSON, _NO_CREDENTIAL, _NO_RESOURCE = _Person(), _Credential(), _Resource()
_NO_LOCATION, _NO_CI, _NO_REQUEST = _Location(), _CI(), _Request()

Cell = Callable[[str], str]


def safe_cell(text: str) -> str:
    """A text cell that no spreadsheet runs."""
    if "\0" in text:
        text = text.replace("\0", "")
    if text and text[0] in _SUSPECT and text.lstrip(" ").startswith(DANGEROUS):
        return "'" + text
    return text


def _plain_cell(text: str) -> str:
    return text.replace("\0", "") if "\0" in text else text


def rows(
    batches: Iterable[list[StoredEvent]], catalogs: CatalogSet, *, safe: bool = True, bom: bool = False
) -> Iterator[bytes]:
    """The file in chunks: the header with the first batch, then one chunk a batch.

    Args:
        batches: stored events in the order of the file.
        catalogs: give the titles of actions.
        safe: put a quote before what a spreadsheet would run.
        bom: begin with a byte order mark.
    """
    cell = safe_cell if safe else _plain_cell
    titles: dict[str, str] = {}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    if bom:
        buffer.write("\ufeff")
    writer.writerow(COLUMNS)
    for batch in batches:
        for event in batch:
            action = event.action
            title = titles.get(action)
            if title is None:
                title = titles[action] = cell(catalogs.title(action))
            writer.writerow(_row(event, title, cell))
        yield buffer.getvalue().encode("utf-8", "replace")
        buffer.seek(0)
        buffer.truncate()
    if buffer.tell():
        yield buffer.getvalue().encode()


def _row(event: StoredEvent, title: str, cell: Cell) -> tuple[str, ...]:
    (
        event_id,
        _version,
        organization,
        project,
        action,
        outcome,
        severity,
        source,
        imported,
        parent_id,
        facts,
        _actor_id,
        actor_text,
        resources_text,
        context_text,
        changes_text,
        details_text,
        _secret,
        _remains,
        recorded_at,
    ) = event._values
    try:
        actors, resources, context, changes, details = _groups(
            actor_text, resources_text, context_text, changes_text, details_text
        )
        unreadable = False
    except msgspec.MsgspecError:
        actors, resources, context, changes, details = _NO_ACTOR, [], _NO_CONTEXT, "", _NO_DETAILS
        unreadable = True
    occurred_at = microseconds_of(event_id)
    actor = actors.actor or _NO_PERSON
    request = context.request or _NO_REQUEST
    user = actor.email or actor.name or actor.id
    actor_id = cell(actor.id)
    return (
        actor_id if user is actor.id else cell(user),
        title,
        source,
        context.ip,
        format_time(occurred_at),
        format_id(event_id),
        action,
        outcome,
        severity,
        organization,
        project or "",
        format_time(recorded_at),
        "true" if imported else "false",
        "true" if event.late else "false",
        "" if parent_id is None else format_id(parent_id),
        actor.type,
        actor_id,
        cell(actor.name),
        cell(actor.email),
        *_person(actors.on_behalf_of, cell),
        *_credential(actors.session, cell)[:4],
        *_credential(actors.recorded_by, cell),
        *_resource_cells(resources, cell),
        *_location(context.location, cell),
        cell(context.user_agent),
        cell(context.client),
        *_ci(context.ci, cell),
        cell(request.id),
        cell(request.method),
        cell(request.endpoint),
        bytes(request.params).decode(),
        cell(context.trace_id),
        cell(context.span_id),
        cell(details.description),
        cell(details.reason),
        changes,
        bytes(details.metadata).decode(),
        facts or "",
        ",".join(event.redacted),
        "unreadable" if unreadable else ",".join(event.inconsistent),
    )


def _groups(
    actor: str | None, resources: str | None, context: str | None, changes: str | None, details: str | None
) -> tuple[_Actor, list[_Resource], _Context, str, _Details]:
    # The group of changes holds nothing else, so its one member is cut out instead of parsed.
    return (
        _NO_ACTOR if actor is None else _actor_of(actor),
        [] if resources is None or resources == "{}" else _resources_of(resources).resources,
        _NO_CONTEXT if context is None or context == "{}" else _context_of(context),
        "" if changes is None or changes == "{}" else changes[len('{"changes":') : -1],
        _NO_DETAILS if details is None or details == "{}" else _details_of(details),
    )


def _person(person: _Person | None, cell: Cell) -> tuple[str, ...]:
    if person is None:
        return ("", "", "", "")
    return (person.type, cell(person.id), cell(person.name), cell(person.email))


def _credential(credential: _Credential | None, cell: Cell) -> tuple[str, ...]:
    if credential is None:
        return ("", "", "", "", "")
    return (
        cell(credential.type),
        cell(credential.id),
        cell(credential.token_id),
        cell(credential.token_name),
        cell(credential.address),
    )


def _resource_cells(resources: list[_Resource], cell: Cell) -> tuple[str, ...]:
    if not resources:
        return ("", "", "", "")
    first = resources[0]
    all_of_them = "" if len(resources) == 1 else _json(resources)
    return (cell(first.type), cell(first.id), cell(first.name), all_of_them)


def _location(location: _Location | None, cell: Cell) -> tuple[str, ...]:
    if location is None:
        return ("", "", "", "")
    return (
        cell(location.city),
        cell(location.region),
        cell(location.country),
        cell(location.country_code),
    )


def _ci(ci: _CI | None, cell: Cell) -> tuple[str, ...]:
    if ci is None:
        return ("", "", "", "")
    return (cell(ci.platform), ci.confidence, cell(ci.repository), cell(ci.run_id))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
