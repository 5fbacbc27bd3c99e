"""The tables of settings, compared with what their events say, and the small facts of the app's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeAlias

import msgspec

from affidavit.core.forms import format_id
from affidavit.log.fsck.findings import Findings, shown
from affidavit.log.fsck.replay import Expected, Replay
from affidavit.storage.evidence import Fault, Record

__all__ = ["SettingsCheck"]

_KEYS: Mapping[str, tuple[str, ...]] = {
    "affidavit_organizations": ("name",),
    "affidavit_tokens": ("id",),
    "affidavit_logins": ("hash",),
    "affidavit_sessions": ("hash",),
    "affidavit_catalogs": ("name", "version"),
    "affidavit_policies": ("organization", "class"),
    "affidavit_holds": ("id",),
}
"""Table to the columns that name a row in the replay."""
Range: TypeAlias = tuple[str, str, str]
"""Organization, first and last id of a closed range."""
_JSON = frozenset({"organizations", "abilities"})
_GAP = 1_000
"""Between two places in recording order, at most: a trigger of the table refuses more."""
_KNOWN_FACTS = frozenset({"database_id", "demo"})


class SettingsCheck:
    """Compares tables with events.

    Args:
        tables: every table of the app's file but that of events, as of one moment.
        findings: where faults go.
    """

    def __init__(self, tables: Mapping[str, list[Record]], findings: Findings) -> None:
        self._tables = tables
        self._findings = findings

    @property
    def database_id(self) -> str | None:
        """The name of the database."""
        for row in self._tables.get("affidavit_meta", ()):
            if row["key"] == "database_id":
                return str(row["value"])
        return None

    def run(self, replay: Replay, ranges: Mapping[Range, Sequence[bytes]], highest: int) -> None:
        """Check every table.

        Args:
            replay: has seen every event up to the moment of the tables.
            ranges: what prune manifests state that events cite, with the hashes of these manifests.
            highest: greatest place of an event.
        """
        for table in _KEYS:
            self._replayed(table, replay)
        self._facts()
        self._sequence(highest)
        for row in self._tables.get("affidavit_permit", ()):
            rule = (
                "a permit stands outside the transaction that needs it: the table of events is open to change"
            )
            self._fault("affidavit_permit", "", shown(row["reference"]), rule)
        self._ranges(ranges)

    def _replayed(self, table: str, replay: Replay) -> None:
        wanted = dict(replay.tables[table])
        unknown = replay.erased.get(table, 0)
        for row in self._tables.get(table, ()):
            key = tuple(_plain(row[column]) for column in _KEYS[table])
            expected = wanted.pop(key, None)
            if expected is None:
                self._unmade(table, row, key, unknown)
            else:
                self._columns(table, row, key, expected)
        for key, expected in wanted.items():
            if table == "affidavit_logins" and replay.forgotten(expected):
                continue
            if table == "affidavit_organizations" and not expected.columns:
                continue
            self._fault(table, "", _text(key), "was taken away without an event")

    def _unmade(self, table: str, row: Record, key: tuple[Any, ...], unknown: int) -> None:
        if table == "affidavit_organizations" and row["declared"] == 0:
            return  # made on the way by a token or a first keyed event: no setting
        if unknown:
            self._unreplayed(table, key)
            return
        column = "declared" if table == "affidavit_organizations" else ""
        self._fault(table, column, _text(key), "was made without an event")

    def _columns(self, table: str, row: Record, key: tuple[Any, ...], expected: Expected) -> None:
        document = row.get("document")
        columns = dict(expected.columns)
        if "sha256" in columns and isinstance(document, str):
            digest = sha256(document.encode()).hexdigest()
            if digest != columns.pop("sha256"):
                self._fault(table, "document", _text(key), "is not the document that was pushed", "", digest)
        for column, value in columns.items():
            stands = _json(row[column]) if column in _JSON else _plain(row.get(column))
            if stands != value:
                rule = "was changed without an event"
                self._fault(table, column, _text(key), rule, shown(value), shown(stands))
        if expected.partly:
            self._unreplayed(table, key)

    def _unreplayed(self, table: str, key: tuple[Any, ...]) -> None:
        text = f"{table} ({_text(key)})"
        if len(self._findings.unreplayed) < 1_000:
            self._findings.unreplayed.append(text)
        self._findings.rest.warn(f"{text} could not be replayed: values of its events were erased")

    def _facts(self) -> None:
        rows = self._tables.get("affidavit_meta", ())
        if self.database_id is None:
            self._fault("affidavit_meta", "key", "database_id", "the name of the database is missing")
        for row in rows:
            if row["key"] not in _KNOWN_FACTS:
                self._fault("affidavit_meta", "key", shown(row["key"]), "is no fact that the program knows")

    def _sequence(self, highest: int) -> None:
        if "sqlite_sequence" not in self._tables:
            return  # places are given by the sequencer: the engine checks them itself
        rows = [row for row in self._tables["sqlite_sequence"] if row["name"] == "affidavit_events"]
        if len(rows) != 1 and highest:
            rule = "must have one row for the table of events, else places are given out twice"
            self._fault("sqlite_sequence", "name", "affidavit_events", rule, "1", str(len(rows)))
        for row in rows:
            seq = row["seq"]
            key = "affidavit_events"
            if type(seq) is not int or seq < highest:
                rule = "is below the place of an event, so places would be given out twice"
                self._fault("sqlite_sequence", "seq", key, rule, f"at least {highest}", shown(seq))
            elif seq >= highest + _GAP:
                rule = "is so far above the newest event that the database refuses every new one"
                self._fault("sqlite_sequence", "seq", key, rule, f"below {highest + _GAP}", shown(seq))

    def _ranges(self, ranges: Mapping[Range, Sequence[bytes]]) -> None:
        """Closed ranges are those of the prune manifests, no more and no less."""
        wanted = dict(ranges)
        for row in self._tables.get("affidavit_pruned", ()):
            key = (row["organization"], _id(row["from_id"]), _id(row["to_id"]))
            hashes = wanted.pop(key, None)
            if hashes is None:
                self._fault("affidavit_pruned", "", ", ".join(key), "is a range that no manifest states")
            elif row["manifest"] not in hashes:
                rule = "is not a manifest of this range"
                self._fault(
                    "affidavit_pruned",
                    "manifest",
                    ", ".join(key),
                    rule,
                    shown(hashes[0]),
                    shown(row["manifest"]),
                )
        for key in wanted:
            self._fault("affidavit_pruned", "", ", ".join(key), "the range of a prune manifest is not closed")

    def _fault(
        self, table: str, column: str, key: str, rule: str, expected: str = "", computed: str = ""
    ) -> None:
        self._findings.fault(Fault(table, column, key, rule, expected, computed))


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _json(text: Any) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, TypeError):
        return text


def _text(key: Sequence[Any]) -> str:
    return ", ".join(map(str, key))[:200]


def _id(raw: Any) -> str:
    return format_id(raw) if type(raw) is bytes and len(raw) == 16 else shown(raw)
