"""CSV after RFC 4180 with every field of an event, safe to open in a spreadsheet.

A spreadsheet runs a cell that begins like a formula, and event text comes from strangers. A text cell
that, after leading spaces, begins with ``= + - @``, a tab, a line break or a full-width form of those signs
gets a quote (``'``) before it (OWASP, "CSV Injection"). Nothing else is altered but U+0000, which is
dropped. With ``safe=False`` cells are the event's own text, for programs.

Fields that hold objects (changes, metadata, parameters, several resources) are one JSON text each.

A line is put together here and not by :mod:`csv`, which would go through all columns of every event, most
of them empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import msgspec

from affidavit.core.catalog import CatalogSet
from affidavit.core.ids import format_id, microseconds_of
from affidavit.core.row import LATE_AFTER, StoredEvent
from affidavit.core.times import format_time

__all__ = ["COLUMNS", "DANGEROUS", "rows"]

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a cell begins that a spreadsheet may run."""

_NOT_PLAIN = re.compile('[",\r\n\0]').search
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

_NOBODY = _Person()

Cell = Callable[[str], str]

T = TypeVar("T")

_FOUR = ",,,"
"""Four empty cells."""
_MOST_KEPT, _LONGEST_KEPT = 2_000, 1_000
"""Texts of one memo, and characters of one text."""


def _safe(text: str) -> str:
    """A cell that no spreadsheet runs."""
    if not text or (text[0] not in _SUSPECT and not _NOT_PLAIN(text)):
        return text
    text = text.replace("\0", "")
    if text.lstrip(" ").startswith(DANGEROUS):
        text = "'" + text
    return _exact(text)


def _exact(text: str) -> str:
    """A cell with the text itself."""
    return _quoted(text) if _NOT_PLAIN(text) else text


def _quoted(text: str) -> str:
    return '"' + text.replace("\0", "").replace('"', '""') + '"'


class _Memo(dict[str, T]):
    """What was made of the texts seen last; long texts are made anew each time, so its size is bounded."""

    def __init__(self, make: Callable[[str], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> T:
        made = self._make(text)
        if len(text) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[text] = made
        return made


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
    line = _Lines(catalogs, _safe if safe else _exact).line
    lines = [("\ufeff" if bom else "") + ",".join(COLUMNS)]
    for batch in batches:
        lines += map(line, batch)
        lines.append("")
        yield "\r\n".join(lines).encode("utf-8", "replace")
        lines = []
    if lines:
        yield f"{lines[0]}\r\n".encode()


class _Lines:
    """Makes lines. Actors, resources and contexts come again and again, so their cells are kept by text."""

    def __init__(self, catalogs: CatalogSet, cell: Cell) -> None:
        self._cell = cell
        self._few = _Memo(cell)
        self._titles = _Memo(lambda action: cell(catalogs.title(action)))
        self._who = _Memo(self._make_who)
        self._resources = _Memo(self._make_resources)
        self._contexts = _Memo(self._make_context)

    def line(self, event: StoredEvent) -> str:
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
            actor_id,
            actor_text,
            resources_text,
            context_text,
            changes_text,
            details_text,
            _secret,
            remains,
            recorded_at,
        ) = event._values
        inconsistent = ""
        try:
            user, named, who = self._who[actor_text or "{}"]
            resources = self._resources[resources_text or "{}"]
            ip, context = self._contexts[context_text or "{}"]
            details = self._details(details_text or "{}")
        except msgspec.MsgspecError:
            user, named, who = self._who["{}"]
            resources, (ip, context), details = _FOUR, self._contexts["{}"], (",", "")
            inconsistent = "unreadable"
        else:
            if named != actor_id and actor_text is not None:
                inconsistent = "actor_id"
        few = self._few
        occurred_at = microseconds_of(event_id)
        return (
            f"{user},{self._titles[action]},{few[source]},{ip},"
            f"{format_time(occurred_at)},{format_id(event_id)},{few[action]},{few[outcome]},{few[severity]},"
            f"{few[organization]},{'' if project is None else few[project]},{format_time(recorded_at)},"
            f"{'true' if imported else 'false'},"
            f"{'true' if recorded_at - occurred_at > LATE_AFTER else 'false'},"
            f"{'' if parent_id is None else format_id(parent_id)},{who},{resources},{context},{details[0]},"
            # The group of changes holds nothing else, so its one member is cut out instead of parsed.
            f"{'' if not changes_text or changes_text == '{}' else _quoted(changes_text[11:-1])},"
            f"{details[1]},{'' if facts is None else _quoted(facts)},"
            f"{'' if remains is None else _quoted(','.join(event.redacted))},{inconsistent}"
        )

    def _make_who(self, text: str) -> tuple[str, str | None, str]:
        """The user's cell, the actor's id, and the cells from the actor's type to the recorder's address."""
        cell = self._cell
        who = _actor_of(text)
        actor = who.actor or _NOBODY
        cells = (
            _person(actor, cell),
            _FOUR if who.on_behalf_of is None else _person(who.on_behalf_of, cell),
            _FOUR if who.session is None else _credential(who.session, cell),
            ",,,," if who.recorded_by is None else _recorded_by(who.recorded_by, cell),
        )
        named = None if who.actor is None else actor.id
        return cell(actor.email or actor.name or actor.id), named, ",".join(cells)

    def _make_resources(self, text: str) -> str:
        resources = _resources_of(text).resources
        if not resources:
            return _FOUR
        cell, first = self._cell, resources[0]
        everything = "" if len(resources) == 1 else _quoted(text[len('{"resources":') : -1])
        return f"{cell(first.type)},{cell(first.id)},{cell(first.name)},{everything}"

    def _make_context(self, text: str) -> tuple[str, str]:
        """The address, and the cells from the city to the span."""
        cell = self._cell
        context = _context_of(text)
        place, ci, request = context.location, context.ci, context.request
        cells = (
            _FOUR if place is None else _location(place, cell),
            cell(context.user_agent),
            cell(context.client),
            _FOUR if ci is None else _ci(ci, cell),
            _FOUR if request is None else _request(request, cell),
            cell(context.trace_id),
            cell(context.span_id),
        )
        return cell(context.ip), ",".join(cells)

    def _details(self, text: str) -> tuple[str, str]:
        """Description and reason, and the metadata."""
        if text == "{}":
            return ",", ""
        details = _details_of(text)
        cell = self._cell
        return f"{cell(details.description)},{cell(details.reason)}", _json(details.metadata)


def _person(person: _Person, cell: Cell) -> str:
    return f"{cell(person.type)},{cell(person.id)},{cell(person.name)},{cell(person.email)}"


def _credential(one: _Credential, cell: Cell) -> str:
    return f"{cell(one.type)},{cell(one.id)},{cell(one.token_id)},{cell(one.token_name)}"


def _recorded_by(one: _Credential, cell: Cell) -> str:
    return f"{_credential(one, cell)},{cell(one.address)}"


def _location(place: _Location, cell: Cell) -> str:
    return f"{cell(place.city)},{cell(place.region)},{cell(place.country)},{cell(place.country_code)}"


def _ci(ci: _CI, cell: Cell) -> str:
    return f"{cell(ci.platform)},{cell(ci.confidence)},{cell(ci.repository)},{cell(ci.run_id)}"


def _request(request: _Request, cell: Cell) -> str:
    return f"{cell(request.id)},{cell(request.method)},{cell(request.endpoint)},{_json(request.params)}"


def _json(raw: msgspec.Raw) -> str:
    text = bytes(raw)
    return _quoted(text.decode()) if text else ""
