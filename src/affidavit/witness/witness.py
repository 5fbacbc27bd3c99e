"""The witness: remembers, and signs what agrees with what it remembers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from affidavit.core.checkpoint import Opened
from affidavit.core.note import Note
from affidavit.errors import ConfigError, StorageError
from affidavit.witness.keys import WitnessKey, load_witness_key, make_witness_key
from affidavit.witness.rules import (
    Inconsistent,
    Refusal,
    Remembered,
    Request,
    check_growth,
    is_fork,
    open_request,
    parse_request,
)
from affidavit.witness.state import Cosigned, Refused, WitnessState
from affidavit.witness.trust import Trusted

__all__ = ["KEY_FILE", "STATE_FILE", "Witness", "open_key"]

log = logging.getLogger("affidavit.witness")

KEY_FILE = "witness.key"
STATE_FILE = "witness.db"
"""Their names in the data directory."""


class Witness:
    """One witness.

    Args:
        key: what it signs with.
        trusted: the logs that it serves.
        state: what it remembers.
        clock: microseconds since 1970 UTC.

    Raises:
        ConfigError: its key is also that of a log, so that the log could cosign for itself.
    """

    def __init__(
        self, key: WitnessKey, trusted: Trusted, state: WitnessState, *, clock: Callable[[], int]
    ) -> None:
        if key.verifier.key in trusted.keys:
            raise ConfigError(
                f"the key of the witness {key.verifier.name} is the key of a log that it watches"
            )
        self._key = key
        self._trusted = trusted
        self._state = state
        self._clock = clock

    def add_checkpoint(self, body: bytes) -> str:
        """Cosign a checkpoint that extends the last one of its log; it is remembered when this returns.

        Args:
            body: of the request.

        Returns:
            The signature line.

        Raises:
            Refusal: in one of its kinds.
            StorageError: the memory failed; nothing is signed.
        """
        request = parse_request(body)
        opened = open_request(request, self._trusted.keys_of)
        checkpoint = opened.checkpoint
        seen: Remembered | None = None
        try:
            # 1. Check against the memory, 2. sign, 3. remember, all in one transaction; 4. say so.
            with self._state.transaction():
                last = self._state.last(checkpoint.origin)
                seen = last.seen if last is not None else None
                check_growth(seen, request)
                seconds = self._now(last)
                line = self._key.cosign(opened.note.text, seconds)
                now = Cosigned(
                    Remembered(checkpoint.size, checkpoint.root), seconds, self._note(opened, line)
                )
                self._state.remember(checkpoint.origin, origin_hash(checkpoint.origin), now)
            return line
        except Refusal as refusal:
            self._keep_evidence(request, seen, refusal)
            raise

    def checkpoint(self, wanted: str) -> bytes | None:
        """The cosigned checkpoint of the log whose origin has this SHA-256 (hex), if there is one."""
        return self._state.note(wanted)

    def _now(self, last: Cosigned | None) -> int:
        """Seconds since 1970 UTC, never before what was signed last.

        A clock that is set back must not make the witness say of a greater tree that it came earlier.
        """
        now = self._clock() // 1_000_000
        return max(now, last.seconds) if last is not None else now

    def _note(self, opened: Opened, line: str) -> bytes:
        """The checkpoint with the signatures that were checked and ours, and no others."""
        trusted = {(each.name, each.key_id) for each in opened.signers}
        own = tuple(each for each in opened.note.signatures if (each.name, each.key_id) in trusted)
        return Note(opened.note.text, own).encode() + line.encode()

    def _keep_evidence(self, request: Request, seen: Remembered | None, refusal: Refusal) -> None:
        """A signed checkpoint that is not shown to agree with what was seen may convict its log, and stays.

        A stale old size alone does not: it is how a log asks where to begin.
        """
        checkpoint = request.checkpoint
        this = Remembered(checkpoint.size, checkpoint.root)
        fork = is_fork(seen, checkpoint)
        if seen in (None, this) or not (fork or isinstance(refusal, Inconsistent)):
            return
        reason = f"size {checkpoint.size} has another root than the one cosigned" if fork else str(refusal)
        now = self._clock() // 1_000_000
        refused = Refused(checkpoint.origin, this, now, reason, request.note)
        try:
            added = self._state.keep(refused)
        except StorageError as error:
            log.error("%s", error.message)
            return
        if added:
            log.warning("Refused a signed checkpoint of %s, which is kept: %s", checkpoint.origin, reason)


def origin_hash(origin: str) -> str:
    """How a log is named in the address of its checkpoint: SHA-256 of the origin, hex."""
    return sha256(origin.encode()).hexdigest()


def open_key(
    folder: Path, name: str | None, entropy: Callable[[int], bytes]
) -> tuple[WitnessKey, WitnessState]:
    """The key and the memory of the witness in a data directory, made together at its first start.

    Args:
        folder: the data directory, which is there.
        name: of the witness; needed for a new one, and must otherwise be the one it has.
        entropy: that many random bytes.

    Raises:
        ConfigError: a new witness without a name, another name, one of the two files is missing or wrong.
        StorageError: the memory cannot be used.
    """
    path, memory = folder / KEY_FILE, folder / STATE_FILE
    new = not path.exists()
    if new and memory.exists():
        raise ConfigError(f"The memory {memory} is there, but its key {path} is missing; restore it.")
    if new:
        if name is None:
            raise ConfigError(
                f"There is no witness in {folder}; name a new one with --name, as in example.org/w1"
            )
        # The memory is made last: a crash between the two leaves a key that has signed nothing.
        key = make_witness_key(path, name, entropy)
    else:
        key = load_witness_key(path)
        if name is not None and name != key.verifier.name:
            raise ConfigError(f"the witness in {folder} is named {key.verifier.name}, not {name}")
    return key, WitnessState(memory, key.verifier.vkey, make=new)
