"""The reference page of the ready-made catalogs, ``docs/reference/catalogs.md``, made from the catalogs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from affidavit.catalogs import READY_MADE, ready_made
from affidavit.core.catalog import Catalog, EventType

__all__ = ["DOCUMENTS", "documents_of", "markdown"]

DOCUMENTS: tuple[tuple[str, str, range, tuple[str, ...]], ...] = (
    ("000", "A data-pipeline platform", range(1, 68), ("data_platform", "api_requests")),
    ("001", "A cloud platform", range(68, 101), ("cloud_platform",)),
    ("002", "An integration platform", range(101, 151), ("integration_platform",)),
    ("003", "An automation workspace", range(151, 176), ("automation_workspace",)),
    ("004", "A flow platform", range(176, 202), ("flow_platform",)),
)
"""Number, kind of product, requirements and modules of each source document."""

_HEAD = """\
# Event catalogs

<!-- Made by `python -m affidavit.catalogs`; change the catalogs, then run it again. -->

Every event that the five source documents name is in a ready-made catalog, and every event that
Affidavit records of itself. An event counts as **named** where its document names or describes it, as
*inferred* where it only follows from what the document says, and as own where Affidavit records it of
itself. Severity is that of a success and, where it differs, of a failure. Metadata lists the keys that
the schema knows; `*` marks those that are always there. R-numbers are the requirements.

An action that no catalog names is recorded all the same; `affidavit catalog check` reports it. Declare
your own as a class, and lay it over these to adjust a title or a severity: of two catalogs the later one
counts, and `classified=False` keeps the classifier from raising what the catalog says.
"""

_COLUMNS = "| action | title | severity | requirements | source | metadata |\n|---|---|---|---|---|---|"


def markdown() -> str:
    """The page."""
    parts = [_HEAD]
    for number, kind, _, modules in DOCUMENTS:
        parts.append(f"## {number}: {kind}\n")
        shared = [item for item in ready_made().types() if number in documents_of(item) - _home(item)]
        if shared:
            parts.append("Declared with another document and asked for by this one too:\n")
            parts.append(_table(shared))
        parts += map(_section, _catalogs_in(modules))
    parts.append("## Affidavit itself\n")
    parts.append("Under the reserved prefixes, which clients cannot record.\n")
    parts += map(_section, _catalogs_in(("product",)))
    return "\n".join(parts)


def documents_of(event_type: EventType) -> set[str]:
    """The source documents whose requirements an event type answers."""
    wanted = {int(reference[1:]) for reference in event_type.references}
    return {number for number, _, requirements, _ in DOCUMENTS if wanted.intersection(requirements)}


def _home(event_type: EventType) -> set[str]:
    """The document whose module declares the type."""
    module = next(_module(catalog) for catalog in READY_MADE if event_type in catalog.event_types)
    return {number for number, _, _, modules in DOCUMENTS if module in modules}


def _module(catalog: type[Catalog]) -> str:
    return catalog.__module__.rpartition(".")[2]


def _catalogs_in(modules: Iterable[str]) -> Iterator[type[Catalog]]:
    return (catalog for catalog in READY_MADE if _module(catalog) in modules)


def _section(catalog: type[Catalog]) -> str:
    first = catalog.event_types[0]
    heading = f"### {ready_made().group_title(first.group)}: `{catalog.prefix}.*`\n"
    text = (catalog.__doc__ or "").strip().replace("``", "`") + "\n"
    numbered = f"{len(catalog.event_types)} event types.\n"
    return "\n".join((heading, text, numbered, _table(catalog.event_types)))


def _table(types: Iterable[EventType]) -> str:
    return "\n".join((_COLUMNS, *map(_line, types), ""))


def _line(event_type: EventType) -> str:
    cells = (
        f"`{event_type.action}`",
        event_type.title,
        _severity(event_type.action),
        ", ".join(event_type.references),
        _origin(event_type),
        _metadata(event_type),
    )
    return "| " + " | ".join(cells) + " |"


def _origin(event_type: EventType) -> str:
    if event_type.inferred:
        return "*inferred*"
    return "named" if _home(event_type) else "own"


def _severity(action: str) -> str:
    success, failure = (ready_made().severity(action, outcome) for outcome in ("success", "failure"))
    return success if success == failure else f"{success}; failure {failure}"


def _metadata(event_type: EventType) -> str:
    schema = event_type.metadata_schema or {}
    always = schema.get("required", ())
    return ", ".join(f"`{key}`{'*' if key in always else ''}" for key in schema.get("properties", ()))
