"""The exact entries of a tree, made again from the rows, each compared with the leaf hash that was stored.

Only this comparison lets an entry out: tiles, receipts and bundles never show a leaf that its own tree
does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, Protocol

from affidavit.core.forms import format_id
from affidavit.core.leaf import disclosure, parse_remains, salts_of
from affidavit.core.manifest import PRUNE, ManifestBody, parse_manifest
from affidavit.core.merkle import leaf_hash
from affidavit.core.row import COLUMNS, StoredEvent
from affidavit.core.sealing import RowVersionError, home_of, leaf_of
from affidavit.errors import LogMismatch, Pruned, RowTooNew
from affidavit.storage.log import LogStore, Manifest, Sealed, Tree
from affidavit.storage.protocols import EventStore

__all__ = ["PIECE", "Entries", "Entry", "Manifests", "disclosures_of"]

PIECE = 500
"""Rows that are read and held at once."""

_ORGANIZATION, _FIRST = COLUMNS.index("organization"), COLUMNS.index("actor")
_SECRET, _REMAINS = COLUMNS.index("secret"), COLUMNS.index("remains")
_GROUPS = COLUMNS[_FIRST:_SECRET]


class Manifests(Protocol):
    """Reads what was erased or pruned on purpose."""

    def manifests(self, organization: str | None = None) -> list[Manifest]:
        """Those of an organization, or all, oldest first."""
        ...


class Entry(NamedTuple):
    """One leaf of a tree.

    Attributes:
        index: from 0.
        hash: of the leaf.
        leaf: its exact bytes; ``None`` where the row was pruned.
        disclosures: what opens the digests of the groups that still have a value, in the order of the groups.
        invalid: whether it stands for a row that could not be encoded.
        redacted: whether a group has lost its value.
    """

    index: int  # type: ignore[assignment]  # the word of RFC 6962, and no method of tuples here
    hash: bytes
    leaf: bytes | None
    disclosures: tuple[bytes, ...] = ()
    invalid: bool = False
    redacted: bool = False


class Entries:
    """Reads entries. Safe to use from several threads.

    Args:
        log: the trees.
        events: the rows.
        manifests: say which rows are gone on purpose.
    """

    def __init__(self, log: LogStore, events: EventStore, manifests: Manifests) -> None:
        self._log = log
        self._events = events
        self._manifests = manifests

    def read(self, tree: Tree, start: int, end: int) -> Iterator[list[Entry]]:
        """Leaves ``[start, end)`` in order, in pieces of at most :data:`PIECE`, each in short transactions.

        Raises:
            LogMismatch: a leaf is missing, or is not that of its row; index and id are named.
            RowTooNew: a row was written by a newer version.
        """
        for first in range(start, end, PIECE):
            last = min(first + PIECE, end)
            piece = [leaf for found in self._log.leaves(tree.number, first, last) for leaf in found]
            for index, leaf in zip_longest(range(first, last), piece):
                if leaf is None or leaf.index != index:
                    raise LogMismatch(f"Leaf {index} of {tree.origin} is not stored. See: affidavit fsck")
            yield self.of(tree, piece)

    def of(self, tree: Tree, leaves: Sequence[Sealed]) -> list[Entry]:
        """The entries of some leaves of one tree, in their order; read in one transaction.

        Raises:
            LogMismatch, RowTooNew: as in :meth:`read`.
        """
        rows = {row.seq: row.values for row in self._events.rows([leaf.seq for leaf in leaves])}
        # Read after the rows: the manifest of a pruning is there before its first row goes.
        pruned = self.prunings(tree) if len(rows) < len(leaves) else []
        found = []
        for leaf in leaves:
            values = rows.get(leaf.seq)
            found.append(_gone(tree, leaf, pruned) if values is None else entry_of(tree, leaf, values))
        return found

    def event(self, seq: int) -> StoredEvent | None:
        """The event at a place in recording order; ``None`` where its row is gone."""
        found = self._events.after(seq - 1, 1)
        return found[0] if found and found[0].seq == seq else None

    def prunings(self, tree: Tree) -> list[ManifestBody]:
        """What was pruned from a tree."""
        kept = [each for each in self._manifests.manifests(tree.organization) if each.kind == PRUNE]
        bodies = [parse_manifest(each.body) for each in kept]
        return [body for body in bodies if body.origin == tree.origin]

    def bundle(self, tree: Tree, start: int, end: int) -> list[bytes]:
        """The leaves ``[start, end)``, at most 256 of them.

        Raises:
            Pruned: one of them is gone on purpose.
            LogMismatch, RowTooNew: as in :meth:`read`.
        """
        leaves = []
        for entry in (entry for piece in self.read(tree, start, end) for entry in piece):
            if entry.leaf is None:
                raise Pruned(
                    f"The event of leaf {entry.index} was pruned; its hash is in the tiles of level 0."
                )
            leaves.append(entry.leaf)
        return leaves


def _gone(tree: Tree, leaf: Sealed, pruned: Sequence[ManifestBody]) -> Entry:
    if not any(body.explains(leaf.index) for body in pruned):
        raise LogMismatch(
            f"The event of leaf {leaf.index} of {tree.origin} is gone and no manifest says why."
            " See: affidavit fsck"
        )
    return Entry(leaf.index, leaf.hash, None)


def entry_of(tree: Tree, leaf: Sealed, values: Sequence[Any]) -> Entry:
    """The entry of one row.

    Args:
        tree: of the leaf.
        leaf: as it is stored.
        values: the row, texts as UTF-8 bytes.

    Raises:
        LogMismatch: the leaf is not that of the row.
        RowTooNew: the row was written by a newer version.
    """
    try:
        entry, invalid = leaf_of(values, tree.hex_digits)
    except RowVersionError as error:
        raise RowTooNew() from error
    if leaf_hash(entry) != leaf.hash or home_of(values[_ORGANIZATION]) != tree.organization:
        named = values[0] if type(values[0]) is bytes and len(values[0]) == 16 else None
        raise LogMismatch(
            f"Leaf {leaf.index} of {tree.origin} is not that of its event"
            f"{f' {format_id(named)}' if named else ''} any more: the event or the leaf was changed."
            " See: affidavit fsck"
        )
    if invalid:
        return Entry(leaf.index, leaf.hash, entry, invalid=True)
    shown = disclosures_of(values)
    return Entry(leaf.index, leaf.hash, entry, shown, redacted=len(shown) < len(_GROUPS))


def disclosures_of(values: Sequence[Any]) -> tuple[bytes, ...]:
    """What opens the digests of the groups that still have a value (FORMATS: ``[salt, group, value]``).

    Args:
        values: a row that has a proper leaf, texts as UTF-8 bytes.
    """
    if values[_SECRET] is not None:
        salts = dict(zip(_GROUPS, salts_of(values[_SECRET]), strict=True))
    else:
        left = parse_remains(values[_REMAINS])
        salts = {group: text for group, (kind, text) in left.items() if kind == "salt"}
    texts = zip(_GROUPS, values[_FIRST:_SECRET], strict=True)
    return tuple(disclosure(salts[group], group, text) for group, text in texts if text is not None)
