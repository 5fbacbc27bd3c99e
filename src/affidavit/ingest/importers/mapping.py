"""The map of ``affidavit import ndjson``: which path of a record goes to which field of the event.

The syntax stands in ``docs/reference/importers.md``. A map is read once and refused as a whole where it is
wrong; a record that lacks a path simply has nothing there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from affidavit.errors import ConfigError
from affidavit.ingest.jsontext import decode
from affidavit.ingest.records import LineShape
from affidavit.ingest.rejects import RejectedRecord
from affidavit.ingest.shapes import CsvShape, PatternShape

__all__ = ["Mapping", "Term", "read_mapping", "values_at"]

_PERSON = ("type", "id", "name", "email")
_PLAIN = (
    "occurred_at action outcome severity reason description project ip user_agent client trace_id span_id "
    "idempotency_key account category changes.old changes.new"
).split()
_TARGETS = frozenset(
    _PLAIN
    + [f"{who}.{part}" for who in ("actor", "on_behalf_of") for part in _PERSON]
    + [f"session.{part}" for part in ("type", "id", "token_id", "token_name")]
    + [f"location.{part}" for part in ("city", "region", "country", "country_code")]
    + [f"request.{part}" for part in ("id", "method", "endpoint")]
    + [f"resources.{number}.{part}" for number in range(20) for part in ("type", "id", "name")]
)
_METADATA = re.compile(r"metadata\.[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
_SOURCE = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_KEYS = {"source", "record", "each", "wrapper", "map", "outcome", "lines"}
_SUCCESS = (
    "success successful succeeded ok true yes y allow allowed allowance pass passed granted completed none 0"
)
_FAILURE = (
    "failure failed fail false no n error deny denied denial rejected forbidden unauthorized invalid timeout"
)


class Term(msgspec.Struct, frozen=True):
    """One alternative: a constant, or paths whose texts are joined."""

    constant: str | None = None
    paths: tuple[tuple[str, ...], ...] = ()


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """A map that was checked.

    Attributes:
        source: of the events, the first segment of their actions and the key of the raw record.
        record: path to the part of a line that is the record; empty for the whole line.
        each: path to a list in the record; each of its elements becomes an event.
        wrapper: the key of a document under which the list of records stands.
        fields: for each field of the event the alternatives, tried in order.
        success, failure: words of ``outcome`` in lower case.
        failure_if: paths where anything but nothing, false, 0 or an empty value means failure.
        shape: of text lines; None for JSON.
    """

    source: str = "ndjson"
    record: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    wrapper: str | None = "Records"
    fields: dict[str, tuple[Term, ...]] = {}
    success: frozenset[str] = frozenset(_SUCCESS.split())
    failure: frozenset[str] = frozenset(_FAILURE.split())
    failure_if: tuple[tuple[str, ...], ...] = ()
    shape: LineShape | None = None


def read_mapping(
    maps: Sequence[str] = (), file: Path | None = None, *, record: str | None = None
) -> Mapping | None:
    """Read a map file, ``--map FIELD=PATH`` options, or both (an option wins over the file).

    Args:
        maps: the options, such as ``actor.id=user.name`` or ``action==user.login``.
        file: a TOML file.
        record: path to the part of a line that is the record; wins over the file.

    Returns:
        The map, or None where nothing was given.

    Raises:
        ConfigError: names the file or option and what is wrong with it.
    """
    if not maps and file is None and record is None:
        return None
    document = _load(file) if file is not None else {}
    where = str(file) if file is not None else "--map"
    fields = _flattened(_table(document, "map", where), where)
    for option in maps:
        name, sign, value = option.partition("=")
        if not sign or not value:
            raise ConfigError(f"--map {option}: write FIELD=PATH or FIELD==TEXT")
        fields[name.strip()] = value
    if record is not None:
        document["record"] = record
    if fields and not {"occurred_at", "action"} <= {_target(name) for name in fields}:
        raise ConfigError(f"{where}: a map needs at least occurred_at and action")
    return _mapping(document, fields, where)


def _mapping(document: dict[str, Any], fields: dict[str, Any], where: str) -> Mapping:
    if unknown := sorted(set(document) - _KEYS):
        raise ConfigError(f"{where}: there is no key {unknown[0]}; known are {', '.join(sorted(_KEYS))}")
    source = document.get("source", "ndjson")
    if not isinstance(source, str) or not _SOURCE.match(source):
        raise ConfigError(f"{where}: source must match [a-z][a-z0-9_]{{0,31}}")
    outcome = _table(document, "outcome", where)
    if unknown := sorted(set(outcome) - {"success", "failure", "failure_if"}):
        raise ConfigError(f"{where}: there is no key outcome.{unknown[0]}")
    success, failure = _words(outcome, "success", where), _words(outcome, "failure", where)
    defaults = Mapping()
    return Mapping(
        source=source,
        record=_path(document.get("record", ""), f"{where}: record"),
        each=_path(document.get("each", ""), f"{where}: each"),
        wrapper=document.get("wrapper", defaults.wrapper) or None,
        fields={_known(name, where): _terms(value, f"{where}: {name}") for name, value in fields.items()},
        success=(defaults.success - failure) | success,
        failure=(defaults.failure - success) | failure,
        failure_if=tuple(
            _path(path, f"{where}: outcome.failure_if") for path in _list(outcome, "failure_if", where)
        ),
        shape=_shape(_table(document, "lines", where), where),
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from error


def _table(document: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {name} must be a table")
    return table


def _list(table: dict[str, Any], name: str, where: str) -> list[str]:
    values = table.get(name, [])
    values = [values] if isinstance(values, str) else values
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise ConfigError(f"{where}: {name} must be a list of texts")
    return values


def _words(table: dict[str, Any], name: str, where: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _list(table, name, where))


def _flattened(table: dict[str, Any], where: str, prefix: str = "") -> dict[str, Any]:
    """``actor.id = "x"`` and ``"actor.id" = "x"`` are the same in a map."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= _flattened(value, where, f"{prefix}{name}.")
        elif isinstance(value, str) and value:
            flat[prefix + name] = value
        else:
            raise ConfigError(f"{where}: {prefix}{name} must be a path or =TEXT")
    return flat


