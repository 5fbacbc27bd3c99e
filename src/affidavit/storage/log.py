"""Storage roles of the log: the queue of what waits for its leaf, and the trees.

Words are those of RFC 6962 and C2SP. A *tree* is one incarnation of one organization's log, known inside the
store by a number that never leaves the process. Every method raises
:class:`~affidavit.errors.StorageError` in one of its kinds where the files fail; after an error of a writing
call it is unknown whether it was applied, and the caller loads what stands there before it goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from affidavit.core.merkle import Frontier
from affidavit.core.row import Place, StoredEvent

__all__ = [
    "Alarm",
    "AlarmStore",
    "Claimed",
    "Grown",
    "LogStore",
    "LogWriter",
    "Manifest",
    "ManifestStore",
    "Published",
    "Queue",
    "QueueProgress",
    "Sealed",
    "Tree",
]


class Tree(NamedTuple):
    """One incarnation of an organization's tree.

    Attributes:
        number: inside the store, from 1.
        organization: its tenant.
        host: first part of the origin, as it was when the tree was begun.
        hex_digits: 32, random: second part of the origin and the organization's name in leaves.
        incarnation: from 1: third part.
        first_seq: of the event that is leaf 0 of an incarnation that ``log reopen`` began, else ``None``. It
            stands before events with smaller places.
        size: leaves that are stored.
        published: size of the newest signed checkpoint, 0 where there is none.
    """

    number: int
    organization: str
    host: str
    hex_digits: str
    incarnation: int
    first_seq: int | None
    size: int
    published: int

    @property
    def origin(self) -> str:
        """The origin of its checkpoints, which is also the name of their key."""
        return f"{self.host}/{self.hex_digits}/{self.incarnation}"


class Claimed(NamedTuple):
    """An event that waits for its leaf: its place in recording order and its row, texts as UTF-8 bytes."""

    seq: int
    values: tuple[Any, ...]


class QueueProgress(NamedTuple):
    """Where sequencing stands.

    Attributes:
        seq: place up to which every event has its leaf.
        waiting: events beyond it.
        waiting_since: when the oldest of these was recorded, ``None`` where nothing waits.
    """

    seq: int
    waiting: int
    waiting_since: int | None


class Queue(Protocol):
    """What is recorded and has no leaf yet. Only the holder of the worker's lease uses one."""

    def claim(self, limit: int) -> Sequence[Claimed]:
        """The next events in recording order, at most ``limit``; empty where nothing waits.

        Raises:
            LogMismatch: events and log are not of one history (a file was restored or replaced).
            RowTooNew: the next row was written by a newer version; what stands before it was claimed earlier.
        """
        ...

    def settle(self, claimed: Sequence[Claimed]) -> None:
        """Return when the claimed events are on the disk, so that no leaf can outlive its event."""
        ...

    def progress(self) -> QueueProgress:
        """Where sequencing stands; works while nothing can be claimed, too."""
        ...


class Sealed(NamedTuple):
    """A leaf to be stored: the place of its event, its index in the tree, and its hash."""

    seq: int
    index: int  # type: ignore[assignment]  # the word of RFC 6962, and no method of tuples here
    hash: bytes


class Grown(NamedTuple):
    """How one tree grew in one batch.

    Attributes:
        tree: as it stood before; one that is new has size 0 and is stored with the batch.
        leaves: consecutive, from ``tree.size`` on.
        tiles: ``(tile level, index, hash)`` of each perfect subtree of 256, 65,536, ... leaves that was made.
        frontier: of the size after the batch.
    """

    tree: Tree
    leaves: Sequence[Sealed]
    tiles: Sequence[tuple[int, int, bytes]]
    frontier: Frontier


class Published(NamedTuple):
    """A signed checkpoint.

    Attributes:
        tree: the number of its tree.
        size: of the tree.
        signed_at: microseconds since 1970 UTC.
        note: the signed note, with cosignatures where ``cosigned``.
    """

    tree: int
    size: int
    signed_at: int
    note: bytes
    cosigned: bool


