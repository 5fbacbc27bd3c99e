"""NDJSON with proofs: one receipt a line, and a last line that says how many there were.

A receipt is leaf, groups and proof (docs/spec/receipt.md): each line verifies by itself. An event that no
signed checkpoint covers yet cannot have one; the trailer counts those, and the last line proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from affidavit.core.row import StoredEvent
from affidavit.log.receipts import Receipts, Sweep

__all__ = ["rows"]

_MOST_LOGS = 64
"""Organizations whose trees are remembered at once."""


def rows(batches: Iterable[list[StoredEvent]], receipts: Receipts) -> Iterator[bytes]:
    """The file in chunks, one a batch, then the trailer.

    Args:
        batches: stored events with their places, in the order of the file.
        receipts: makes the lines.

    Raises:
        LogMismatch: an event is not what its leaf says; what came out so far is no export.
    """
    sweeps: dict[str, dict[int, Sweep]] = {}
    events = redacted = unpublished = 0
    for batch in batches:
        for run in _runs(batch):
            organization = run[0].organization
            if organization not in sweeps:
                if len(sweeps) >= _MOST_LOGS:
                    sweeps.clear()
                sweeps[organization] = receipts.newest(organization)
            made = receipts.many(run, sweeps[organization])
            events += len(made)
            unpublished += len(run) - len(made)
            redacted += sum(event.remains is not None for event in run)
            if made:
                yield b"\n".join([*made, b""])
    counts = {"events": events, "redacted": redacted, "unpublished": unpublished}
    yield msgspec.json.encode({"trailer": counts}) + b"\n"


def _runs(batch: list[StoredEvent]) -> Iterator[list[StoredEvent]]:
    """The batch, cut where the organization changes."""
    run: list[StoredEvent] = []
    for event in batch:
        if run and event.organization != run[0].organization:
            yield run
            run = []
        run.append(event)
    if run:
        yield run