def _target(name: str) -> str:
    return re.sub(r"\Aresource\.", "resources.0.", name)


def _known(name: str, where: str) -> str:
    target = _target(name)
    if target not in _TARGETS and not _METADATA.match(target):
        raise ConfigError(f"{where}: an event has no field {name}")
    return target


def _terms(text: str, where: str) -> tuple[Term, ...]:
    terms = []
    rest = text
    while rest:
        if rest.startswith("="):
            terms.append(Term(constant=rest[1:]))
            break
        alternative, _, rest = rest.partition("|")
        terms.append(Term(paths=tuple(_path(part, where) for part in alternative.split("+"))))
    return tuple(terms)


def _path(text: Any, where: str) -> tuple[str, ...]:
    """``a.b.0.c``, or a JSON pointer (RFC 6901) where a key holds a dot: ``/a/x.y``."""
    if not isinstance(text, str):
        raise ConfigError(f"{where} must be a path")
    text = text.strip()
    if text.startswith("/"):
        return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))
    parts = tuple(text.split(".")) if text else ()
    if any(part in ("", "*") for part in parts):
        raise ConfigError(f"{where}: {text!r} is no path; write names and list indexes joined by dots")
    return parts


def _shape(table: dict[str, Any], where: str) -> LineShape | None:
    if not table:
        return None
    if unknown := sorted(set(table) - {"csv", "delimiter", "pattern"}):
        raise ConfigError(f"{where}: there is no key lines.{unknown[0]}")
    if "pattern" in table:
        try:
            return PatternShape(re.compile(table["pattern"]))
        except (re.error, TypeError) as error:
            raise ConfigError(f"{where}: lines.pattern: {error}") from error
    delimiter = table.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ConfigError(f"{where}: lines.delimiter must be one character")
    return CsvShape(tuple(_list(table, "csv", where)), delimiter)


def _inside(text: str) -> Any:
    """JSON inside a string, which many vendors write."""
    try:
        return decode(text.encode(errors="surrogatepass"))
    except RejectedRecord:
        return None


def values_at(record: Any, paths: Iterable[tuple[str, ...]], element: Any = None) -> list[Any]:
    """What stands at each path, where something does; ``each.`` leads into the element of the list."""
    found = []
    for path in paths:
        value = _at(element, path[1:]) if path[:1] == ("each",) and element is not None else _at(record, path)
        if value is not None and value != "":
            found.append(value)
    return found


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if isinstance(value, str) and value.startswith(("{", "[")):
            value = _inside(value)
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value
