"""``affidavit fsck``: everything in a live database is derived again and compared with what is stored.

Memory stays flat (but for one small row a tree and the settings), events and leaves are read in short
transactions, and nothing is written. What is recorded or sequenced while it runs is left for the next run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from affidavit.core.note import Check, Verifier
from affidavit.core.verdict import Verdict
from affidavit.errors import StorageError
from affidavit.log.fsck.checkpoints import CheckpointCheck
from affidavit.log.fsck.explain import Explanations
from affidavit.log.fsck.findings import Findings, shown
from affidavit.log.fsck.guard import GuardCheck
from affidavit.log.fsck.index import IndexCheck
from affidavit.log.fsck.manifests import Keys, ManifestCheck
from affidavit.log.fsck.replay import Replay
from affidavit.log.fsck.rows import RowCheck
from affidavit.log.fsck.settings import SettingsCheck
from affidavit.log.fsck.state import LogState, StoredTree
from affidavit.log.fsck.trees import TreeCheck
from affidavit.log.signatures import check_signature
from affidavit.storage.evidence import Evidence, Fault, GuardEvidence, IndexEvidence, LogEvidence, Record

__all__ = ["Stores", "fsck"]


class Stores(NamedTuple):
    """What is checked.

    Attributes:
        app: the app's file.
        log: the log file.
        search: the index file.
        guard: the guard's file; ``None`` where the guard is elsewhere.
    """

    app: Evidence
    log: LogEvidence
    search: IndexEvidence
    guard: GuardEvidence | None


def fsck(
    stores: Stores,
    keys: Keys,
    witnesses: Sequence[Verifier] = (),
    *,
    check: Check = check_signature,
    findings: Findings | None = None,
) -> Findings:
    """Check everything; what was found is in the answer, an exception is a defect of the program.

    Args:
        stores: the files.
        keys: trusted keys of the log, by origin.
        witnesses: trusted keys of witnesses.
        check: how a signature is checked.
        findings: where faults go; a new one where none is given. What it raises ends the check.
    """
    findings = findings or Findings()
    try:
        _Fsck(stores, keys, witnesses, check, findings).run()
    except StorageError as error:
        findings.fault(Fault("", "", "", f"a file could not be read to its end: {error.message}"))
    for fault in stores.app.faults():
        findings.fault(fault)
    try:
        for text in stores.app.warnings():
            findings.rest.warn(text)
    except StorageError as error:
        findings.fault(Fault("", "", "", f"could not be read: {error.message}"))
    return findings


class _Fsck:
    def __init__(
        self, stores: Stores, keys: Keys, witnesses: Sequence[Verifier], check: Check, findings: Findings
    ) -> None:
        self._stores = stores
        self._findings = findings
        self._manifests = ManifestCheck(stores.app, stores.log, keys, check, findings)
        self._explanations = Explanations(stores.app, stores.log, self._manifests, findings)
        self._checkpoints = CheckpointCheck(keys, witnesses, check, findings)

    def run(self) -> None:
        """Check everything.

        1. the head of the log; 2. the guard; 3. each tree with its checkpoints; 4. settings and the place of
        the newest event, of one moment, so that every event with a leaf is there; 5. the index; 6. rows;
        7. what the rows were watched for.
        """
        logged = self._stores.log.tables()
        state = LogState(logged or {})
        guard = self._guard()
        late = self._log(state, guard) if logged is not None else {}
        tables, last = self._stores.app.settings()
        settings = SettingsCheck(tables, self._findings)
        self._owner(state, settings.database_id)
        index = IndexCheck(self._stores.search, self._stores.app, self._findings)
        index.begin(settings.database_id)
        if logged is None:
            self._findings.rest.warn("there is no log file: nothing has a leaf yet")
        if guard is not None:
            guard.finish(settings.database_id, state, LogState(self._stores.log.tables() or {}))
        replay = Replay()
        log = self._stores.log if logged is not None else None
        rows = RowCheck(self._stores.app, log, self._explanations, self._findings, late)
        rows.watch(replay.see)
        rows.watch(index.see)
        rows.run(state, last)
        rows.settle(lambda: LogState(self._stores.log.tables() or {}))
        index.finish()
        settings.run(replay, self._manifests.ranges, rows.highest)
        self._position(state)
        self._identity(settings.database_id, state, guard, index)
        for number, entries in self._findings.lost.items():
            self._findings.trees[number].warn(
                f"{entries} entries of a closed incarnation have no event: a restore lost them"
            )

    def _guard(self) -> GuardCheck | None:
        if self._stores.guard is None:
            return None
        tables = self._stores.guard.tables()
        if tables is None:
            self._findings.rest.warn("there is no guard file: nobody remembers what was signed")
            return None
        for fault in self._stores.guard.faults():
            self._findings.fault(fault)
        return GuardCheck(self._stores.guard, tables, self._findings)

    def _owner(self, state: LogState, database_id: str | None) -> None:
        # Where events and log stand in one database there is nothing that could name another one.
        owner = state.one("affidavit_log") if "affidavit_log" in state.tables else None
        if owner is not None and owner["database_id"] != database_id:
            rule = "is the log of another database"
            stated = str(owner["database_id"])
            fault = Fault("affidavit_log", "database_id", "1", rule, str(database_id), stated)
            self._findings.fault(fault)
        for fault in state.faults:
            self._findings.fault(fault)

    def _log(self, state: LogState, guard: GuardCheck | None) -> dict[int, list[tuple[int, int]]]:
        """Every tree; what witnesses have seen of each."""
        check = TreeCheck(self._stores.log, self._findings)
        late = {}
        for tree in state.trees.values():
            row, checkpoints = self._stores.log.head(tree.number)
            state.renew(row, tree)
            self._begin(tree)
            sizes = dict.fromkeys(_sizes(tree, checkpoints, guard))
            roots = check.run(tree, sizes)
            late[tree.number] = self._checkpoints.run(tree, checkpoints, roots)
            if guard is not None:
                guard.tree(tree, roots, self._stores.log.size(tree.number))
        self._incarnations(state)
        for table, number in self._stores.log.strays():
            self._findings.fault(Fault(table, "tree", str(number), "belongs to a tree that is not listed"))
        self._explanations.refresh(state)
        return late

    def _begin(self, tree: StoredTree) -> None:
        verdict = Verdict()
        verdict.origin, verdict.end, verdict.size = tree.origin, tree.size, tree.published
        self._findings.trees[tree.number] = verdict
        self._findings.organizations[tree.number] = tree.organization

    def _incarnations(self, state: LogState) -> None:
        """Incarnations of one log count from 1, and only later ones have a first event.

        A gap is what ``log reopen`` leaves after a log file was lost with all that it had. Events that lost
        their leaf in another way are named one by one.
        """
        by_hex: dict[str, list[StoredTree]] = {}
        for tree in state.trees.values():
            by_hex.setdefault(tree.hex_digits, []).append(tree)
        for trees in by_hex.values():
            number = 0
            for tree in sorted(trees, key=lambda each: each.incarnation):
                key = str(tree.number)
                number += 1
                if tree.incarnation > number and tree.first_seq is not None:
                    text = f"the log file does not have what was before {tree.origin}: it was lost"
                    self._findings.trees[tree.number].warn(text)
                    number = tree.incarnation
                if tree.incarnation != number:
                    rule = "does not count on from the one before it"
                    fault = Fault(
                        "affidavit_trees", "incarnation", key, rule, str(number), str(tree.incarnation)
                    )
                    self._findings.fault(fault, tree.number, entries=0)
                if (tree.first_seq is None) != (tree.incarnation == 1):
                    rule = "only an incarnation after the first one has an event that began it"
                    fault = Fault("affidavit_trees", "first_seq", key, rule, "", str(tree.first_seq))
                    self._findings.fault(fault, tree.number, entries=0)

    def _identity(
        self, database_id: str | None, state: LogState, guard: GuardCheck | None, index: IndexCheck
    ) -> None:
        """Log, index and guard name the database; where two of them name another one, its own was changed."""
        named = [row["database_id"] for row in state.tables.get("affidavit_log", ())]
        named += [guard.database_id] if guard is not None else []
        named += [index.database_id] if not named[1:] and index.database_id is not None else []
        # Where nothing but the guard names the database, either of the two may have been changed.
        enough = len(named) > 1 or (len(named) == 1 and "affidavit_log" not in state.tables)
        if enough and set(named) - {database_id} == set(named[:1]):
            rule = "log, index or guard name another database"
            fault = Fault("affidavit_meta", "value", "database_id", rule, str(named.pop()), str(database_id))
            self._findings.fault(fault)

    def _position(self, state: LogState) -> None:
        """The place of the queue: the event there must be the one that was sequenced."""
        rows = state.tables.get("affidavit_position", ())
        if len(rows) != 1 or not rows[0]["seq"]:
            if state.trees:
                rule = "must be one row with the place up to which every event has its leaf"
                told = str(rows[0]["seq"]) if len(rows) == 1 else f"{len(rows)} rows"
                self._findings.fault(Fault("affidavit_position", "seq", "1", rule, "", told))
            return
        row = rows[0]
        leaves = self._stores.log.leaves_at([row["seq"]]) if type(row["seq"]) is int else ()
        event = self._stores.app.events_at([row["seq"]]).get(row["seq"]) if leaves else None
        if not leaves:
            rule = "is a place that has no leaf"
            self._findings.fault(Fault("affidavit_position", "seq", "1", rule, "", str(row["seq"])))
            return
        if row["leaf"] not in [leaf.hash for leaf in leaves]:
            rule = "is not the leaf of the event at this place"
            expected = leaves[-1].hash.hex() if isinstance(leaves[-1].hash, bytes) else ""
            self._findings.fault(
                Fault("affidavit_position", "leaf", "1", rule, expected, (row["leaf"] or b"").hex())
            )
        for column, place in (("id", 0), ("organization", 2)):
            if event is not None and column in row and _bytes(row[column]) != event.values[place]:
                rule = f"is not the {column} of the event at this place"
                expected, stands = shown(event.values[place]), shown(_bytes(row[column]))
                self._findings.fault(Fault("affidavit_position", column, "1", rule, expected, stands))


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _sizes(tree: StoredTree, checkpoints: Sequence[Record], guard: GuardCheck | None) -> Sequence[int]:
    sizes = [row["size"] for row in checkpoints if type(row["size"]) is int]
    return [*sizes, *(guard.sizes(tree.origin) if guard is not None else ())]
