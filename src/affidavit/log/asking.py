"""One witness and what it is asked: proves from where it stands, checks what it answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from affidavit.core.checkpoint import open_checkpoint
from affidavit.core.note import Note, Verifier, parse_note, signature_line, signatures_by
from affidavit.core.policy import Witness
from affidavit.errors import ConfigError
from affidavit.log.prover import Prover
from affidavit.log.signatures import check_signature
from affidavit.log.witness_client import (
    WitnessConflict,
    WitnessError,
    WitnessNonsense,
    add_checkpoint,
    check_url,
)
from affidavit.storage.log import Published, Tree

__all__ = ["ATTEMPTS", "TIMEOUT", "TOLERANCE", "WitnessAsker", "with_cosignature"]

log = logging.getLogger("affidavit.log")

TIMEOUT = 10.0
"""Seconds that a witness gets for one answer."""
TOLERANCE = 300
"""Seconds by which the clock of a witness may differ from ours."""
ATTEMPTS = 3
"""How often a witness that names another size is asked in a row."""


class WitnessAsker:
    """Asks one witness. Used by one thread.

    Args:
        witness: of the policy.
        prover: makes the consistency proofs.
        log_keys: the keys that sign checkpoints of an origin.
        clock: microseconds since 1970 UTC.
        timeout: seconds for one answer.

    Raises:
        ConfigError: it has no address, or none that can be used.
    """

    def __init__(
        self,
        witness: Witness,
        prover: Prover,
        log_keys: Callable[[str], Sequence[Verifier]],
        clock: Callable[[], int],
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        if witness.url is None:
            raise ConfigError(f"the witness {witness.name} has no address in the policy")
        check_url(witness.url)
        self.witness = witness
        self._url = witness.url
        self._prover = prover
        self._log_keys = log_keys
        self._clock = clock
        self._timeout = timeout
        self._sizes: dict[int, int] = {}

    def ask(self, tree: Tree, published: Published) -> str:
        """Its signature line over a checkpoint, checked.

        Raises:
            WitnessError: in one of its kinds: there is none.
            Unsound: what it answered does not hold.
            LogError, StorageError: the proof cannot be made.
        """
        note = _of_the_log(published.note, tree.origin)
        known = self._sizes.get(tree.number, 0)
        for _ in range(ATTEMPTS):
            if known > published.size:
                raise WitnessError(
                    f"The witness {self.witness.name} has cosigned size {known} of {tree.origin}, and the"
                    f" newest checkpoint here has {published.size}: this log was set back. If it was restored"
                    " from a backup, begin its next incarnation with: affidavit log reopen"
                )
            proof = self._prover.consistency(tree.number, known, published.size) if known else []
            try:
                lines = add_checkpoint(self._url, known, proof, note, self._timeout)
            except WitnessConflict as conflict:
                self._say_if_forgotten(tree, known, conflict.size)
                known = conflict.size
                continue
            line = self._checked(tree, note, lines)
            self._sizes[tree.number] = published.size
            return line
        raise WitnessError(f"The witness {self.witness.name} named another size {ATTEMPTS} times in a row.")

    def _say_if_forgotten(self, tree: Tree, known: int, size: int) -> None:
        if size < known:
            log.error(
                "The witness %s has forgotten %s: it had cosigned size %d and now says %d.",
                self.witness.name,
                tree.origin,
                known,
                size,
            )

    def _checked(self, tree: Tree, note: bytes, lines: Sequence[str]) -> str:
        """The line by this witness, over this checkpoint, made now; lines of other keys do not matter."""
        verifier = self.witness.verifier
        whole = note + "".join(lines).encode()
        keys = self._log_keys(tree.origin)
        opened = open_checkpoint(whole, keys, [verifier], origin=tree.origin, check=check_signature)
        seconds = dict(opened.cosigned).get(verifier)
        if seconds is None:
            raise WitnessNonsense(f"The witness {self.witness.name} answered without its own cosignature.")
        now = self._clock() // 1_000_000
        if abs(seconds - now) > TOLERANCE:
            raise WitnessNonsense(
                f"The witness {self.witness.name} cosigned with the time {seconds}, and here it is {now}: one"
                " of the two clocks is wrong."
            )
        # The time stands in front, so that the greatest one is the latest.
        latest = max(value for _, value in signatures_by(opened.note, [verifier], verifier.kind))
        return signature_line(verifier.name, verifier.key_id, latest)


def with_cosignature(note: bytes, line: str) -> bytes:
    """A note with one more signature line, in the place of an earlier one by the same key."""
    parsed, (added,) = parse_note(note), parse_note(b"-\n\n" + line.encode()).signatures
    kept = [each for each in parsed.signatures if (each.name, each.key_id) != (added.name, added.key_id)]
    return Note(parsed.text, (*kept, added)).encode()


def _of_the_log(note: bytes, origin: str) -> bytes:
    """The note with the log's own lines only: what other witnesses said is nobody's business."""
    parsed = parse_note(note)
    return Note(parsed.text, tuple(each for each in parsed.signatures if each.name == origin)).encode()