class LogWriter(Protocol):
    """Grows the trees. Only the holder of the worker's lease uses one; it has no writer beside it."""

    def heads(self, organizations: Iterable[str]) -> Mapping[str, tuple[Tree, Frontier]]:
        """The newest incarnation of each organization that has a tree, with its frontier."""
        ...

    def next_number(self) -> int:
        """The number of the next tree that is made."""
        ...

    def append(self, claimed: Sequence[Claimed], grown: Sequence[Grown]) -> None:
        """Store a batch in one transaction, with the new place of the queue; durable on return.

        Compare-and-swap: every tree must have the size that ``grown`` says and the queue the place before
        ``claimed``, else nothing is stored.

        Raises:
            LogMoved: a tree or the queue stands elsewhere; nothing was stored.
        """
        ...

    def unpublished(self, after: int = 0, limit: int = 1_000) -> list[tuple[Tree, Frontier]]:
        """The trees that have grown since their newest checkpoint, with numbers above ``after``, in order."""
        ...

    def signed(self) -> bool:
        """Whether any checkpoint was ever stored."""
        ...

    def publish(self, checkpoints: Sequence[Published]) -> None:
        """Store checkpoints in one transaction, durable on return.

        Each replaces the one before it, unless that was cosigned or is the first of its hour.
        """
        ...


class LogStore(Protocol):
    """Reads the trees. Answers rightly while the worker writes; a missing log file has no trees."""

    def trees(self, organization: str) -> list[Tree]:
        """Every incarnation of an organization, oldest first."""
        ...

    def tree(self, hex_digits: str, incarnation: int) -> Tree | None:
        """The tree with this origin, whatever its host."""
        ...

    def places(self, events: Sequence[StoredEvent]) -> Mapping[int, Place]:
        """``seq`` to the place, of those that have a leaf; the newest incarnation wins."""
        ...

    def hashes(self, tree: int, level: int, start: int, count: int) -> list[bytes]:
        """Stored hashes of one tile level: 0 leaves, 1 subtrees of 256 leaves, 2 of 65,536, and so on.

        At most ``count`` from index ``start`` on; fewer where no more are stored.
        """
        ...

    def leaves(self, tree: int, start: int, end: int) -> Iterator[Sequence[Sealed]]:
        """Leaves ``[start, end)`` in order, in pieces of bounded size, each read in a short transaction."""
        ...

    def checkpoints(self, tree: int) -> list[Published]:
        """All that are kept, by size; the newest is the last one."""
        ...

    def kept(self, tree: int, below: int, most: int) -> list[Published]:
        """Those of a size from 1 to below ``below``, by size; of more than ``most`` some, spread evenly."""
        ...

    def newest(self, tree: int) -> Published | None:
        """The last of :meth:`checkpoints`; ``None`` where there is none."""
        ...


class Manifest(NamedTuple):
    """What was erased or pruned, on purpose (docs/spec/manifest.md).

    Attributes:
        hash: SHA-256 of ``body``, 32 bytes.
        organization: its tenant.
        kind: ``erasure`` or ``prune``.
        body: canonical JSON, exact bytes.
        note: the signed note over the hash.
        made_at: microseconds since 1970 UTC.
    """

    hash: bytes
    organization: str
    kind: str
    body: bytes
    note: bytes
    made_at: int


class ManifestStore(Protocol):
    """Keeps manifests, in the log and again in the guard. Never changed, never deleted."""

    def add(self, manifest: Manifest) -> None:
        """Store it; the same one again changes nothing. Durable on return."""
        ...

    def manifests(self, organization: str | None = None) -> list[Manifest]:
        """Those of an organization, or all, oldest first."""
        ...


class Alarm(NamedTuple):
    """Something that an operator must look at.

    Attributes:
        kind: a word in snake case, such as ``log_mismatch``.
        subject: what it concerns, such as an origin or an event id; may be empty.
        raised_at: when it was first seen, microseconds since 1970 UTC.
        text: one sentence that says what to do. Holds no text of an event.
    """

    kind: str
    subject: str
    raised_at: int
    text: str


class AlarmStore(Protocol):
    """Keeps alarms until they are cleared; one of a kind and subject."""

    def sound(self, alarm: Alarm) -> None:
        """Store it where none of this kind and subject stands; the first one keeps its time."""
        ...

    def clear(self, kind: str, subject: str | None = None) -> None:
        """Take away those of a kind, or one of them."""
        ...

    def alarms(self) -> list[Alarm]:
        """All, oldest first."""
        ...
