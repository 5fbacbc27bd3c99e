"""``/api/v1/events``: record, list, read, count and export events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse

from affidavit.access.abilities import EVENTS_WRITE, EXPORT, LIST
from affidavit.core.catalog import CatalogSet
from affidavit.core.ids import parse_id
from affidavit.core.row import encode_event
from affidavit.core.times import format_time
from affidavit.errors import AffidavitError, InvalidQuery, NotFound
from affidavit.export import csv, ndjson, receipts
from affidavit.export.bundle import Bundles
from affidavit.export.leaves import parse_range
from affidavit.log.reader import PAGE_SECONDS
from affidavit.web.api.shapes import (
    Batch,
    Event,
    EventList,
    FacetAnswer,
    HistogramAnswer,
    NewEvent,
    RecordedEvents,
)
from affidavit.web.places import API
from affidavit.web.routes import JSON, Asked, Call, Nothing, Operation

__all__ = ["FACETS", "OPERATIONS", "ExportQuery", "ListQuery", "list_answer", "list_events"]

FACETS = ("actor", "action", "ip", "outcome", "severity", "source")
"""The fields that facets are counted for."""

Order = Annotated[
    Literal["desc", "asc"],
    Meta(description="`desc`: newest first. `asc`: in the order of recording, for everything since a token."),
]


class ListQuery(Asked):
    """Parameters of a list besides the filters."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="Events on a page.")] = 50
    order: Order = "desc"
    continuation_token: (
        Annotated[str, Meta(min_length=1, max_length=4096, description="From the page before; same filters.")]
        | None
    ) = None


class HistogramQuery(Asked):
    """Parameters of the histogram besides the filters."""

    buckets: Annotated[int, Meta(ge=1, le=1000, description="How many bars at most.")] = 60


class FacetQuery(Asked):
    """Parameters of the facets besides the filters."""

    top: Annotated[int, Meta(ge=1, le=100, description="How many values of each field.")] = 10
    fields: (
        Annotated[str, Meta(description=f"Comma-separated, of: {', '.join(FACETS)}. Absent: all.")] | None
    ) = None


class ExportQuery(Asked):
    """Parameters of an export besides the filters."""

    format: Annotated[
        Literal["csv", "ndjson", "bundle"],
        Meta(description="The file's format; a bundle is a zip that `affidavit verify` checks."),
    ]
    order: Order = "desc"
    safe: Annotated[
        bool, Meta(description="CSV: a quote before text that a spreadsheet would run as a formula.")
    ] = True
    bom: Annotated[bool, Meta(description="CSV: a byte order mark, for spreadsheets that need one.")] = False
    proofs: Annotated[
        bool, Meta(description="NDJSON: a receipt a line, of every event that a signed checkpoint covers.")
    ] = False
    range: (
        Annotated[
            str,
            Meta(
                pattern=r"^[0-9]{0,18}:[0-9]{0,18}$",
                description="Bundle without filters: first index and end (exclusive). Absent: all.",
            ),
        ]
        | None
    ) = None
    incarnation: (
        Annotated[int, Meta(ge=1, le=10**9, description="With proofs: of which tree. Absent: the newest.")]
        | None
    ) = None


async def list_events(call: Call[ListQuery]) -> Response:
    """One page of events."""
    reader, catalogs = call.instance.reader, call.instance.catalogs
    query = call.query

    def work() -> bytes:
        page = reader.page(
            call.scope.organizations,
            call.filter,
            limit=query.limit,
            order=query.order,
            token=query.continuation_token,
            # A page of a thousand may take as long as twenty pages of fifty, so that it comes whole.
            seconds=PAGE_SECONDS * max(1.0, query.limit / 50),
        )
        return list_answer(page, catalogs, ascending=query.order == "asc")

    body = await call.thread(work)
    call.note_read()
    return Response(body, media_type=JSON)


