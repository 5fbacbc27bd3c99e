"""Pruning: rows that have expired are deleted, and their leaf hashes stay.

A prune is about a closed range of ids of one organization: every event in it is past every policy, has
expired, is under no hold and is published. Events that explain others stay where they are. The order, so
that a kill at any instruction leaves nothing that is not explained:

1. a manifest that lists the leaves is signed and kept, by the guard and by the log;
2. in one transaction the range is closed and ``audit.retention.pruned``, which cites the manifest, recorded;
3. when that event is published, the rows are deleted in bounded pieces.

The row that the queue stands at is never among them: the event of step 2 comes after all of them and stays.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Literal

import msgspec

from affidavit.access.events import AccessEvents
from affidavit.core.forms import format_id
from affidavit.core.ids import parse_id
from affidavit.core.manifest import (
    PRUNE,
    ManifestBody,
    encode_manifest,
    manifest_hash,
    manifest_text,
    parse_manifest,
    prune_entries,
)
from affidavit.core.row import Place, StoredEvent
from affidavit.log.keys import LogKeys
from affidavit.log.retention.orders import credential_of
from affidavit.log.retention.past import PIECE
from affidavit.log.retention.previews import Previews
from affidavit.log.retention.spans import Span, before
from affidavit.log.tasks import WAITING, TaskSteps
from affidavit.storage.log import LogStore, Manifest, ManifestStore, Tree
from affidavit.storage.retention import PastStore, PrunedRange, RangeStore
from affidavit.storage.tasks import Task

__all__ = ["PRUNE_TASK", "Prune"]

PRUNE_TASK = "prune"
"""The kind of its tasks."""
PRUNED = "audit.retention.pruned"

_LAST = b"\xff" * 16
_Steps = Generator[Literal["waiting"] | None, None, int]


class Prune:
    """Prunes closed ranges of ids.

    Args:
        previews: looks at ranges before they are pruned.
        store: the events by id.
        ranges: closes ranges and deletes.
        log: the trees.
        manifests: where manifests are kept: the guard first, then the log.
        keys: the log keys as they stand now.
        rebuild: has the search index made anew; its counts still count what is gone.
        audit: makes the events.
    """

    def __init__(
        self,
        previews: Previews,
        store: PastStore,
        ranges: RangeStore,
        log: LogStore,
        *,
        manifests: Sequence[ManifestStore],
        keys: Callable[[], LogKeys],
        rebuild: Callable[[], None],
        audit: AccessEvents,
    ) -> None:
        self._previews = previews
        self._store = store
        self._ranges = ranges
        self._log = log
        self._manifests = manifests
        self._keys = keys
        self._rebuild = rebuild
        self._audit = audit

    def run(self, task: Task) -> TaskSteps:
        """The function of tasks of the kind :data:`PRUNE_TASK`.

        Raises:
            Refused: an event of the range is not fit to be pruned; nothing was deleted.
        """
        from_id, to_id = parse_id(task.request["from_id"]), parse_id(task.request["to_id"])
        standing = [
            each
            for each in self._ranges.ranges(task.organization)
            if each.to_id >= from_id and each.from_id <= to_id
        ]
        done = 0
        for closed in standing:  # an interrupted task closed them, and perhaps did not empty them
            done += yield from self._empty(closed)
        if standing:  # what is refused below must not keep the index from learning what is gone
            self._rebuild()
        look = self._previews.span(task.organization, from_id, to_id)
        for _ in look:
            yield None
        look.refuse()
        for span in look.spans:
            done += yield from self._empty(self._close(task, span))
        if look.spans:
            self._rebuild()
        return {"pruned": done, "ranges": len(standing) + len(look.spans)}

    def _close(self, task: Task, span: Span) -> PrunedRange:
        """Sign and keep the manifests, close the range, record the event."""
        made_at = task.created_at  # so that a repeated task makes the same manifest
        ids = (format_id(span.from_id), format_id(span.to_id))
        newest = max(tree.incarnation for tree in self._log.trees(task.organization))
        facts: dict[str, str | int] = {}
        hashes: list[bytes] = []
        for tree, places in _by_tree(span.gone).items():
            manifest = self._manifest(tree, places, ids, made_at)
            for store in self._manifests:
                store.add(manifest)
            name = "manifest" if tree.incarnation == newest else f"manifest_{tree.incarnation}"
            facts[name] = manifest.hash.hex()
            hashes.append(manifest.hash)
        rows = self._audit.rows(
            PRUNED,
            credential_of(task),
            (task.organization,),
            metadata={"task": task.id, "from_id": ids[0], "to_id": ids[1], "events": len(span.gone)},
            facts=facts,
        )
        closed = PrunedRange(task.organization, span.from_id, span.to_id, hashes[0])
        self._ranges.close(closed, len(span.gone) + span.kept, rows)
        return closed

    def _manifest(self, tree: Tree, places: Sequence[Place], ids: tuple[str, str], made_at: int) -> Manifest:
        entries = prune_entries(sorted((place.index, place.hash) for place in places))
        body = encode_manifest(ManifestBody(PRUNE, tree.origin, made_at, entries, ids))
        note = self._keys().note(tree.origin, manifest_text(body))
        return Manifest(manifest_hash(body), tree.organization, PRUNE, body, note, made_at)

    def _empty(self, closed: PrunedRange) -> _Steps:
        """Delete what the manifests of a closed range list, once the event that cites them is published."""
        while not (cited := self._cited(closed)):
            yield WAITING
        origins = {tree.number: tree.origin for tree in self._log.trees(closed.organization)}
        done, after = 0, before(closed.from_id)
        while page := self._store.within(closed.organization, after, closed.to_id, PIECE):
            after = page[-1].id
            places = self._log.places(page)
            ids = [
                event.id
                for event in page
                if (place := places.get(event.seq)) is not None
                and (body := cited.get(origins[place.tree])) is not None
                and body.explains(place.index)
            ]
            if ids:
                done += self._ranges.delete(closed, ids)
            yield None
        return done

    def _cited(self, closed: PrunedRange) -> Mapping[str, ManifestBody]:
        """The manifests of a range by origin; none before the event that cites them is published."""
        event = self._citing(closed)
        if event is None or not any(place.published for place in self._log.places([event]).values()):
            return {}
        hashes = set(msgspec.json.decode(event.facts or "{}", type=dict[str, str | int]).values())
        kept = self._manifests[-1].manifests(closed.organization)
        bodies = [parse_manifest(each.body) for each in kept if each.hash.hex() in hashes]
        return {body.origin: body for body in bodies if body.kind == PRUNE}

    def _citing(self, closed: PrunedRange) -> StoredEvent | None:
        """The event of the transaction in which a range was closed."""
        digest, after = closed.manifest.hex(), b""
        while page := self._store.page(closed.organization, PRUNED, after, _LAST, PIECE):
            for event in page:
                if event.facts is not None and digest in event.facts:
                    return event
            after = page[-1].id
        return None


def _by_tree(gone: Sequence[tuple[Place, Tree]]) -> Mapping[Tree, list[Place]]:
    found: dict[Tree, list[Place]] = {}
    for place, tree in gone:
        found.setdefault(tree, []).append(place)
    return found
