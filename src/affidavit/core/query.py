"""From parameters or a search line to a :class:`~affidavit.core.filter.Filter`, and back.

Unknown parameters are refused, values are checked and put into one canonical form, so that two spellings of
a question are one question (continuation tokens are bound to it).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Literal
from uuid import UUID

from affidavit.core.event import OUTCOMES, SEVERITIES
from affidavit.core.filter import FIELDS, Condition, Filter
from affidavit.core.names import check_name
from affidavit.core.rules import SOURCE
from affidavit.core.times import format_time, parse_bound
from affidavit.errors import InvalidQuery

__all__ = ["MAX_VALUES", "PARAMETERS", "parse_params", "parse_search", "to_params"]

MAX_VALUES = 100
"""Values of one condition."""
_LONGEST = 1024

PARAMETERS = (*FIELDS, *(f"not_{field}" for field in FIELDS), "start_date", "end_date")
"""Every parameter that is a filter."""

_ACTION = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+\Z|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.\*\Z", re.ASCII)
_GROUP = re.compile(r"[a-z0-9_-]{1,127}\Z", re.ASCII)
_COUNTRY = re.compile(r"[A-Za-z]{2}\Z", re.ASCII)


def _enum(*words: str) -> Callable[[str, str], str]:
    def check(parameter: str, value: str) -> str:
        if value not in words:
            raise InvalidQuery.of(parameter, "enum", f"must be {' or '.join(words)}", value)
        return value

    return check


def _pattern(pattern: re.Pattern[str], message: str) -> Callable[[str, str], str]:
    def check(parameter: str, value: str) -> str:
        if not pattern.match(value):
            raise InvalidQuery.of(parameter, "pattern", message, value)
        return value

    return check


def _address(parameter: str, value: str) -> str:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise InvalidQuery.of(parameter, "address", "must be an IP address or a CIDR range", value) from None
    if isinstance(network, ipaddress.IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            network = ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}", strict=False)
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def _uuid(parameter: str, value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise InvalidQuery.of(parameter, "uuid", "must be a UUID", value) from None


def _any(_parameter: str, value: str) -> str:
    return value


_CHECKS: dict[str, Callable[[str, str], str]] = {
    "action": _pattern(_ACTION, "must be a whole action such as user.create, or a prefix such as user.*"),
    "action_group": _pattern(_GROUP, "must be the first segment of an action, such as user"),
    "outcome": _enum(*OUTCOMES),
    "severity": _enum(*SEVERITIES),
    "source": _pattern(SOURCE, "must match [a-z][a-z0-9_]{0,31}"),
    "project": lambda parameter, value: check_name(value, parameter),
    "ip": _address,
    "parent_id": _uuid,
    "country_code": lambda parameter, value: _pattern(_COUNTRY, "must be two letters")(
        parameter, value
    ).upper(),
    "late": _enum("true", "false"),
    "imported": _enum("true", "false"),
}


def parse_params(
    pairs: Iterable[tuple[str, str]], *, empty: Literal["refuse", "ignore"] = "refuse"
) -> Filter:
    """The filter that parameters ask for.

    Args:
        pairs: names of :data:`PARAMETERS` with their values, repeated ones several times.
        empty: what an empty value means: refused (the API), or absent (forms send them).

    Raises:
        InvalidQuery: an unknown parameter or a value that breaks its rule, named.
    """
    found: dict[tuple[str, bool], list[str]] = {}
    bounds: dict[str, int] = {}
    for name, value in pairs:
        if name not in PARAMETERS:
            raise InvalidQuery.of(name[:100], "unknown", "is no parameter of this list", value[:100])
        if value == "":
            if empty == "ignore":
                continue
            raise InvalidQuery.of(name, "empty", "must not be empty; leave the parameter out instead")
        _check_text(name, value)
        if name in ("start_date", "end_date"):
            if name in bounds:
                raise InvalidQuery.of(name, "repeated", "may be given once", value)
            bounds[name] = parse_bound(value, name, end=name == "end_date")
            continue
        negated = name.startswith("not_")
        field = name.removeprefix("not_")
        values = found.setdefault((field, negated), [])
        value = _CHECKS.get(field, _any)(name, value)
        if value not in values:
            values.append(value)
        if len(values) > MAX_VALUES:
            raise InvalidQuery.of(name, "too_many", f"has more than {MAX_VALUES} values")
    conditions = tuple(
        Condition(field, tuple(sorted(values)), negated) for (field, negated), values in sorted(found.items())
    )
    return Filter(conditions, bounds.get("start_date"), bounds.get("end_date"))


def _check_text(name: str, value: str) -> None:
    if len(value) > _LONGEST:
        raise InvalidQuery.of(name, "too_long", f"is longer than {_LONGEST:,} characters", value[:100])
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidQuery.of(name, "utf8", "is not UTF-8 text") from None
    if "\0" in value:
        raise InvalidQuery.of(name, "nul", "holds U+0000")


def to_params(filter_: Filter) -> list[tuple[str, str]]:
    """The parameters that :func:`parse_params` would turn into this filter."""
    pairs = [
        (f"not_{condition.field}" if condition.negated else condition.field, value)
        for condition in filter_.conditions
        for value in condition.values
    ]
    if filter_.start is not None:
        pairs.append(("start_date", format_time(filter_.start)))
    if filter_.end is not None:
        pairs.append(("end_date", format_time(filter_.end)))
    return pairs


_SYNONYMS = {"after": "start_date", "before": "end_date"}
_PIECE = re.compile(
    r"""\s*(?P<minus>-)?(?:(?P<field>[A-Za-z_]+):)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"]+))(?=\s|\Z)"""
)


def parse_search(line: str) -> list[tuple[str, str]]:
    r"""The parameters that a search line stands for.

    ``actor:ana@x.io action:user.* -outcome:success after:2026-01-01 "partial rotation"``: a qualifier is the
    name of a filter, a minus before it excludes, quotes hold white space (``\"`` for a quote). Words without
    a qualifier that follow each other are one phrase for ``q``; a phrase after a qualifier or a quote is
    another value. A text with a colon that is no qualifier is put into quotes.

    Raises:
        InvalidQuery: an open quote or an unknown qualifier.
    """
    pairs: list[tuple[str, str]] = []
    phrase: list[str] = []
    position = 0
    line = line.rstrip()
    while position < len(line):
        piece = _PIECE.match(line, position)
        if piece is None:
            raise InvalidQuery.of("search", "quotes", "has a quote that is not closed", line[position:][:100])
        position = piece.end()
        field, quoted, bare = piece["field"], piece["quoted"], piece["bare"]
        value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if field is None and quoted is None and not piece["minus"]:
            phrase.append(value)
            continue
        if phrase:
            pairs.append(("q", " ".join(phrase)))
            phrase = []
        pairs.append(_qualified(field, value, negated=bool(piece["minus"])))
    if phrase:
        pairs.append(("q", " ".join(phrase)))
    return pairs


def _qualified(field: str | None, value: str, *, negated: bool) -> tuple[str, str]:
    name = "q" if field is None else field.lower()
    name = _SYNONYMS.get(name, name)
    if name not in PARAMETERS or name.startswith("not_"):
        raise InvalidQuery.of(
            "search",
            "unknown",
            f"has the unknown qualifier {name}: (put text with a colon into quotes)",
            value,
        )
    if negated:
        if name in ("start_date", "end_date"):
            raise InvalidQuery.of("search", "negated", f"cannot exclude by {field}:", value)
        name = f"not_{name}"
    return name, value
