"""One event for people on a terminal: a row of a table, a line of ``tail``, the page of ``show``.

Every text of an event passes through :func:`~affidavit.cli.terminal.visible` before it is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from affidavit.cli.terminal import visible
from affidavit.core.ids import format_id
from affidavit.core.row import StoredEvent
from affidavit.core.times import format_time

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["COLUMNS", "detail", "event_cells", "event_columns", "event_line"]

COLUMNS = ("Time (UTC)", "", "Action", "Actor", "Resource", "IP", "Severity", "Id")
"""The columns of the table of ``affidavit events``; the second is the outcome."""

WIDE = 150
"""Columns of a terminal from which on a table shows the ids of events."""

SHOWN_ID = 8
"""How much of the id of a resource without a name a table shows."""

_SEVERITY_STYLES = {"warning": "yellow", "critical": "bold red"}
_OUTCOMES = {"success": ("\N{CHECK MARK}", "green"), "failure": ("\N{BALLOT X}", "red")}


def event_columns() -> tuple[str, ...]:
    """Those of :data:`COLUMNS` that fit this terminal: the ids only where there is room."""
    from affidavit.cli.output import console

    return COLUMNS if console().width >= WIDE else COLUMNS[:-1]


def event_cells(event: StoredEvent) -> tuple[tuple[str, str], ...]:
    """The cells of :data:`COLUMNS`, each with a rich style."""
    groups = event.groups()
    late = " late" if event.late else ""
    return (
        (_moment(event.occurred_at) + late, "yellow" if late else ""),
        _OUTCOMES[event.outcome],
        (visible(event.action), ""),
        (_actor(groups, event), "dim" if "actor" in event.redacted else ""),
        (_resource(groups), ""),
        (visible(str(groups.get("ip", ""))), ""),
        (event.severity, _SEVERITY_STYLES.get(event.severity, "dim")),
        (format_id(event.id), "dim"),
    )


def event_line(event: StoredEvent) -> str:
    """The event as one line of ``affidavit tail``."""
    when, outcome, action, actor, resource, address, severity, _ = (text for text, _ in event_cells(event))
    loud = f"[{severity}]" if event.severity != "info" else ""
    return "  ".join(filter(None, (f"{when}Z", outcome, action, actor, resource, address, loud)))


def _moment(microseconds: int) -> str:
    return format_time(microseconds)[:19].replace("T", " ")


def _actor(groups: Mapping[str, Any], event: StoredEvent) -> str:
    if "actor" in event.redacted:
        return "expired" if event.expired else "erased"
    actor = groups.get("actor", {})
    text = visible(str(actor.get("email") or actor.get("name") or actor.get("id", "")))
    if "on_behalf_of" in groups:
        other = groups["on_behalf_of"]
        text += " for " + visible(str(other.get("email") or other.get("name") or other.get("id")))
    return f"{text} ({event.source})"


def _resource(groups: Mapping[str, Any]) -> str:
    resources = groups.get("resources", ())
    if not resources:
        return ""
    first = resources[0]
    name = first.get("name") or str(first["id"])[:SHOWN_ID]
    more = f" +{len(resources) - 1}" if len(resources) > 1 else ""
    return visible(f"{first['type']} / {name}") + more


def detail(event: StoredEvent, title: str) -> list[RenderableType]:
    """Everything an event says: its fields, old and new side by side, the metadata."""
    from rich.text import Text

    from affidavit.cli.output import table

    groups = dict(event.groups())
    changes = groups.pop("changes", None)
    metadata = groups.pop("metadata", None)
    parts: list[RenderableType] = [Text(visible(f"{title} ({event.action})"), style="bold")]
    fields = table(("Field", "Value"))
    for name, value in (*_clear_fields(event), *_flat("", groups)):
        fields.add_row(Text(visible(name)), Text(visible(value)))
    parts.append(fields)
    if changes:
        sides = table(("Changed", "Old", "New"))
        for name, change in changes.items():
            old, new = (Text(visible(_json(change.get(side))), style="dim") for side in ("old", "new"))
            new.stylize("not dim bold")
            sides.add_row(Text(visible(name)), old, new)
        parts.append(sides)
    if metadata:
        pretty = msgspec.json.format(msgspec.json.encode(metadata), indent=2).decode()
        parts.append(Text("Metadata", style="bold"))
        parts.append(Text("\n".join(map(visible, pretty.splitlines()))))
    return parts


def _clear_fields(event: StoredEvent) -> list[tuple[str, str]]:
    fields = {
        "id": format_id(event.id),
        "organization": event.organization,
        "project": event.project,
        "occurred_at": format_time(event.occurred_at) + (" (late)" if event.late else ""),
        "recorded_at": format_time(event.recorded_at),
        "outcome": event.outcome,
        "severity": event.severity,
        "source": event.source + (" (imported)" if event.imported else ""),
        "parent_id": format_id(event.parent_id) if event.parent_id else None,
        "facts": event.facts,
        "state": event.state + (f" (entry {event.place.index} of the log)" if event.place else ""),
        "expired": "its values were kept as long as the retention policy says" if event.expired else None,
        "redacted": None if event.expired else ", ".join(event.redacted) or None,
        "inconsistent": ", ".join(event.inconsistent) or None,
    }
    return [(name, value) for name, value in fields.items() if value is not None]


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    """The leaves of nested objects and lists with dotted names."""
    if isinstance(value, Mapping):
        members = [(f"{prefix}.{name}" if prefix else name, member) for name, member in value.items()]
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        members = [(f"{prefix}.{number}", member) for number, member in enumerate(value)]
    else:
        return [(prefix, _json(value))]
    return [leaf for name, member in members for leaf in _flat(name, member)]


def _json(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
