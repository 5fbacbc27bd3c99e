"""NDJSON with proofs: one receipt a line, and a last line that says how many there were.

A receipt is leaf, groups and proof (docs/spec/receipt.md), all under one checkpoint of one tree. An event
that this checkpoint does not cover has no receipt here; the trailer counts those, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from affidavit.core.row import StoredEvent
from affidavit.log.receipts import Receipts, Sweep

__all__ = ["rows"]


def rows(batches: Iterable[list[StoredEvent]], receipts: Receipts, sweep: Sweep) -> Iterator[bytes]:
    """The file in chunks, one a batch, then the trailer.

    Args:
        batches: stored events with their places, in the order of the file.
        receipts: makes the lines.
        sweep: the checkpoint that all proofs lead to.

    Raises:
        LogMismatch: an event is not what its leaf says; what came out so far is no export.
    """
    events = redacted = unpublished = 0
    for batch in batches:
        made = receipts.many(batch, sweep)
        events += len(made)
        unpublished += len(batch) - len(made)
        redacted += sum(lost for _, lost in made)
        if made:
            yield b"\n".join([*(line for line, _ in made), b""])
    counts = {"events": events, "redacted": redacted, "unpublished": unpublished}
    yield msgspec.json.encode({"trailer": counts}) + b"\n"
