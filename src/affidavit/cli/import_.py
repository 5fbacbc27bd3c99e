"""``affidavit import``: audit logs of other products, from files, globs, folders or standard input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from affidavit.cli.exits import Failed, UsageError, refuse_flags
from affidavit.cli.instance import credential, opened, writable_organization
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, note, print_json, wants_json
from affidavit.cli.progress import counter
from affidavit.core.event import Draft
from affidavit.core.names import check_name
from affidavit.core.prepare import Rights

if TYPE_CHECKING:
    from affidavit.core.row import Recorded
    from affidavit.ingest.importers import Importer
    from affidavit.ingest.rejects import Reject
    from affidavit.wiring import Instance

__all__ = ["command"]

NAMED_REJECTS = 20
"""How many rejects are named on the terminal; the reject files have them all."""


def command(
    format: Annotated[str, Parameter(help="cloudtrail, github, kubernetes, ndjson or okta.")],
    /,
    *files: Annotated[
        str,
        Parameter(
            help="Files, globs, folders (all files under them), or - for standard input; "
            "JSON, NDJSON or gzip of them.",
            allow_leading_hyphen=True,
        ),
    ],
    account: Annotated[
        str | None, Parameter(help="The account, where the records name none; goes to metadata.account.")
    ] = None,
    map: Annotated[
        list[str] | None,
        Parameter(negative=(), help="For ndjson: FIELD=PATH, or FIELD==TEXT for a constant; repeatable."),
    ] = None,
    map_file: Annotated[Path | None, Parameter(help="For ndjson: a TOML file with the map.")] = None,
    record: Annotated[
        str | None, Parameter(help="For ndjson: path to the part of a line that is the record.")
    ] = None,
    rejects: Annotated[
        Path | None, Parameter(help="Folder of the reject files; default: the current one.")
    ] = None,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Import audit logs; what was imported before is not imported again.

    A record that cannot go in is named by file and line and kept in NAME.rejects.ndjson; the rest goes in,
    and the exit code is 1.
    """
    refuse_flags(files)
    if not files:
        raise UsageError("name the files to import, or - for standard input")
    settings = common.settings()
    organization = check_name(writable_organization(settings))
    importer = _importer(format, account, map or (), map_file, record)
    with opened(settings, make=True) as instance:
        counts = _run(instance, importer, organization, files, rejects)
    if wants_json(json):
        print_json(counts)
    else:
        shown = {name: number for name, number in counts.items() if number or name != "skipped"}
        line(", ".join(f"{number:,} {name}" for name, number in shown.items()))
    if counts["rejected"]:
        raise Failed


def _importer(
    name: str, account: str | None, maps: Sequence[str], map_file: Path | None, record: str | None
) -> Importer:
    from affidavit.ingest.importers import REGISTRY
    from affidavit.ingest.importers.mapping import read_mapping

    if name not in REGISTRY:
        raise UsageError(f"there is no format {name!r}; there are {', '.join(sorted(REGISTRY))}")
    if name == "ndjson":
        return REGISTRY[name](account=account, mapping=read_mapping(maps, map_file, record=record))
    if maps or map_file is not None or record is not None:
        raise UsageError(f"--map, --map-file and --record are for ndjson; {name} knows its own fields")
    return REGISTRY[name](account=account)


def _run(
    instance: Instance, importer: Importer, organization: str, files: Sequence[str], folder: Path | None
) -> dict[str, int]:
    from affidavit.ingest.rejects import RejectFile
    from affidavit.ingest.run import ImportRun

    rights = Rights(may_import=True, may_set_id=True, compare=False, unmasked=importer.unmasked)
    by = credential().recorded_by()

    def record(drafts: Sequence[Draft]) -> Sequence[Recorded]:
        return instance.intake.record(drafts, organization=organization, by=by, rights=rights)

    named = _Named()
    kept = RejectFile(folder, on_reject=named)
    with counter("Importing", unit="bytes") as count:
        run = ImportRun(record, importer, rejects=kept, progress=count.at)
        try:
            counts = run.run(files)
        except KeyboardInterrupt:
            note(
                f"Stopped. {run.counts.recorded:,} events are recorded; the same command goes on from there."
            )
            raise
    named.rest()
    for path in kept.paths:
        note(f"Rejected records are kept in {path}")
    answer: dict[str, int] = msgspec.to_builtins(counts)
    return answer


class _Named:
    """Names the first rejects on standard error, and says how many more there are."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(self, reject: Reject) -> None:
        self._seen += 1
        if self._seen <= NAMED_REJECTS:
            field = f"{reject.field}: " if reject.field else ""
            note(f"{reject.file}:{reject.line}: {field}{reject.error}")

    def rest(self) -> None:
        if self._seen > NAMED_REJECTS:
            note(f"and {self._seen - NAMED_REJECTS:,} more rejected records")
