"""``affidavit catalog``: event types: list, show, push those of an app, check what was recorded."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from affidavit.cli.exits import Failed, UsageError
from affidavit.cli.instance import credential, opened, readable_organizations
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, note, print_json, print_table, wants_json
from affidavit.core.catalog import Catalog, CatalogSet, EventType, check_metadata
from affidavit.core.event import RESERVED
from affidavit.core.filter import Filter
from affidavit.errors import NotFound

__all__ = ["check_command", "list_command", "push_command", "show_command"]


def list_command(
    *,
    group: Annotated[str | None, Parameter(help="Only this action group, such as auth.")] = None,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """List the event types, ready-made and pushed."""
    with opened(common.settings()) as instance:
        catalogs = instance.catalogs
    types = [event_type for event_type in catalogs.types() if group in (None, event_type.group)]
    if wants_json(json):
        for event_type in types:
            print_json(_public(catalogs, event_type))
        return
    print_table(
        ("Action", "Title", "Group", "Severity", "Requires"),
        [
            (each.action, each.title, catalogs.group_title(each.group), each.severity, each.requires)
            for each in types
        ],
        empty="No event types.",
    )


def show_command(
    action: Annotated[str, Parameter(help="Dotted name such as user.role.assign.")],
    /,
    *,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Show one event type."""
    with opened(common.settings()) as instance:
        catalogs = instance.catalogs
    event_type = catalogs.event_type(action)
    if event_type is None:
        raise NotFound(f"No catalog names the action {action!r}; it is recorded all the same.")
    shown = _public(catalogs, event_type)
    if wants_json(json):
        print_json(shown)
    else:
        print_table(("Field", "Value"), shown.items(), empty="")


def push_command(
    module: Annotated[
        str,
        Parameter(
            help="Importable from the current folder, such as myapp.audit; or a .json catalog document."
        ),
    ],
    /,
    *,
    name: Annotated[str | None, Parameter(help="Name of the catalog; default: that of the module.")] = None,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Store the catalogs that a Python module declares, for the server and its page.

    The same ones again change nothing; other ones become the next version, and an event says so.
    """
    from affidavit.access.catalogs import CatalogSettings
    from affidavit.wiring import clock

    catalog, declared = _load(module)
    with opened(common.settings(), make=True) as instance:
        store = CatalogSettings(instance.catalog_store, instance.access_events, clock=clock)
        pushed = store.push(name or declared, catalog, credential())
    if wants_json(json):
        print_json(pushed)
        return
    counts = [
        (len(pushed.added), "added"),
        (len(pushed.changed), "changed"),
        (len(pushed.removed), "removed"),
    ]
    said = ", ".join(f"{number} {word}" for number, word in counts if number) or "nothing is new"
    line(f"{pushed.name} is at version {pushed.version}: {said}.")


def check_command(
    *,
    limit: Annotated[int, Parameter(help="How many of the newest events to look at.")] = 100_000,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Look for actions that no catalog names, and for metadata that departs from its schema.

    The exit code is 1 where there is any.
    """
    from affidavit.cli.events import walk

    found: Counter[tuple[str, str]] = Counter()
    settings = common.settings()
    looked = 0
    with opened(settings) as instance:
        catalogs = instance.catalogs
        organizations = readable_organizations(instance, settings, Filter())
        for event in walk(instance, organizations, Filter(), limit=limit):
            looked += 1
            event_type = catalogs.event_type(event.action)
            if event_type is None:
                if not event.action.startswith(RESERVED):
                    found[event.action, "is in no catalog"] += 1
            elif "details" not in event.redacted:
                for error in check_metadata(event_type, event.groups().get("metadata")):
                    found[event.action, f"{error.pointer}: {error.message}"] += 1
    rows = [(action, problem, count) for (action, problem), count in found.most_common()]
    if wants_json(json):
        for action, problem, count in rows:
            print_json({"action": action, "problem": problem, "events": count})
    elif rows:
        print_table(("Action", "Problem", "Events"), rows, empty="")
    note(f"{looked:,} events were looked at, {len(rows)} kinds of problem were found.")
    if rows:
        raise Failed


def _load(module: str) -> tuple[CatalogSet, str]:
    """The catalogs of a module or a document, and the name that goes with them."""
    if module.endswith(".json"):
        file = Path(module)
        return CatalogSet.from_document(_document(file)), file.stem
    sys.path.insert(0, str(Path.cwd()))
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"the module {module!r} cannot be imported: {error}") from error
    finally:
        sys.path.pop(0)
    declared = [
        value
        for value in vars(loaded).values()
        if isinstance(value, type) and issubclass(value, Catalog) and value.__module__ == loaded.__name__
    ]
    if not declared:
        raise UsageError(f"the module {module!r} declares no class of Catalog")
    return CatalogSet.of(*declared), module


def _document(file: Path) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes())
    except msgspec.DecodeError as error:
        raise UsageError(f"{file} is not JSON: {error}") from error


def _public(catalogs: CatalogSet, event_type: EventType) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(event_type)
    shown["group"] = event_type.group
    shown["group_title"] = catalogs.group_title(event_type.group)
    return {name: value for name, value in shown.items() if value not in (None, [], ())}
