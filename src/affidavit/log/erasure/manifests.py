"""Manifests of an erasure: made of what was found, and read back as the events that they cover."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from affidavit.core.forms import format_id
from affidavit.core.leaf import LEAF_GROUPS, parse_leaf
from affidavit.core.manifest import (
    ERASURE,
    ManifestBody,
    ManifestEntry,
    encode_manifest,
    erasure_entries,
    manifest_hash,
    manifest_text,
)
from affidavit.core.merkle import leaf_hash
from affidavit.core.row import StoredEvent
from affidavit.core.sealing import RowVersionError, leaf_of
from affidavit.errors import LogMismatch
from affidavit.log.erasure.find import Hit
from affidavit.log.keys import LogKeys
from affidavit.storage.log import LogStore, Manifest, Tree
from affidavit.storage.protocols import EventStore, RawRow

__all__ = ["PIECE", "Covered", "covered", "entry_digest", "make_manifests", "matching_rows", "stored_event"]

PIECE = 200
"""Events of one piece."""
_FIRST, _END = 12, 17


class Covered(NamedTuple):
    """An event that a manifest covers, and the groups that it takes away."""

    row: RawRow
    groups: tuple[str, ...]

    @property
    def id(self) -> bytes:
        """Of the event."""
        event_id: bytes = self.row.values[0]
        return event_id


def stored_event(row: RawRow) -> StoredEvent:
    """A raw row as a reader has it; what is not UTF-8 is replaced."""
    values = [
        value.decode(errors="replace") if isinstance(value, bytes) and at not in _BLOBS else value
        for at, value in enumerate(row.values)
    ]
    return StoredEvent(row.seq, tuple(values))


_BLOBS = (0, 9, 17)


def make_manifests(
    hits: Sequence[Hit],
    organization: str,
    *,
    events: EventStore,
    log: LogStore,
    keys: LogKeys,
    made_at: int,
    gone: bool = False,
) -> Generator[None, None, list[Manifest]]:
    """One signed manifest for each tree in which a hit stands, that of the newest tree last.

    An event that is not what its leaf says is never erased: an insider must not be able to edit a row and
    then have the proof of it taken away.

    Args:
        hits: what goes of which event.
        organization: whose.
        events: reads rows.
        log: the trees.
        keys: that sign.
        made_at: microseconds since 1970 UTC.
        gone: whether the groups went already, so that only their digests are left.

    Raises:
        LogMismatch: an event is not what was sealed.
    """
    trees = {tree.number: tree for tree in log.trees(organization)}
    going_of: dict[int, list[tuple[int, tuple[str, ...], dict[str, str]]]] = {}
    remaining = iter(hits)
    while piece := list(islice(remaining, PIECE)):
        groups = {hit.seq: hit.groups for hit in piece}
        rows = events.rows(list(groups))
        places = log.places([stored_event(row) for row in rows])
        for row in rows:
            place = places.get(row.seq)
            tree = trees.get(place.tree) if place is not None else None
            if place is None or tree is None:
                raise _not_sealed(row)
            digests = _digests(row, tree, place.hash)
            if digests is None:
                continue  # sealed as invalid: nothing of it can go, and the search will name it
            going = tuple(group for group in groups[row.seq] if (_text(row, group) is None) == gone)
            if going:
                going_of.setdefault(tree.number, []).append((place.index, going, digests))
        yield
    return [
        _signed(trees[number], sorted(going_of[number], key=lambda each: each[0]), keys, made_at)
        for number in sorted(going_of, key=lambda number: trees[number].incarnation)
    ]


def _signed(
    tree: Tree, gone: Sequence[tuple[int, tuple[str, ...], dict[str, str]]], keys: LogKeys, made_at: int
) -> Manifest:
    body = encode_manifest(ManifestBody(ERASURE, tree.origin, made_at, erasure_entries(gone)))
    note = keys.note(tree.origin, manifest_text(body))
    return Manifest(manifest_hash(body), tree.organization, ERASURE, body, note, made_at)


def _digests(row: RawRow, tree: Tree, expected: bytes) -> dict[str, str] | None:
    """The digests of the leaf; ``None`` where it is an invalid one."""
    try:
        entry, invalid = leaf_of(row.values, tree.hex_digits)
    except RowVersionError as error:
        raise LogMismatch("An event was written by a newer version; upgrade the worker.") from error
    if leaf_hash(entry) != expected:
        raise _not_sealed(row)
    return None if invalid is not None else dict(parse_leaf(entry).digests)


def _not_sealed(row: RawRow) -> LogMismatch:
    raw = row.values[0]
    shown = format_id(raw) if isinstance(raw, bytes) and len(raw) == 16 else f"at place {row.seq}"
    return LogMismatch(
        f"The event {shown} is not what was sealed: its row was edited, or its leaf is missing. Nothing was"
        " erased. See: affidavit fsck"
    )


def _text(row: RawRow, group: str) -> Any:
    return row.values[_FIRST:_END][LEAF_GROUPS.index(group)]


def covered(body: ManifestBody, tree: Tree, *, events: EventStore, log: LogStore) -> Iterator[list[Covered]]:
    """The events that a manifest of a tree covers, in pieces of at most 1,000.

    A row counts only where its leaf is the one at the index; one that was pruned or edited is left out.
    """
    for entry in body.entries:
        for leaves in log.leaves(tree.number, entry.start, entry.end + 1):
            hashes = {leaf.seq: leaf.hash for leaf in leaves}
            rows = matching_rows(events.rows(list(hashes)), tree.hex_digits, hashes.__getitem__)
            yield [Covered(row, entry.groups) for row in rows]


def matching_rows(rows: Sequence[RawRow], hex_digits: str, hash_at: Callable[[int], bytes]) -> list[RawRow]:
    """Those whose leaf has the hash that is stored for their place."""
    found = []
    for row in rows:
        try:
            if leaf_hash(leaf_of(row.values, hex_digits).entry) == hash_at(row.seq):
                found.append(row)
        except RowVersionError:
            continue
    return found


def entry_digest(entry: ManifestEntry, rows: Sequence[RawRow], hex_digits: str) -> bytes | None:
    """The digest that an entry must have if it covers exactly these rows; ``None`` where one has no leaf."""
    gone = []
    for index, row in enumerate(rows, entry.start):
        try:
            leaf = leaf_of(row.values, hex_digits)
        except RowVersionError:
            return None
        if leaf.invalid is not None:
            return None
        gone.append((index, entry.groups, dict(parse_leaf(leaf.entry).digests)))
    made = erasure_entries(gone)
    return made[0].digest if len(made) == 1 else None
