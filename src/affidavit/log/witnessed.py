"""A guard that also asks a witness on another host: the setting ``guard`` with an address.

The file remembers origins, organizations and manifests; the witness remembers what was signed where nobody
who holds this host can take it back. Both must accept. The answer's signatures are not kept: whose they are
is not known here (the setting ``policy`` is for witnesses whose keys are known).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from affidavit.errors import GuardRefused, LogMismatch
from affidavit.log.keys import LogKeys
from affidavit.log.prover import Prover
from affidavit.log.witness_client import (
    WitnessConflict,
    WitnessError,
    WitnessRefused,
    add_checkpoint,
)
from affidavit.storage.guard import Answer, Guard, Head, Proposal
from affidavit.storage.log import LogStore, Manifest

__all__ = ["Witness", "WitnessedGuard"]

TIMEOUT = 2.0
"""Seconds that the witness gets for one answer; sequencing waits for it."""
PAUSE = 10.0
"""Seconds in which it is not asked again after it did not answer."""


class Witness:
    """The witness that must accept each checkpoint.

    Args:
        url: of the witness, its submission prefix.
        store: of the trees.
        prover: of the same store.
        keys: the log keys as they stand now.
        monotonic: seconds.
    """

    def __init__(
        self,
        url: str,
        store: LogStore,
        prover: Prover,
        *,
        keys: Callable[[], LogKeys],
        monotonic: Callable[[], float],
    ) -> None:
        self._url = url
        self._store = store
        self._prover = prover
        self._keys = keys
        self._monotonic = monotonic
        self._sizes: dict[str, int] = {}
        self._silent: tuple[float, str] | None = None

    def accept(self, proposal: Proposal, remembered: int) -> str | None:
        """Show it one checkpoint; why it must not be published, or ``None``.

        Args:
            proposal: which the file has accepted.
            remembered: the size that the file remembered before.

        Raises:
            GuardRefused: the witness does not answer, so nothing may be signed.
        """
        if self._silent is not None and self._monotonic() < self._silent[0]:
            raise GuardRefused(self._silent[1])
        checkpoint = proposal.checkpoint
        note = self._keys().note(checkpoint.origin, checkpoint.text)
        old = self._sizes.get(checkpoint.origin, remembered)
        try:
            for _ in range(2):
                try:
                    add_checkpoint(self._url, old, self._proof(proposal, old), note, TIMEOUT)
                except WitnessConflict as conflict:
                    if conflict.size > checkpoint.size:
                        return self._ahead(checkpoint.origin, checkpoint.size, conflict.size)
                    old = conflict.size
                else:
                    self._sizes[checkpoint.origin] = checkpoint.size
                    return None
        except WitnessRefused as refused:
            return f"{checkpoint.origin} is refused: {refused.message}. See: affidavit fsck"
        except WitnessError as error:
            text = f"{error.message}; nothing is signed until it answers, recording goes on."
            self._silent = (self._monotonic() + PAUSE, text)
            raise GuardRefused(text) from error
        return f"{checkpoint.origin}: the witness at {self._url} changes its mind about the size that it saw."

    def _ahead(self, origin: str, size: int, seen: int) -> str:
        return (
            f"{origin} has {size} leaves, but the witness at {self._url} saw {seen}: the database was"
            " restored from before, or somebody else signs this log, too. Restore what is missing, or see:"
            " affidavit log reopen"
        )

    def _proof(self, proposal: Proposal, old: int) -> list[bytes]:
        size = proposal.checkpoint.size
        if old in (0, size):
            return []
        _, hex_digits, incarnation = proposal.checkpoint.origin.rsplit("/", 2)
        tree = self._store.tree(hex_digits, int(incarnation))
        if tree is None:
            raise LogMismatch(f"The log {proposal.checkpoint.origin} is not in its file any more.")
        return self._prover.consistency(tree.number, old, size)


class WitnessedGuard:
    """See :class:`affidavit.storage.guard.Guard`: the file first, then the witness.

    Args:
        file: the guard's file.
        witness: asked for what the file accepts.
    """

    def __init__(self, file: Guard, witness: Witness) -> None:
        self._file = file
        self._witness = witness

    def accept(self, proposals: Sequence[Proposal]) -> list[Answer]:
        """See :class:`affidavit.storage.guard.Guard`; what only the file accepts is not signed."""
        before = self._file.heads([each.checkpoint.origin for each in proposals])
        answers = []
        for proposal, answer in zip(proposals, self._file.accept(proposals), strict=True):
            if answer.refused is None:
                head = before.get(proposal.checkpoint.origin)
                answer = Answer(self._witness.accept(proposal, 0 if head is None else head.size))
            answers.append(answer)
        return answers

    def heads(self, origins: Sequence[str]) -> Mapping[str, Head]:
        """See :class:`affidavit.storage.guard.Guard`."""
        return self._file.heads(origins)

    def of(self, organization: str) -> list[Head]:
        """See :class:`affidavit.storage.guard.Guard`."""
        return self._file.of(organization)

    def walk(self, after: str, limit: int) -> list[Head]:
        """See :class:`affidavit.storage.guard.Guard`."""
        return self._file.walk(after, limit)

    def begin(self, heads: Iterable[Head]) -> None:
        """See :class:`affidavit.storage.guard.Guard`."""
        self._file.begin(heads)

    def replace(self, heads: Iterable[Head]) -> None:
        """See :class:`affidavit.storage.guard.Guard`."""
        self._file.replace(heads)

    def add(self, manifest: Manifest) -> None:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        self._file.add(manifest)

    def manifests(self, organization: str | None = None) -> list[Manifest]:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        return self._file.manifests(organization)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
