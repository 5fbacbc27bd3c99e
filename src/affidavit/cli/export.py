"""``affidavit export``: every event that matches, as CSV, NDJSON or a bundle, to a file or standard output.

A bundle is evidence: ``affidavit verify`` checks it without this database.

A file is written under another name beside its place and renamed when it is complete, so a name that
exists is a whole export. ``FILE.trailer.json`` says how many events are in it and what was asked.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from cyclopts import Parameter

from affidavit.cli.exits import UsageError
from affidavit.cli.filters import Filters, Search, filter_of
from affidavit.cli.instance import credential, opened, readable_organizations
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, note, print_json, wants_json
from affidavit.cli.progress import Counter, counter
from affidavit.core.credentials import ALL, Organizations
from affidavit.core.filter import Filter
from affidavit.core.query import to_params
from affidavit.core.row import StoredEvent
from affidavit.core.times import format_time

if TYPE_CHECKING:
    from affidavit.log.receipts import Sweep
    from affidavit.wiring import Instance

__all__ = ["command"]

STANDARD_OUTPUT = "-"


def command(
    *search: Search,
    format: Annotated[
        Literal["csv", "ndjson", "bundle"],
        Parameter(help="csv for spreadsheets, ndjson for programs, bundle for auditors."),
    ],
    output: Annotated[
        str,
        Parameter(
            help="The file to write, replacing one that exists; - is standard output.",
            allow_leading_hyphen=True,
        ),
    ],
    order: Annotated[Literal["desc", "asc"], Parameter(help="desc: newest first.")] = "desc",
    proofs: Annotated[
        bool, Parameter(negative=(), help="ndjson: a receipt a line, which proves its event by itself.")
    ] = False,
    range: Annotated[
        str | None,
        Parameter(
            show_default=False,
            help="bundle without filters: first index and end (exclusive), such as 0:1000. Default: all.",
        ),
    ] = None,
    incarnation: Annotated[
        int | None, Parameter(show_default=False, help="With proofs: of which tree. Default: the newest.")
    ] = None,
    json: Json = None,
    filters: Filters | None = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Export every event that matches, as of the start of the export.

    Writes OUTPUT whole or not at all, and OUTPUT.trailer.json with the number of events, the SHA-256
    and the question. Memory does not depend on the number of events.

    A bundle is as of the newest signed checkpoint of one organization. Without filters it holds every entry
    of the range and proves that none is missing; with filters each entry with its own proof. Check it with
    affidavit verify, which needs nothing of this machine.
    """
    asked = filter_of(filters, *search)
    _check(format, proofs=proofs, range_=range, incarnation=incarnation)
    settings = common.settings()
    target = None if output == STANDARD_OUTPUT else Path(output)
    if target is not None and not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}")
    with opened(settings) as instance:
        organizations = readable_organizations(instance, settings, asked)
        trailer: dict[str, Any] = {
            "format": format,
            "order": order,
            "organizations": "all" if organizations is ALL else list(organizations),
            "filters": [list(pair) for pair in to_params(asked)],
            "started_at": format_time(time.time_ns() // 1000),
        }
        with counter("Exporting", quiet=target is None) as count:
            if format == "bundle":
                made = _bundle(instance, organizations, asked, range, incarnation, count)
            else:
                batches = _counted(instance.reader.export(organizations, asked, order=order), count)
                inside = proofs or target is None
                sweep = instance.receipts.newest(_one(organizations), incarnation) if proofs else None
                made = _file_of(instance, format, batches, count, sweep, trailer_inside=inside)
            _note_export(instance, organizations, "ndjson with proofs" if proofs else format, asked)
            if target is None:
                _to_stdout(made.chunks)
                return
            _to_file(target, made, trailer)
    if wants_json(json):
        print_json({"output": str(target), **trailer})
    else:
        note(f"{trailer['events']:,} events in {target}")


class _Made(NamedTuple):
    """What is written: its bytes, and what its trailer says when they are all out."""

    chunks: Iterator[bytes]
    counts: Callable[[], Mapping[str, Any]]


def _check(format_: str, *, proofs: bool, range_: str | None, incarnation: int | None) -> None:
    """Refuse flags that the format does not have, so that nobody believes they did something."""
    if proofs and format_ != "ndjson":
        raise UsageError("--proofs is for --format ndjson; a bundle always has proofs")
    if range_ is not None and format_ != "bundle":
        raise UsageError("--range is for --format bundle")
    if incarnation is not None and format_ != "bundle" and not proofs:
        raise UsageError("--incarnation is for --format bundle, and for --proofs")


def _one(organizations: Organizations) -> str:
    if organizations is ALL or len(organizations) != 1:
        raise UsageError("proofs are of one organization: --organization NAME")
    return organizations[0]


def _bundle(
    instance: Instance,
    organizations: Organizations,
    asked: Filter,
    range_: str | None,
    incarnation: int | None,
    count: Counter,
) -> _Made:
    from affidavit.export.bundle import Bundles
    from affidavit.export.leaves import parse_range

    bundle = Bundles(instance.log, instance.log, instance.entries, instance.reader).open(
        _one(organizations),
        asked,
        span=None if range_ is None else parse_range(range_),
        incarnation=incarnation,
    )

    def chunks() -> Iterator[bytes]:
        for chunk in bundle.chunks():
            yield chunk
            count.at(bundle.counts["entries"], None)

    def counts() -> Mapping[str, Any]:
        return {"events": bundle.counts["entries"], **bundle.counts, "bundle": bundle.described}

    return _Made(chunks(), counts)


def _note_export(instance: Instance, organizations: Organizations, format_: str, asked: Filter) -> None:
    """Record the export before its first byte, and after the moment that it shows."""
    metadata = {"format": format_, "filters": [list(pair) for pair in to_params(asked)]}
    instance.insert(
        instance.access_events.rows(
            "audit.export.requested", credential(), organizations, metadata=metadata, source="cli"
        )
    )


def _counted(batches: Iterator[list[StoredEvent]], count: Counter) -> Iterator[list[StoredEvent]]:
    for batch in batches:
        yield batch
        count.add(len(batch))


def _file_of(
    instance: Instance,
    format_: str,
    batches: Iterator[list[StoredEvent]],
    count: Counter,
    sweep: Sweep | None,
    *,
    trailer_inside: bool,
) -> _Made:
    def counts() -> Mapping[str, Any]:
        return {"events": count.total()}

    if format_ == "csv":
        from affidavit.export import csv

        return _Made(csv.rows(batches, instance.catalogs), counts)
    if sweep is not None:
        from affidavit.export import receipts

        last = _Last(receipts.rows(batches, instance.receipts, sweep))
    else:
        from affidavit.export import ndjson

        last = _Last(ndjson.rows(batches, instance.catalogs))
    # Beside a file each line of which is an event.
    return _Made(last.all() if trailer_inside else last.but_last(), last.trailer)


class _Last:
    """Chunks of which the last one is the trailer."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""

    def all(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._held = chunk
            yield chunk

    def but_last(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            if self._held:
                yield self._held
            self._held = chunk

    def trailer(self) -> Mapping[str, Any]:
        trailer: Mapping[str, Any] = msgspec.json.decode(self._held)["trailer"]
        return trailer


def _to_stdout(chunks: Iterator[bytes]) -> None:
    sys.stdout.flush()
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _to_file(target: Path, made: _Made, trailer: dict[str, Any]) -> None:
    digest, size = sha256(), 0
    with _whole(target) as file:
        for chunk in made.chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        trailer |= {
            **made.counts(),
            "bytes": size,
            "sha256": digest.hexdigest(),
            "finished_at": format_time(time.time_ns() // 1000),
        }
        # The trailer goes first: whoever finds the export finds what belongs to it.
        with _whole(target.with_name(target.name + ".trailer.json")) as beside:
            beside.write(msgspec.json.format(msgspec.json.encode(trailer), indent=2) + b"\n")


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only when it is complete and on the disk; nothing is left on an error."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.rename(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
