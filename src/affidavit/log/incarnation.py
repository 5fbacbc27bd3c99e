"""What a person orders after a restore: new incarnations, or a guard that takes the present heads.

Both are explicit acts and events of their own. A new incarnation is an empty tree under the same hex digits;
its leaf 0 quotes the last known checkpoint of the tree before, so that whoever remembers that one sees when
it was given up, and by whom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from affidavit.core.checkpoint import Checkpoint
from affidavit.core.merkle import EMPTY_ROOT, leaf_hash
from affidavit.core.row import StoredEvent
from affidavit.core.sealing import leaf_of_event
from affidavit.errors import GuardRefused
from affidavit.log.guard import PIECE, differences
from affidavit.log.prover import Prover
from affidavit.log.signer import MISSING, REFUSED
from affidavit.storage.guard import Guard, Head
from affidavit.storage.log import AlarmStore, LogStore, ManifestStore, Tree
from affidavit.storage.repair import LogRepair, Opening

__all__ = [
    "ACCEPTED",
    "RESTORED",
    "Accepted",
    "Record",
    "Reopened",
    "Trees",
    "accept_heads",
    "begin_anew",
    "reopen",
]

RESTORED = "log.restored"
ACCEPTED = "log.guard.accepted"

Record = Callable[[str, str, Mapping[str, str | int]], StoredEvent]
"""Records one of our events (action, organization, facts), durably, and reads it back."""


class Trees(LogStore, Protocol):
    """A log whose trees can all be listed."""

    def all_trees(self) -> list[Tree]:
        """Every incarnation of every organization, by number."""
        ...


class Reopened(NamedTuple):
    """A new incarnation.

    Attributes:
        organization: its tenant.
        origin: of the new tree.
        checkpoint: text of the last known checkpoint of the tree before; empty where none is known.
    """

    organization: str
    origin: str
    checkpoint: str


class Accepted(NamedTuple):
    """A head that the guard was told to take."""

    organization: str
    head: Head


def reopen(
    *,
    log: Trees,
    prover: Prover,
    repair: LogRepair,
    guard: Guard,
    manifests: ManifestStore,
    alarms: AlarmStore,
    record: Record,
) -> list[Reopened]:
    """Begin a new incarnation of every log that lost leaves or events, or whose leaves are others now.

    1. the events ``log.restored`` are recorded; 2. the guard is told; 3. the new trees are begun and the
    queue goes back, in one transaction. Stopped in between, nothing is signed, and doing it again finishes
    it (an event of the first time then stays as an ordinary one). Nothing may be sequenced meanwhile.

    Returns:
        What was begun; nothing where every log still extends what was signed.
    """
    matched = repair.last_match()
    names = dict.fromkeys(repair.beyond(matched))
    names.update(dict.fromkeys(each.head.organization for each in differences(guard, log, prover)))
    names.update(dict.fromkeys(_begun_only_in(guard, log)))
    openings, reopened, heads = [], [], []
    for organization in sorted(names):
        known = guard.of(organization)
        trees = log.trees(organization)
        last = _last_checkpoint(known, trees, prover)
        host, hex_digits, incarnation = _next_origin(known, trees)
        facts = {"checkpoint": last.text} if last is not None else {"checkpoint": "", "reason": _NEVER_SIGNED}
        event = record(RESTORED, organization, facts)
        digest = leaf_hash(leaf_of_event(event, hex_digits).entry)
        openings.append(Opening(organization, host, hex_digits, incarnation, event.seq, digest, event.id))
        origin = f"{host}/{hex_digits}/{incarnation}"
        heads.append(Head(origin, organization, 0, EMPTY_ROOT))
        reopened.append(Reopened(organization, origin, last.text if last is not None else ""))
    if not openings:
        return []
    guard.begin(heads)
    repair.reopen(openings, matched)
    for manifest in guard.manifests():
        manifests.add(manifest)
    alarms.clear(REFUSED)
    return reopened


def begin_anew(organizations: Sequence[str], record: Record) -> list[Reopened]:
    """Say in each organization that neither its log nor the guard are there any more.

    The sequencer then begins new trees, under other hex digits: nobody here knows the old ones.
    """
    for organization in organizations:
        record(RESTORED, organization, {"checkpoint": "", "reason": _FORGOTTEN})
    return [Reopened(organization, "", "") for organization in organizations]


_FORGOTTEN = "neither the log nor the guard are there any more"
_NEVER_SIGNED = "no checkpoint of the tree before is known"


def _begun_only_in(guard: Guard, log: LogStore) -> list[str]:
    """The organizations whose new incarnation the guard was told of and the log never got."""
    found = []
    after = ""
    while heads := guard.walk(after, PIECE):
        after = heads[-1].origin
        found += [
            head.organization
            for head in heads
            if head.size == 0 and log.tree(head.hex_digits, head.incarnation) is None
        ]
    return found


def _last_checkpoint(known: Sequence[Head], trees: Sequence[Tree], prover: Prover) -> Checkpoint | None:
    """Of the newest incarnation that was ever signed, the greatest size that guard or log remember."""
    found = {(head.incarnation, head.size): head.checkpoint for head in known if head.size}
    for tree in trees:
        if tree.published and (tree.incarnation, tree.published) not in found:
            root = prover.root(tree.number, tree.published)
            found[tree.incarnation, tree.published] = Checkpoint(tree.origin, tree.published, root)
    return found[max(found)] if found else None


def _next_origin(known: Sequence[Head], trees: Sequence[Tree]) -> tuple[str, str, int]:
    """Host, hex digits and incarnation of the tree that is to be begun."""
    stored = {(tree.hex_digits, tree.incarnation) for tree in trees}
    begun = [head for head in known if head.size == 0 and (head.hex_digits, head.incarnation) not in stored]
    if begun and begun[-1] is known[-1]:
        return begun[-1].host, begun[-1].hex_digits, begun[-1].incarnation
    # What was signed names the organization; a tree that the guard never saw was begun after a loss.
    host, hex_digits = (
        (known[-1].host, known[-1].hex_digits) if known else (trees[-1].host, trees[-1].hex_digits)
    )
    numbers = [head.incarnation for head in known] + [tree.incarnation for tree in trees]
    return host, hex_digits, max(numbers) + 1


def accept_heads(
    *,
    log: Trees,
    prover: Prover,
    guard: Guard,
    manifests: ManifestStore,
    alarms: AlarmStore,
    record: Record,
) -> list[Accepted]:
    """Let a guard that was lost, or that is behind, take the heads that were signed last.

    Returns:
        What it took; nothing where it knew all of it.

    Raises:
        GuardRefused: the guard remembers more than the log has, or something else: that is no matter of the
            guard, and accepting it would sign a second history.
    """
    for each in differences(guard, log, prover):
        tree = log.tree(each.head.hex_digits, each.head.incarnation)
        if tree is None or tree.published <= each.head.size:
            raise GuardRefused(f"The guard is not what is wrong: {each.text}")
    accepted = []
    newest = {tree.organization: tree for tree in log.all_trees()}
    for tree in newest.values():
        head = guard.heads([tree.origin]).get(tree.origin)
        if tree.published and (head is None or head.size < tree.published):
            _check_prefix(head, log, prover)
            root = prover.root(tree.number, tree.published)
            accepted.append(
                Accepted(tree.organization, Head(tree.origin, tree.organization, tree.published, root))
            )
    for organization, head in accepted:
        facts: dict[str, str | int] = {"origin": head.origin, "size": head.size, "root": head.root.hex()}
        record(ACCEPTED, organization, facts)
    guard.replace([head for _, head in accepted])
    for manifest in manifests.manifests():
        guard.add(manifest)
    alarms.clear(REFUSED)
    alarms.clear(MISSING)
    return accepted


def _check_prefix(head: Head | None, log: LogStore, prover: Prover) -> None:
    """A guard that is behind must at least have seen the same history."""
    if head is None or not head.size:
        return
    tree = log.tree(head.hex_digits, head.incarnation)
    if tree is not None and prover.root(tree.number, head.size) != head.root:
        raise GuardRefused(
            f"The guard saw another history of {head.origin} at size {head.size}. See: affidavit fsck"
        )
