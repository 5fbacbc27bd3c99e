"""The task ``erase``.

Its order, so that a kill at any instruction leaves something that can be gone on with:

1. every event up to now, in spools too, has its leaf, and the subject is looked for in all of them;
2. manifests are made, signed and noted with the task: from here on it goes through with these, always;
3. log and guard keep them: a restored database cannot bring back what they cover;
4. ``audit.erasure.requested`` cites them, and is published;
5. only now the values go: from the events, and from every other place of the registry;
6. freed pages and write-ahead logs are emptied, and every place is searched for the subject;
7. ``audit.erasure.completed``, or a failed task that says where the subject was still found;
8. the subject's text goes out of the task, and the write-ahead log is emptied once more.

The subject stands in no event, manifest, outcome or line of a log.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from affidavit.access.events import AccessEvents
from affidavit.core.manifest import manifest_hash, parse_manifest
from affidavit.core.retention import class_covers
from affidavit.errors import AffidavitError, LogMismatch, Refused, StorageError
from affidavit.log.erasure.find import Find, find
from affidavit.log.erasure.manifests import covered, make_manifests
from affidavit.log.erasure.registry import Registry
from affidavit.log.erasure.requests import ErasureRequest, request_in
from affidavit.log.keys import LogKeys
from affidavit.log.tasks import WAITING, TaskSteps
from affidavit.storage.copies import Erasure
from affidavit.storage.log import LogStore, Manifest, ManifestStore, Tree
from affidavit.storage.protocols import EventStore
from affidavit.storage.retention import Hold
from affidavit.storage.tasks import Task, TaskStore

__all__ = ["Eraser", "citing_facts"]


class _Plan(NamedTuple):
    """What an erasure does, as it is noted with its task.

    Attributes:
        end: place in recording order up to which events are concerned.
        manifests: hashes in hex, that of the newest tree last.
        unkept: body and note of each, until log and guard keep them.
        counts: of what was found.
        facts: of its events: they cite the manifests.
        requested_at, completed_at: microseconds since 1970 UTC; the second 0 until every place was searched.
        recorded: whether the end is recorded.
    """

    end: int
    manifests: tuple[str, ...]
    unkept: tuple[tuple[str, str], ...]
    counts: Mapping[str, Any]
    facts: dict[str, str | int]
    requested_at: int
    completed_at: int = 0
    recorded: bool = False


def citing_facts(manifests: Sequence[Manifest], trees: Sequence[Tree]) -> dict[str, str | int]:
    """The facts of an event that cites manifests.

    Args:
        manifests: at most one of each tree.
        trees: of the organization, oldest incarnation first; the event will stand in the last one.
    """
    newest = trees[-1].origin if trees else None
    facts: dict[str, str | int] = {}
    for manifest in manifests:
        origin = parse_manifest(manifest.body).origin
        name = "manifest" if origin == newest else f"manifest_{origin.rpartition('/')[2]}"
        facts[name] = manifest.hash.hex()
    return facts


def _noted(task: Task) -> _Plan | None:
    noted = task.outcome
    if not noted or "requested_at" not in noted:
        return None
    unkept = tuple((body, note) for body, note in noted["unkept"])
    return _Plan(**{**noted, "manifests": tuple(noted["manifests"]), "unkept": unkept})


class Eraser:
    """Does erasures; only the holder of the worker's lease has one.

    Args:
        events: reads and records.
        log: the trees.
        position: the place up to which every event has its leaf.
        manifests: of the log.
        guard: keeps manifests outside of the database.
        keys: the keys that sign.
        holds: the legal holds of an organization, released ones too.
        tasks: where an erasure notes how far it is.
        audit: makes the events.
        registry: of copies.
        clock: microseconds since 1970 UTC.
    """

    def __init__(
        self,
        *,
        events: EventStore,
        log: LogStore,
        position: Callable[[], int],
        manifests: ManifestStore,
        guard: ManifestStore,
        keys: Callable[[], LogKeys],
        holds: Callable[[str], list[Hold]],
        tasks: TaskStore,
        audit: AccessEvents,
        registry: Registry,
        clock: Callable[[], int],
    ) -> None:
        self._events = events
        self._log = log
        self._position = position
        self._manifests = manifests
        self._guard = guard
        self._keys = keys
        self._holds = holds
        self._tasks = tasks
        self._audit = audit
        self._registry = registry
        self._clock = clock

    def run(self, task: Task) -> TaskSteps:
        """The function of tasks of the kind ``erase``.

        Raises:
            Refused: a legal hold keeps an event.
            LogMismatch: an event is not what was sealed, or a manifest is gone.
            KeyMissing: there is no key to sign with.
        """
        request = request_in(task)
        try:
            outcome = yield from self._run(task, request)
        except StorageError:
            raise  # it is started again, and needs to know whom to erase
        except AffidavitError:
            yield from self._forget(task)
            raise
        yield from self._forget(task)
        return outcome

    def _run(self, task: Task, request: ErasureRequest) -> TaskSteps:
        plan = _noted(task)
        if plan is None:
            if request.subject is None:
                raise Refused("The request no longer names its subject; ask again.")
            found = yield from self._find(task, request)
            if request.dry_run:
                return {"dry_run": True, **found.counts, "examples": found.examples}
            plan = yield from self._plan(task, found)
        if not plan.recorded:
            left = yield from self._erase(task, request, plan)
            if left:
                places = ", ".join(f"{name} ({'; '.join(found)})" for name, found in left.items())
                raise Refused(f"The subject was still found after the erasure: {places}.")
        return {**plan.counts, "manifests": plan.manifests}

    def _find(self, task: Task, request: ErasureRequest) -> Generator[Literal["waiting"] | None, None, Find]:
        assert request.subject is not None
        yield from self._registry.gather()
        mark = self._events.mark()
        while (end := self._events.place_of(mark)) is None or self._position() < end:
            yield WAITING
        return (
            yield from find(
                self._events,
                request.subject,
                task.organization,
                end,
                include_substrings=request.include_substrings,
            )
        )

    def _plan(self, task: Task, found: Find) -> Generator[Literal["waiting"] | None, None, _Plan]:
        self._refuse_held(task.organization, found)
        moment = self._clock()
        manifests: list[Manifest] = []
        if found.hits:
            manifests = yield from make_manifests(
                found.hits,
                task.organization,
                events=self._events,
                log=self._log,
                keys=self._keys(),
                made_at=moment,
            )
        facts = citing_facts(manifests, self._log.trees(task.organization))
        hashes = tuple(each.hash.hex() for each in manifests)
        unkept = tuple((each.body.decode(), each.note.decode()) for each in manifests)
        plan = _Plan(found.end, hashes, unkept, found.counts, facts, moment)
        self._tasks.note(task.id, plan._asdict())
        return plan

    def _refuse_held(self, organization: str, found: Find) -> None:
        standing = [hold for hold in self._holds(organization) if hold.released_at is None]
        for hold in standing:
            kept = sum(class_covers(hold.class_, hit.action) for hit in found.hits)
            if kept:
                raise Refused(
                    f"The legal hold {hold.id} ({hold.name}) keeps {kept} of these events; release it first."
                    " Nothing was erased."
                )

    def _erase(self, task: Task, request: ErasureRequest, plan: _Plan) -> TaskSteps:
        if request.subject is None:
            raise Refused("The request no longer names its subject; ask again.")
        plan = self._keep(task, plan)
        manifests = self._kept(task.organization, plan)
        requested = self._record("requested", task, request, plan, plan.requested_at)
        while not self._published(task.organization, requested):
            yield WAITING
        going = yield from self._going(manifests)
        reference = plan.manifests[-1] if plan.manifests else task.id
        erasure = Erasure(
            task.organization, request.subject, request.include_substrings, plan.end, going, reference
        )
        yield from self._registry.erase(erasure)
        yield from self._registry.scrub()
        left = yield from self._registry.search(erasure)
        if not left:
            plan = plan._replace(completed_at=plan.completed_at or self._clock())
            self._tasks.note(task.id, plan._asdict())
            self._record("completed", task, request, plan, plan.completed_at)
            self._tasks.note(task.id, plan._replace(recorded=True)._asdict())
        return left

    def _keep(self, task: Task, plan: _Plan) -> _Plan:
        """Have log and guard keep the manifests; again where that was interrupted."""
        for body, note in plan.unkept:
            encoded = body.encode()
            parsed = parse_manifest(encoded)
            manifest = Manifest(
                manifest_hash(encoded), task.organization, parsed.kind, encoded, note.encode(), parsed.made_at
            )
            self._manifests.add(manifest)
            self._guard.add(manifest)
        if plan.unkept:
            plan = plan._replace(unkept=())
            self._tasks.note(task.id, plan._asdict())
        return plan

    def _kept(self, organization: str, plan: _Plan) -> list[Manifest]:
        """The manifests; log or guard may come from a backup, then the other one helps."""
        if not plan.manifests:
            return []
        stored = {each.hash.hex(): each for each in self._manifests.manifests(organization)}
        guarded = {each.hash.hex(): each for each in self._guard.manifests(organization)}
        known = {**guarded, **stored}
        missing = [shown for shown in plan.manifests if shown not in known]
        if missing:
            raise LogMismatch(
                f"The manifest {missing[0]} of this erasure is neither in the log nor the guard."
            )
        for shown in plan.manifests:
            if shown not in stored:
                self._manifests.add(known[shown])
            if shown not in guarded:
                self._guard.add(known[shown])
        return [known[shown] for shown in plan.manifests]

    def _record(self, what: str, task: Task, request: ErasureRequest, plan: _Plan, moment: int) -> bytes:
        """Record one of the two events, once; its id."""
        once = (f"{task.id}:{what}", moment)
        metadata = {
            "task": task.id,
            "basis": request.basis,
            "include_substrings": request.include_substrings,
            **plan.counts,
        }
        rows = self._audit.rows(
            f"audit.erasure.{what}",
            request.by,
            (task.organization,),
            metadata=metadata,
            address=request.address,
            facts=plan.facts or None,
            once=once,
        )
        self._events.insert(rows)
        return rows[0].id

    def _published(self, organization: str, event_id: bytes) -> bool:
        places = self._log.places(self._events.fetch(organization, [event_id]))
        return any(place.published for place in places.values())

    def _going(self, manifests: Sequence[Manifest]) -> Generator[None, None, dict[bytes, tuple[str, ...]]]:
        """The ids of the events that the manifests cover, with the groups that go."""
        going: dict[bytes, tuple[str, ...]] = {}
        for manifest in manifests:
            body = parse_manifest(manifest.body)
            _, hex_digits, incarnation = body.origin.rsplit("/", 2)
            tree = self._log.tree(hex_digits, int(incarnation))
            if tree is None:
                raise LogMismatch(f"The log {body.origin} is no longer in the log file.")
            for piece in covered(body, tree, events=self._events, log=self._log):
                going.update((each.id, each.groups) for each in piece)
                yield
        return going

    def _forget(self, task: Task) -> TaskSteps:
        self._tasks.forget(task.id)
        yield from self._registry.scrub()
        return {}
