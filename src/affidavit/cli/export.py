"""``affidavit export``: every event that matches, as CSV or NDJSON, to a file or to standard output.

A file is written under another name beside its place and renamed when it is complete, so a name that
exists is a whole export. ``FILE.trailer.json`` says how many events are in it and what was asked.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

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
    from affidavit.wiring import Instance

__all__ = ["command"]

STANDARD_OUTPUT = "-"


def command(
    *search: Search,
    format: Annotated[Literal["csv", "ndjson"], Parameter(help="csv for spreadsheets, ndjson for programs.")],
    output: Annotated[
        str,
        Parameter(
            help="The file to write, replacing one that exists; - is standard output.",
            allow_leading_hyphen=True,
        ),
    ],
    order: Annotated[Literal["desc", "asc"], Parameter(help="desc: newest first.")] = "desc",
    json: Json = None,
    filters: Filters | None = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Export every event that matches, as of the start of the export.

    Writes OUTPUT whole or not at all, and OUTPUT.trailer.json with the number of events, the SHA-256
    and the question. Memory does not depend on the number of events.
    """
    asked = filter_of(filters, *search)
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
            batches = _counted(instance.reader.export(organizations, asked, order=order), count)
            _note_export(instance, organizations, format, asked)
            if target is None:
                _to_stdout(_chunks(instance, format, batches))
                return
            chunks = _chunks(instance, format, batches)
            # The trailer stands beside a file, so that each line of it is an event.
            _to_file(target, _but_last(chunks) if format == "ndjson" else chunks, trailer, count)
    if wants_json(json):
        print_json({"output": str(target), **trailer})
    else:
        note(f"{trailer['events']:,} events in {target}")


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


def _chunks(instance: Instance, format_: str, batches: Iterator[list[StoredEvent]]) -> Iterator[bytes]:
    if format_ == "csv":
        from affidavit.export import csv

        return csv.rows(batches, instance.catalogs)
    from affidavit.export import ndjson

    return ndjson.rows(batches, instance.catalogs)


def _but_last(chunks: Iterator[bytes]) -> Iterator[bytes]:
    held: bytes | None = None
    for chunk in chunks:
        if held is not None:
            yield held
        held = chunk


def _to_stdout(chunks: Iterator[bytes]) -> None:
    sys.stdout.flush()
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _to_file(target: Path, chunks: Iterator[bytes], trailer: dict[str, Any], count: Counter) -> None:
    digest, size = sha256(), 0
    with _whole(target) as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        trailer |= {
            "events": count.total(),
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
