"""Manifests that the guard kept are applied again, before anything is served.

A backup holds what was erased after it was made. The guard stands on another disk and is not restored with
the database, so that what it remembers as erased goes again, whatever came back. A manifest names places in
a tree: where the log file has these leaves, a row counts if its leaf is the one that stands there; for rows
that wait for their leaf, the place that they are about to get counts if the manifest's own digests agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from affidavit.core.leaf import LEAF_GROUPS
from affidavit.core.manifest import ERASURE, ManifestBody, open_manifest, parse_manifest
from affidavit.core.note import Check
from affidavit.core.sealing import home_of
from affidavit.core.unsound import Unsound
from affidavit.log.erasure.manifests import Covered, covered, entry_digest
from affidavit.log.keys import LogKeys
from affidavit.storage.log import LogStore, Manifest, Tree
from affidavit.storage.protocols import EventStore, RawRow
from affidavit.storage.redaction import Redaction, Redactor

__all__ = ["Reapplied", "reapply"]

_FIRST, _END = 12, 17


class Reapplied(NamedTuple):
    """What became of one manifest.

    Attributes:
        manifest: which.
        events: how many events lost a value again; 0 where nothing had come back.
        problem: why it could not be applied everywhere, ``None`` where it could.
        waiting: id to groups of the events that it took them from before they had a leaf.
    """

    manifest: Manifest
    events: int
    problem: str | None
    waiting: Mapping[bytes, tuple[str, ...]] = MappingProxyType({})


def reapply(
    manifests: Sequence[Manifest],
    *,
    events: EventStore,
    log: LogStore,
    queued: Callable[[], Iterable[RawRow]],
    redactor: Redactor,
    keys: LogKeys,
    check: Check,
) -> list[Reapplied]:
    """Apply the erasure manifests of a guard to a database that may come from a backup.

    Args:
        manifests: of the guard; those of other kinds are passed over.
        events: reads rows.
        log: the trees, perhaps from the same backup.
        queued: rows without a leaf, in the order in which they get one.
        redactor: takes groups away.
        keys: what is not signed with one of these is not applied.
        check: how a signature is checked.
    """
    answers = []
    for manifest in manifests:
        if manifest.kind != ERASURE:
            continue
        try:
            body = _opened(manifest, keys, check)
        except Unsound as error:
            answers.append(Reapplied(manifest, 0, error.message))
            continue
        applied = _Application(manifest, body, events, log, queued)
        changed = sum(
            redactor.redact("erasure", manifest.hash.hex(), redactions) for redactions in applied.pieces()
        )
        answers.append(Reapplied(manifest, changed, applied.problem, applied.waiting))
    return answers


def _opened(manifest: Manifest, keys: LogKeys, check: Check) -> ManifestBody:
    # The origin is believed only after the signature of its key; it says which key must have signed.
    origin = parse_manifest(manifest.body).origin
    return open_manifest(manifest.body, manifest.note, keys.verifiers(origin), check)


class _Application:
    """One manifest on one database."""

    def __init__(
        self,
        manifest: Manifest,
        body: ManifestBody,
        events: EventStore,
        log: LogStore,
        queued: Callable[[], Iterable[RawRow]],
    ) -> None:
        self._organization = manifest.organization
        self._body = body
        self._events = events
        self._log = log
        self._queued = queued
        _, self._hex, incarnation = body.origin.rsplit("/", 2)
        self._tree = log.tree(self._hex, int(incarnation))
        self.problem: str | None = None
        self.waiting: dict[bytes, tuple[str, ...]] = {}

    def pieces(self) -> list[list[Redaction]]:
        """What still has a value that the manifest took."""
        found: list[list[Redaction]] = []
        if self._tree is not None:
            walk = covered(self._body, self._tree, events=self._events, log=self._log)
            found.extend(self._redactions(piece) for piece in walk)
        waiting = self._waiting()
        self.waiting = {each.id: each.groups for each in waiting}
        found.append(self._redactions(waiting))
        return [piece for piece in found if piece]

    def _redactions(self, piece: Sequence[Covered]) -> list[Redaction]:
        return [
            Redaction(self._organization, each.id, each.groups)
            for each in piece
            if any(
                text is not None and group in each.groups
                for group, text in zip(LEAF_GROUPS, each.row.values[_FIRST:_END], strict=True)
            )
        ]

    def _waiting(self) -> list[Covered]:
        """Rows without a leaf that will get places which the manifest covers."""
        size = self._tree.size if self._tree is not None else 0
        entries = [entry for entry in self._body.entries if entry.end >= size]
        if not entries or not self._is_newest():
            return []
        rows = self._rows_from(size, entries[0].start, entries[-1].end)
        found: list[Covered] = []
        for entry in entries:
            whole = [rows[index] for index in range(entry.start, entry.end + 1) if index in rows]
            if len(whole) <= entry.end - entry.start:
                continue  # lost with the backup: there is nothing to take away
            if entry_digest(entry, whole, self._hex) != entry.digest:
                self.problem = (
                    f"events {entry.start} to {entry.end} of {self._body.origin} are others than those that"
                    " were erased; search for the subject again"
                )
                continue
            found.extend(Covered(row, entry.groups) for row in whole[max(0, size - entry.start) :])
        return found

    def _is_newest(self) -> bool:
        """Whether rows that wait will go into this tree; where there is no log at all it is begun anew."""
        trees: list[Tree] = self._log.trees(self._organization)
        return not trees or (self._tree is not None and trees[-1].number == self._tree.number)

    def _rows_from(self, size: int, start: int, end: int) -> dict[int, RawRow]:
        """Rows by the index that they have or will get, from ``start`` to ``end``."""
        rows: dict[int, RawRow] = {}
        if self._tree is not None and start < size:
            for leaves in self._log.leaves(self._tree.number, start, size):
                at = {leaf.seq: leaf.index for leaf in leaves}
                rows.update((at[row.seq], row) for row in self._events.rows(list(at)))
        index = size
        for row in self._queued():
            if index > end:
                break
            if home_of(row.values[2]) == self._organization:
                rows[index] = row
                index += 1
        return rows
