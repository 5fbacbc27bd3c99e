"""The guard: memory beside the database of what was signed, so that a database from yesterday is noticed.

Before a checkpoint is signed, the guard must accept that it extends the last one it saw. It believes nothing:
it checks the consistency proof against the root that it keeps itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from affidavit.core.checkpoint import Checkpoint
from affidavit.core.merkle import verify_consistency
from affidavit.core.unsound import Unsound
from affidavit.storage.log import Manifest

__all__ = ["Answer", "Guard", "Head", "Proposal", "objection"]


class Head(NamedTuple):
    """What the guard remembers of one tree.

    Attributes:
        origin: ``host/hex/incarnation``.
        organization: its tenant.
        size: of the last checkpoint that it accepted; 0 where it only knows that the tree was begun.
        root: of that size, 32 bytes.
    """

    origin: str
    organization: str
    size: int
    root: bytes

    @property
    def checkpoint(self) -> Checkpoint:
        """The last one that was accepted."""
        return Checkpoint(self.origin, self.size, self.root)

    @property
    def hex_digits(self) -> str:
        """The second part of the origin."""
        return self.origin.rsplit("/", 2)[1]

    @property
    def incarnation(self) -> int:
        """The third part of the origin."""
        return int(self.origin.rpartition("/")[2])

    @property
    def host(self) -> str:
        """The first part of the origin."""
        return self.origin.rsplit("/", 2)[0]


class Proposal(NamedTuple):
    """A checkpoint that is about to be signed.

    Attributes:
        organization: its tenant.
        checkpoint: not signed yet.
        published: size of the newest checkpoint that was stored before: the guard must remember that much.
        proof: consistency proof from the size that the guard remembers; empty where that is 0 or the same.
    """

    organization: str
    checkpoint: Checkpoint
    published: int
    proof: Sequence[bytes]


class Answer(NamedTuple):
    """What the guard says to one proposal.

    Attributes:
        refused: a sentence that says why it must not be signed, ``None`` where it may.
        cosignatures: signature lines that go below the note; a guard that is a witness gives them.
    """

    refused: str | None
    cosignatures: str = ""


class Guard(Protocol):
    """Remembers heads and manifests on a disk that is not restored together with the database.

    Every method raises :class:`~affidavit.errors.StorageError` where its file fails; after that it is unknown
    whether a writing call was applied, and the caller asks :meth:`heads` before it goes on.
    """

    def heads(self, origins: Sequence[str]) -> Mapping[str, Head]:
        """What it remembers of these trees; those that it does not know are absent."""
        ...

    def of(self, organization: str) -> list[Head]:
        """What it remembers of the trees of one organization, oldest incarnation first."""
        ...

    def walk(self, after: str, limit: int) -> list[Head]:
        """The heads whose origin comes after ``after``, at most ``limit``, in order of origin."""
        ...

    def accept(self, proposals: Sequence[Proposal]) -> list[Answer]:
        """Check each proposal and remember those that extend what is remembered; one answer each, in order.

        All in one transaction, durable on return. A refused tree does not stop the others. The same proposal
        again is accepted again.
        """
        ...

    def begin(self, heads: Iterable[Head]) -> None:
        """Remember that these incarnations were begun; those before them will not grow again. Durable.

        Only on the word of a person: without it the guard refuses a second tree of an organization.
        """
        ...

    def replace(self, heads: Iterable[Head]) -> None:
        """Remember these heads instead, whatever stood there. Only on the word of a person. Durable."""
        ...

    def add(self, manifest: Manifest) -> None:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        ...

    def manifests(self, organization: str | None = None) -> list[Manifest]:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def objection(proposal: Proposal, head: Head | None, known: Sequence[Head]) -> str | None:
    """Why a checkpoint must not be signed; ``None`` where nothing speaks against it.

    Args:
        proposal: what is about to be signed.
        head: what is remembered of its tree.
        known: what is remembered of all trees of its organization.
    """
    offered = proposal.checkpoint
    if head is None:
        return _unknown(proposal, known)
    later = [each for each in known if each.incarnation > head.incarnation]
    if later:
        return f"{offered.origin} was closed when {later[-1].origin} was begun; it must not grow again."
    if head.size < proposal.published:
        return (
            f"{offered.origin} was signed up to size {proposal.published}, the guard remembers only"
            f" {head.size}: it was restored from before, or somebody else signs this log, too."
            " Put the right one back, or see: affidavit log guard accept"
        )
    if offered.size < head.size:
        return (
            f"{offered.origin} has {offered.size} leaves, but {head.size} were signed: the database was"
            " restored from before. Restore what is missing, or see: affidavit log reopen"
        )
    if head.size == 0:
        return None
    try:
        verify_consistency(head.size, offered.size, head.root, offered.root, proposal.proof)
    except Unsound as error:
        return (
            f"{offered.origin} at size {offered.size} does not extend what was signed at {head.size}"
            f" ({error.message}): its leaves were changed. See: affidavit fsck"
        )
    return None


def _unknown(proposal: Proposal, known: Sequence[Head]) -> str | None:
    offered = proposal.checkpoint
    if proposal.published:
        return (
            f"{offered.origin} was signed up to size {proposal.published}, of which the guard knows nothing:"
            " it is another one or was restored from before. Put the right one back, or see: affidavit log"
            " guard accept"
        )
    if known:
        return (
            f"{offered.origin} is new, but its organization has the log {known[-1].origin}, signed up to size"
            f" {known[-1].size}: the log file was lost or replaced. Put it back, or see: affidavit log reopen"
        )
    return None
