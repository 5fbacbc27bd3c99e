"""The filter form: one GET form whose every control keeps what the address says.

A control shows the first value of its filter; values that it cannot show (a second outcome, an exclusion, a
filter without a control) travel on as hidden fields and stand below the form as chips that can be removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from affidavit.core.catalog import CatalogSet
from affidavit.core.event import OUTCOMES, SEVERITIES
from affidavit.web.ui.links import Pair
from affidavit.web.ui.question import EVERY, Question

__all__ = ["Chip", "DateField", "Form", "Option", "OptionGroup", "TextField", "build", "label_of"]

SOURCES = ("web", "api", "mcp", "cli", "scheduler", "sso_sync")
_SELECTS = ("action_group", "outcome", "severity", "source", "late", "imported")
_TEXTS = {
    "resource": "Resource",
    "ip": "IP address",
    "project": "Project",
    "resource_type": "Resource type",
    "token": "Token",
    "on_behalf_of": "On behalf of",
    "country_code": "Country code",
}
_HINTS = {
    "resource": "Name or id",
    "ip": "Address or range",
    "project": "Project id",
    "resource_type": "Such as secret",
    "token": "Name or id",
    "on_behalf_of": "E-mail or id",
    "country_code": "Such as DE",
}
_LABELS = {
    **_TEXTS,
    "actor": "Actor",
    "action": "Event type",
    "action_group": "Group",
    "outcome": "Outcome",
    "severity": "Severity",
    "source": "Source",
    "late": "Late",
    "imported": "Imported",
    "start_date": "From",
    "end_date": "To",
    "q": "Text",
    "parent_id": "Parent event",
    "request_id": "Request",
    "trace_id": "Trace",
    "session": "Session",
    "ip": "IP address",
}
_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)


class Option(msgspec.Struct, frozen=True):
    """A choice of a control."""

    value: str
    label: str
    selected: bool = False
    aside: str = ""


class OptionGroup(msgspec.Struct, frozen=True):
    """Choices under one heading."""

    title: str
    options: tuple[Option, ...]


class DateField(msgspec.Struct, frozen=True):
    """A bound; an exact moment, which a date control cannot hold, is shown as text."""

    name: str
    label: str
    value: str
    kind: str


class TextField(msgspec.Struct, frozen=True):
    """A text control."""

    name: str
    label: str
    value: str
    hint: str


class Chip(msgspec.Struct, frozen=True):
    """An active filter, and the address without it."""

    label: str
    value: str
    excluded: bool
    rest: tuple[Pair, ...]


class Form(msgspec.Struct, frozen=True):
    """Everything that the form shows."""

    search: str
    organizations: tuple[Option, ...]
    groups: tuple[Option, ...]
    types: tuple[OptionGroup, ...]
    types_chosen: int
    actors: tuple[Option, ...]
    actors_chosen: int
    outcomes: tuple[Option, ...]
    severities: tuple[Option, ...]
    sources: tuple[Option, ...]
    late: tuple[Option, ...]
    imported: tuple[Option, ...]
    dates: tuple[DateField, ...]
    texts: tuple[TextField, ...]
    more_chosen: int
    carried: tuple[Pair, ...]
    chips: tuple[Chip, ...]

    @property
    def filtered(self) -> bool:
        """Whether anything narrows the table."""
        return bool(self.chips or self.search)


def label_of(parameter: str) -> str:
    """A parameter in words, such as ``IP address``."""
    return _LABELS.get(parameter.removeprefix("not_"), parameter)


def build(
    question: Question,
    catalogs: CatalogSet,
    *,
    organizations: Sequence[str] = (),
    across: bool = False,
    actors: Sequence[tuple[str, str]] = (),
    actions: Iterable[str] = (),
    sources: Iterable[str] = (),
    names: Mapping[str, str] | None = None,
) -> Form:
    """The form for a question.

    Args:
        question: what the address asks for.
        catalogs: give event types, groups and their titles.
        organizations: those to choose from; fewer than two show no control.
        across: whether all organizations together are a choice.
        actors: those to offer as (value of the filter, what to call it).
        actions: those that occur in the log, catalogued or not.
        sources: those that occur in the log.
        names: what to call further values of ``actor`` in chips.
    """
    values = _by_name(question.given)
    called = {**(names or {}), **dict(actors)}
    chosen_group = values["action_group"][0] if values.get("action_group") else ""
    return Form(
        search=question.search,
        organizations=_organizations(organizations, question.organization, across=across),
        groups=_select(values, "action_group", [(segment, title) for segment, title in catalogs.groups()]),
        types=_types(catalogs, chosen_group, values.get("action", []), actions),
        types_chosen=len(values.get("action", [])),
        actors=_actors(values.get("actor", []), actors, called),
        actors_chosen=len(values.get("actor", [])),
        outcomes=_select(values, "outcome", [(word, word.capitalize()) for word in OUTCOMES]),
        severities=_select(values, "severity", [(word, word.capitalize()) for word in SEVERITIES]),
        sources=_select(values, "source", [(word, word) for word in dict.fromkeys([*SOURCES, *sources])]),
        late=_select(values, "late", [("true", "Yes"), ("false", "No")]),
        imported=_select(values, "imported", [("true", "Yes"), ("false", "No")]),
        dates=tuple(_date(values, name) for name in ("start_date", "end_date")),
        texts=tuple(
            TextField(name, label, (values.get(name) or [""])[0], _HINTS[name])
            for name, label in _TEXTS.items()
        ),
        more_chosen=sum(1 for name in (*_TEXTS, "late", "imported") if values.get(name)),
        carried=tuple(_carried(question.given)),
        chips=tuple(_chips(question, catalogs, called)),
    )


def _by_name(given: Iterable[Pair]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in given:
        values.setdefault(name, []).append(value)
    return values


def _organizations(names: Sequence[str], chosen: str | None, *, across: bool) -> tuple[Option, ...]:
    every = [Option(EVERY, "All organizations", chosen == EVERY)] if across else []
    known = list(dict.fromkeys([*names, *([chosen] if chosen and chosen != EVERY else [])]))
    if len(known) < 2 and not across:
        return ()
    return (*(Option(name, name, name == chosen) for name in known), *every)


def _select(values: Mapping[str, list[str]], name: str, choices: Sequence[Pair]) -> tuple[Option, ...]:
    """The options of a single choice, with the current value among them whatever it is."""
    current = (values.get(name) or [""])[0]
    unknown = [(current, current)] if current and current not in dict(choices) else []
    return tuple(Option(value, label, value == current) for value, label in [*choices, *unknown])


def _types(
    catalogs: CatalogSet, group: str, chosen: Sequence[str], seen: Iterable[str]
) -> tuple[OptionGroup, ...]:
    sections: dict[str, list[Option]] = {}
    known = [event_type.action for event_type in catalogs.types()]
    for action in dict.fromkeys([*known, *sorted(seen), *chosen]):
        segment = action.partition(".")[0]
        if (group and segment != group and action not in chosen) or action.endswith(".*"):
            continue
        option = Option(action, catalogs.title(action), action in chosen, action)
        sections.setdefault(catalogs.group_title(segment), []).append(option)
    prefixes = [
        Option(a, f"{catalogs.group_title(a.partition('.')[0])}: {a}", True)
        for a in chosen
        if a.endswith(".*")
    ]
    first = [OptionGroup("Prefixes", tuple(prefixes))] if prefixes else []
    return (*first, *(OptionGroup(title, tuple(options)) for title, options in sections.items()))


def _actors(
    chosen: Sequence[str], frequent: Sequence[tuple[str, str]], called: Mapping[str, str]
) -> tuple[Option, ...]:
    values = dict.fromkeys([*chosen, *(value for value, _ in frequent)])
    return tuple(
        Option(
            value,
            called.get(value, value),
            value in chosen,
            value if called.get(value, value) != value else "",
        )
        for value in values
    )


def _date(values: Mapping[str, list[str]], name: str) -> DateField:
    value = (values.get(name) or [""])[0]
    return DateField(name, label_of(name), value, "date" if not value or _DATE.match(value) else "text")


def _carried(given: Iterable[Pair]) -> Iterable[Pair]:
    """What no control shows: second values of single controls, exclusions, filters without a control."""
    shown = set()
    for name, value in given:
        if name in ("action", "actor"):
            continue
        if name in (*_SELECTS, *_TEXTS, "start_date", "end_date") and name not in shown:
            shown.add(name)
            continue
        yield name, value


def _chips(question: Question, catalogs: CatalogSet, called: Mapping[str, str]) -> Iterable[Chip]:
    for position, (name, value) in enumerate(question.given):
        rest = [*question.given[:position], *question.given[position + 1 :]]
        words = value
        if name.removeprefix("not_") == "actor":
            words = called.get(value, value)
        elif name.removeprefix("not_") == "action" and not value.endswith(".*"):
            words = catalogs.title(value)
        elif name.removeprefix("not_") == "action_group":
            words = catalogs.group_title(value)
        yield Chip(label_of(name), words, name.startswith("not_"), tuple(question.pairs(rest)))
