"""Accounts for what was erased again while it waited for its leaf, in whichever tree that leaf came to stand.

After a restore rows that wait are erased again by the manifests of the guard, which name places of the tree
that they were in. Where a new incarnation had to be begun, their leaves stand in another tree, in which no
manifest explains the missing values; then one is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from affidavit.access.events import AccessEvents
from affidavit.access.operator import local_credential
from affidavit.core.event import Actor
from affidavit.core.manifest import CITED_BY, ERASURE
from affidavit.core.row import Place
from affidavit.log.erasure.erase import citing_facts
from affidavit.log.erasure.find import Hit
from affidavit.log.erasure.manifests import make_manifests
from affidavit.log.keys import LogKeys
from affidavit.log.tasks import WAITING, TaskSteps
from affidavit.storage.log import LogStore, ManifestStore
from affidavit.storage.protocols import EventStore
from affidavit.storage.tasks import Task

__all__ = ["ACCOUNT", "Account", "request_for"]

ACCOUNT = "erasure_account"
"""The kind of these tasks; nobody orders one, the worker does when it has erased waiting rows again."""
_PIECE = 200


def request_for(origin: str, events: Mapping[bytes, Sequence[str]]) -> dict[str, object]:
    """The request of a task.

    Args:
        origin: of the tree that the manifest names.
        events: id to the groups that went.
    """
    return {
        "origin": origin,
        "events": [[event_id.hex(), list(groups)] for event_id, groups in sorted(events.items())],
    }


class Account:
    """Does the tasks of the kind :data:`ACCOUNT`.

    Args:
        events: reads and records.
        log: the trees.
        manifests: where a manifest is kept, the guard first.
        keys: the keys that sign.
        audit: makes the event that cites.
    """

    def __init__(
        self,
        events: EventStore,
        log: LogStore,
        *,
        manifests: Sequence[ManifestStore],
        keys: Callable[[], LogKeys],
        audit: AccessEvents,
    ) -> None:
        self._events = events
        self._log = log
        self._manifests = manifests
        self._keys = keys
        self._audit = audit

    def run(self, task: Task) -> TaskSteps:
        """Wait until a signed checkpoint covers every row: until then a person may still begin a new tree."""
        origin = str(task.request["origin"])
        groups = {bytes.fromhex(one): tuple(gone) for one, gone in task.request["events"]}
        hits: list[Hit] = []
        remaining = sorted(groups)
        while remaining:
            found = self._published(task.organization, remaining[:_PIECE])
            if found is None:
                yield WAITING
                continue
            hits += [
                Hit(place_seq, action, groups[event_id])
                for event_id, place_seq, action, place in found
                if self._origin(task.organization, place) != origin
            ]
            remaining = remaining[_PIECE:]
            yield None
        if not hits:
            return {"events": 0}
        made = yield from make_manifests(
            hits,
            task.organization,
            events=self._events,
            log=self._log,
            keys=self._keys(),
            made_at=task.created_at,
            gone=True,
        )
        for manifest in made:
            for store in self._manifests:
                store.add(manifest)
        self._events.insert(
            self._audit.rows(
                CITED_BY[ERASURE],
                local_credential("affidavit"),
                (task.organization,),
                actor=Actor(type="system", id="affidavit"),
                metadata={"reapplied": True, "events": len(hits)},
                facts=citing_facts(made, self._log.trees(task.organization)),
                once=(task.id, task.created_at),
            )
        )
        return {"events": len(hits), "manifests": [each.hash.hex() for each in made]}

    def _published(
        self, organization: str, ids: Sequence[bytes]
    ) -> list[tuple[bytes, int, str, Place]] | None:
        """Id, place in recording order, action and place in the log; ``None`` while one is not covered."""
        events = self._events.fetch(organization, ids)
        places = self._log.places(events)
        found = []
        for event in events:
            place = places.get(event.seq)
            if place is None or not place.published:
                return None
            found.append((event.id, event.seq, event.action, place))
        return found

    def _origin(self, organization: str, place: Place) -> str:
        return next(tree.origin for tree in self._log.trees(organization) if tree.number == place.tree)