def list_answer(page: Any, catalogs: CatalogSet, *, ascending: bool) -> bytes:
    """A page as the body of its answer."""
    events = b",".join([encode_event(event, catalogs.title(event.action)) for event in page.events])
    token = msgspec.json.encode(page.continuation_token)
    end = b',"caught_up":%b' % (b"true" if page.caught_up else b"false") if ascending else b""
    return b'{"events":[%b],"continuation_token":%b,"watermark":%b%b}' % (
        events,
        token,
        _moment(page.watermark),
        end,
    )


async def get_event(call: Call[Nothing]) -> Response:
    """One event."""
    reader, catalogs = call.instance.reader, call.instance.catalogs
    try:
        event_id = parse_id(call.path["id"])
    except InvalidQuery:
        raise NotFound() from None

    def work() -> bytes:
        event = reader.get(call.scope.organizations, event_id)
        return encode_event(event, catalogs.title(event.action))

    body = await call.thread(work)
    call.note_read()
    return Response(body, media_type=JSON)


async def histogram(call: Call[HistogramQuery]) -> Response:
    """Counts over time."""
    found = await call.thread(
        lambda: call.instance.reader.histogram(
            call.scope.organizations, call.filter, buckets=call.query.buckets
        )
    )
    call.note_read()
    answer = {
        "buckets": [
            {
                "start": format_time(bucket.start),
                "end": format_time(bucket.end),
                "count": bucket.count,
                "failures": bucket.failures,
            }
            for bucket in found.buckets
        ],
        "total": found.total,
        "at_least": found.at_least,
        "watermark": _text(found.watermark),
    }
    return Response(msgspec.json.encode(answer), media_type=JSON)


async def facets(call: Call[FacetQuery]) -> Response:
    """Frequent values."""
    wanted = tuple(dict.fromkeys(call.query.fields.split(","))) if call.query.fields else FACETS
    unknown = [name for name in wanted if name not in FACETS]
    if unknown:
        raise InvalidQuery.of("fields", "enum", f"must be of {', '.join(FACETS)}", unknown[0][:100])
    found = await call.thread(
        lambda: call.instance.reader.facets(
            call.scope.organizations, call.filter, fields=wanted, top=call.query.top
        )
    )
    call.note_read()
    answer = {
        "fields": {
            name: [{"value": value, "count": count} for value, count in values]
            for name, values in found.fields.items()
        },
        "examined": found.examined,
        "at_least": found.at_least,
        "watermark": _text(found.watermark),
    }
    return Response(msgspec.json.encode(answer), media_type=JSON)


async def export(call: Call[ExportQuery]) -> Response:
    """The whole result as a file, streamed."""
    query = call.query
    _check_export(query)
    # 1. The first chunk, which fixes the moment that the export shows; an error here is still an answer.
    # 2. The event that says so, durable. 3. The first byte.
    chunks, media_type, extension = await call.thread(lambda: _chunks(call))
    first = await call.thread(lambda: next(chunks, b""))
    more = {name: value for name in ("range", "incarnation") if (value := getattr(query, name)) is not None}
    if query.proofs:
        more["proofs"] = True
    await call.request.app.state.reads.exported(
        call.scope, call.request.url.path, call.address, call.filter, query.format, more
    )
    disposition = f'attachment; filename="{_file_name(call, extension)}"'
    return StreamingResponse(
        _stream(first, chunks), media_type=media_type, headers={"content-disposition": disposition}
    )


def _check_export(query: ExportQuery) -> None:
    """Refuse parameters that the format does not have, so that nobody believes they did something."""
    if query.proofs and query.format != "ndjson":
        raise InvalidQuery.of("proofs", "format", "is for format=ndjson; a bundle always has proofs")
    if query.range is not None and query.format != "bundle":
        raise InvalidQuery.of("range", "format", "is for format=bundle")
    if query.incarnation is not None and query.format != "bundle" and not query.proofs:
        raise InvalidQuery.of("incarnation", "format", "is for format=bundle, and for proofs=true")


