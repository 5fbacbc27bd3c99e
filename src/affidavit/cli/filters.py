"""The API's filters as flags: each with ``--not-`` before it, each repeatable, and the search line."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from cyclopts import Group, Parameter

from affidavit.cli.exits import UsageError
from affidavit.core.filter import FIELDS, Filter
from affidavit.core.query import parse_params, parse_search

__all__ = ["GROUP", "HELP", "Filters", "Search", "filter_of"]

GROUP = Group("Filters (repeat one for OR; each also as --not-...)", sort_key=500)
"""The heading of the filters in help texts."""

HELP = {
    "actor": "Id or e-mail of who did it, or on whose behalf.",
    "action": "Action such as user.role.assign, or a group: user.*",
    "action_group": "First segment of the action, such as auth.",
    "outcome": "success or failure.",
    "severity": "info, warning or critical; exactly that.",
    "source": "Channel such as web, api, mcp, cli, scheduler, sso_sync.",
    "resource": "Id or name of what it was done to.",
    "resource_type": "Type of what it was done to, such as project.",
    "project": "Project inside the organization.",
    "ip": "Address, or network such as 203.0.113.0/24.",
    "token": "Id or name of the credential used.",
    "session": "Id of the session.",
    "on_behalf_of": "Id or e-mail of the person it was done for.",
    "parent_id": "Id of the bulk operation it belongs to.",
    "request_id": "Id of the request.",
    "trace_id": "Id of the trace.",
    "country_code": "Country of the address, such as DE.",
    "late": "true or false: recorded more than 24 hours after it occurred.",
    "imported": "true or false.",
    "q": "Text anywhere in action, actor, resources, address and payload.",
}
"""What each filter looks at; one line for every name of :data:`affidavit.core.filter.FIELDS`."""

DATES = {
    "start_date": "First moment: 2026-01-31 (from 00:00 UTC) or RFC 3339.",
    "end_date": "Last moment, inclusive: 2026-01-31 (to the end of the day, UTC) or RFC 3339.",
}

Search = Annotated[
    str,
    Parameter(
        show_default=False,
        allow_leading_hyphen=True,
        help="Words of a search line: actor:ana@x.io action:user.* -outcome:success "
        'after:2026-01-01 "some text".',
    ),
]
"""The arguments of commands that take a search line, which may come in one piece or in words."""


class Filters:
    """The filters of the API; ``None`` is "not given"."""

    def pairs(self) -> list[tuple[str, str]]:
        """Names and values as the query string of the API would have them."""
        given: list[tuple[str, str]] = []
        for name in _names():
            value = getattr(self, name)
            values = value if isinstance(value, list) else [] if value is None else [value]
            given += [(name, text) for text in values]
        return given


def _names() -> list[str]:
    return [*FIELDS, *DATES, *(f"not_{field}" for field in FIELDS)]


def _annotation(name: str) -> Any:
    if name in DATES:
        return Annotated[str | None, Parameter(help=DATES[name], group=GROUP, show_default=False)]
    if name.startswith("not_"):
        # Not in the help, where the heading says that each filter has one.
        parameter = Parameter(group=GROUP, show=False, negative=())
    else:
        parameter = Parameter(help=HELP[name], group=GROUP, show_default=False, negative=())
    return Annotated[list[str] | None, parameter]


# The flags are those of core.filter, so that a filter of the API cannot be missing here.
Filters.__annotations__ = {name: _annotation(name) for name in _names()}
for _name in _names():
    setattr(Filters, _name, None)
Parameter(name="*")(dataclass(frozen=True, kw_only=True)(Filters))


def filter_of(filters: Filters | None, *search: str) -> Filter:
    """The filter that flags and search line ask for together.

    Raises:
        InvalidQuery: a value breaks its rule, or a date is given twice.
        UsageError: what stands for the search line was meant as a flag.
    """
    for word in search:
        if word.startswith("--"):
            near = get_close_matches(word, [f"--{name.replace('_', '-')}" for name in _names()], 1)
            raise UsageError(f"unknown option {word}" + (f"; did you mean {near[0]}?" if near else ""))
    pairs = filters.pairs() if filters is not None else []
    return parse_params(pairs + parse_search(" ".join(search)))
