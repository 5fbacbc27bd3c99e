"""Settings, replayed from their change events: what the tables of settings must hold.

Each event of ``access.*`` and ``audit.*`` says what was stored with it. A row that no event made, a column
that no event set and a row that no event took away were changed behind the program's back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from affidavit.core.leaf import LEAF_GROUPS
from affidavit.core.retention import parse_policy
from affidavit.core.row import COLUMNS
from affidavit.core.times import DAY
from affidavit.core.unsound import Unsound
from affidavit.storage.evidence import RawEvent

__all__ = ["Expected", "Replay"]

_ORGANIZATION, _ACTION, _FACTS, _FIRST = map(COLUMNS.index, ("organization", "action", "facts", "actor"))
_PREFIXES = (b"access.", b"audit.")
_object = msgspec.json.Decoder(dict[str, Any]).decode


class Expected:
    """A row as its events made it.

    Attributes:
        columns: column to value; JSON columns decoded, hashes in hex.
        partly: whether an event about it was erased, so that other columns may have any value.
    """

    __slots__ = ("columns", "partly")

    def __init__(self, columns: Mapping[str, Any], *, partly: bool = False) -> None:
        self.columns: dict[str, Any] = dict(columns)
        self.partly = partly


class Replay:
    """Sees every event in recording order and builds the tables.

    Attributes:
        tables: table to key to the row that must stand there.
        erased: table to the number of events that no longer say which row they made.
        links_made: moment of the newest login link: older ones that have expired were forgotten then.
    """

    def __init__(self) -> None:
        names = ("organizations", "tokens", "logins", "sessions", "catalogs", "policies", "holds")
        self.tables: dict[str, dict[tuple[Any, ...], Expected]] = {f"affidavit_{name}": {} for name in names}
        self.erased: dict[str, int] = {}
        self.links_made = 0
        self._versions: dict[str, int] = {}
        self._actions = {
            b"access.organization.created": self._organization,
            b"access.token.created": self._token,
            b"access.token.revoked": self._revoked,
            b"access.login_link.created": self._link,
            b"access.session.created": self._session,
            b"access.session.ended": self._ended,
            b"audit.catalog.pushed": self._catalog,
            b"audit.retention.changed": self._policy,
            b"audit.hold.created": self._hold,
            b"audit.hold.released": self._released,
        }

    def see(self, row: RawEvent) -> None:
        """Take one event in."""
        action = row.values[_ACTION]
        if type(action) is not bytes or not action.startswith(_PREFIXES):
            return
        work = self._actions.get(action)
        if work is not None:
            work(_Said(row.values))

    def _missing(self, table: str) -> None:
        self.erased[f"affidavit_{table}"] = self.erased.get(f"affidavit_{table}", 0) + 1

    def _make(self, table: str, key: tuple[Any, ...], columns: Mapping[str, Any], *, partly: bool) -> None:
        rows = self.tables[f"affidavit_{table}"]
        stands = rows.get(key)
        if stands is None or (stands.partly and not partly):
            # The event of another organization says what this one no longer can, or both say the same.
            rows[key] = Expected({**columns, **(stands.columns if stands is not None else {})}, partly=partly)

    def _change(self, table: str, key: tuple[Any, ...], columns: Mapping[str, Any], *, partly: bool) -> None:
        rows = self.tables[f"affidavit_{table}"]
        stands = rows.setdefault(key, Expected({}, partly=True))
        stands.columns.update(columns)
        stands.partly = stands.partly or partly

    def _organization(self, said: _Said) -> None:
        self._make("organizations", (said.organization,), {"declared": 1}, partly=False)

    def _token(self, said: _Said) -> None:
        if said.resource is None:
            self._missing("tokens")
            return
        columns = {"name": said.name, "revoked_at": None, **said.stored}
        self._make("tokens", (said.resource,), columns if said.stored else {}, partly=not said.stored)

    def _revoked(self, said: _Said) -> None:
        if said.resource is None:
            self._missing("tokens")
            return
        self._change("tokens", (said.resource,), said.stored, partly=not said.stored)

    def _link(self, said: _Said) -> None:
        if "hash" not in said.stored:
            self._missing("logins")
            return
        self.links_made = max(self.links_made, _number(said.stored.get("created_at")))
        columns = {**said.stored, "used_at": None}
        key = columns.pop("hash")
        if said.resource is not None:
            columns["name"] = said.name
        self._make("logins", (str(key),), columns, partly=said.resource is None)

    def _session(self, said: _Said) -> None:
        if "hash" not in said.stored or said.resource is None:
            self._missing("sessions")
            return
        columns = {**said.stored, "name": said.name, "ended_at": None}
        self._make("sessions", (str(columns.pop("hash")),), columns, partly=False)
        for (key,), link in self.tables["affidavit_logins"].items():
            if f"login_{key[:16]}" == said.resource:
                link.columns["used_at"] = said.stored.get("created_at")

    def _ended(self, said: _Said) -> None:
        if not said.stored or said.resource is None:
            self._missing("sessions")
            return
        for session in self.tables["affidavit_sessions"].values():
            if session.columns.get("id") == said.resource:
                session.columns.update(said.stored)

    def _catalog(self, said: _Said) -> None:
        name = said.resource
        if name is None:
            self._missing("catalogs")
            return
        version = self._versions[name] = self._versions.get(name, 0) + 1
        self._make("catalogs", (name, version), said.stored, partly=not said.stored)

    def _policy(self, said: _Said) -> None:
        try:
            policy = parse_policy(str(said.facts.get("policy", "")))
        except Unsound:
            self._missing("policies")
            return
        rows = self.tables["affidavit_policies"]
        for key in [key for key in rows if key[0] == said.organization]:
            del rows[key]
        for name, days in policy.rules.items():
            rows[said.organization, name] = Expected({"days": days})

    def _hold(self, said: _Said) -> None:
        columns = {
            "organization": said.organization,
            "class": said.facts.get("class"),
            "released_at": None,
            **said.stored,
        }
        key = (str(said.facts.get("hold")),)
        if said.changes:
            columns["reason"] = _new(said.changes.get("reason"))
        if said.resource is not None:
            columns["name"] = said.name
        partly = not (said.stored and said.changes and said.resource)
        self._make("holds", key, columns, partly=partly)

    def _released(self, said: _Said) -> None:
        self._change("holds", (str(said.facts.get("hold")),), said.stored, partly=not said.stored)

    def forgotten(self, expected: Expected) -> bool:
        """Whether a login link has expired so long ago that making a later one forgot it."""
        expires_at = expected.columns.get("expires_at")
        return _number(expires_at) < self.links_made - DAY


class _Said:
    """What one event still says."""

    __slots__ = ("changes", "facts", "name", "organization", "resource", "stored")

    def __init__(self, values: tuple[Any, ...]) -> None:
        groups: dict[str, Any] = {}
        for _, text in zip(LEAF_GROUPS, values[_FIRST : _FIRST + len(LEAF_GROUPS)], strict=True):
            groups.update(_decoded(text))
        self.organization = _text(values[_ORGANIZATION])
        self.facts = _decoded(values[_FACTS])
        metadata = groups.get("metadata")
        stored = metadata.get("stored") if isinstance(metadata, dict) else None
        self.stored: dict[str, Any] = stored if isinstance(stored, dict) else {}
        changes = groups.get("changes")
        self.changes: dict[str, Any] = changes if isinstance(changes, dict) else {}
        resources = groups.get("resources")
        first = resources[0] if isinstance(resources, list) and resources else {}
        members = first if isinstance(first, dict) else {}
        self.resource: str | None = None if "id" not in members else str(members["id"])
        self.name: Any = members.get("name")


def _decoded(text: Any) -> dict[str, Any]:
    """A group as an object; an empty one where it is erased or no JSON, which is named elsewhere."""
    if type(text) is not bytes or text == b"{}":
        return {}
    try:
        return _object(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def _number(value: Any) -> int:
    return value if type(value) is int else 0


def _new(change: Any) -> Any:
    return change.get("new") if isinstance(change, dict) else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