def _chunks(call: Call[ExportQuery]) -> tuple[Iterator[bytes], str, str]:
    """The bytes of an export, their media type, and the end of the file's name."""
    query, instance = call.query, call.instance
    if query.format == "bundle":
        bundles = Bundles(instance.log, instance.log, instance.entries, instance.reader)
        bundle = bundles.open(
            call.scope.organization,
            call.filter,
            span=None if query.range is None else parse_range(query.range),
            incarnation=query.incarnation,
        )
        return bundle.chunks(), "application/zip", "bundle.zip"
    batches = instance.reader.export(call.scope.organizations, call.filter, order=query.order)
    if query.format == "csv":
        chunks = csv.rows(batches, instance.catalogs, safe=query.safe, bom=query.bom)
        return chunks, "text/csv; charset=utf-8; header=present", "csv"
    if query.proofs:
        sweep = instance.receipts.newest(call.scope.organization, query.incarnation)
        chunks = receipts.rows(batches, instance.receipts, sweep)
        return chunks, "application/x-ndjson", "receipts.ndjson"
    return ndjson.rows(batches, instance.catalogs), "application/x-ndjson", "ndjson"


async def _stream(first: bytes, chunks: Iterator[bytes]) -> Any:
    yield first
    async for chunk in iterate_in_threadpool(chunks):
        yield chunk


def _file_name(call: Call[Any], extension: str) -> str:
    name = call.scope.home.replace(":", "-")
    return f"audit-log-{name}.{extension}"


def _text(moment: int | None) -> str | None:
    return None if moment is None else format_time(moment)


def _moment(moment: int | None) -> bytes:
    return b"null" if moment is None else f'"{format_time(moment)}"'.encode()


async def _recorded_elsewhere(_call: Call[Any]) -> Response:
    """Never runs: :class:`.edge.Edge` hands these requests to :class:`.record.Record`."""
    raise AffidavitError("The application was built without its edge.")


OPERATIONS = [
    Operation(
        method="POST",
        path=f"{API}/events",
        handler=_recorded_elsewhere,
        tag="events",
        summary="Record events",
        description='One event, or several as `{"events": [...]}` (at most 1,000 and 16 MiB), stored in one '
        "transaction. Answered after the commit is durable: 201 where something was stored, 200 where all "
        "of it was there already. The header `Idempotency-Key` does for one event what the field does.",
        ability=EVENTS_WRITE,
        scoped=True,
        body=(NewEvent, Batch),
        answers={201: RecordedEvents, 200: RecordedEvents},
    ),
    Operation(
        method="GET",
        path=f"{API}/events",
        handler=list_events,
        tag="events",
        summary="List events",
        description="A page may come short, and even empty, with a continuation token: the work for one page "
        "is bounded. Go on until the token is null.",
        ability=LIST,
        scoped=True,
        query=ListQuery,
        filters=True,
        answers={200: EventList},
    ),
    Operation(
        method="GET",
        path=f"{API}/events/histogram",
        handler=histogram,
        tag="events",
        summary="Count events over time",
        ability=LIST,
        scoped=True,
        query=HistogramQuery,
        filters=True,
        answers={200: HistogramAnswer},
    ),
    Operation(
        method="GET",
        path=f"{API}/events/facets",
        handler=facets,
        tag="events",
        summary="Count frequent values",
        ability=LIST,
        scoped=True,
        query=FacetQuery,
        filters=True,
        answers={200: FacetAnswer},
    ),
    Operation(
        method="GET",
        path=f"{API}/events/export",
        handler=export,
        tag="events",
        summary="Export events as a file",
        description="Every event that the filters match, as of the start. A body that is cut off is an "
        'error; NDJSON ends with a line `{"trailer": {...}}`. Recorded as an event before the first byte. '
        "A bundle is of one organization and as of its newest signed checkpoint: without filters it holds "
        "every entry of the range and proves that none is missing, with filters each entry with its proof.",
        signed=True,
        ability=EXPORT,
        scoped=True,
        query=ExportQuery,
        filters=True,
        answers={200: ("text/csv", "application/x-ndjson", "application/zip")},
    ),
    Operation(
        method="GET",
        path=f"{API}/events/{{id}}",
        handler=get_event,
        tag="events",
        summary="Read one event",
        ability=LIST,
        scoped=True,
        answers={200: Event},
    ),
]
