"""A process that sequences and does nothing else of a worker's work: what the chaos tests start and kill.

``python -m tests.faults.sequencing URL lease|free`` works under the worker's lease, or, with ``free``, as if
there were none.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time

from affidavit.errors import AffidavitError
from affidavit.log.sequencer import Sequencer
from affidavit.log.upkeep import LogParts, Upkeep
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.lease import Lease
from affidavit.storage.postgres.log_writer import PostgresLogWriter

HOST = "log.example"
TICK = 0.05


class Nothing:
    """Takes the place of the signer and of the tasks."""

    def step(self) -> int:
        """Does nothing."""
        return 0


def parts(address: Address, lease: Lease | None) -> LogParts:
    """What a worker has, less signer and tasks."""
    writer = PostgresLogWriter(address, fence=None if lease is None else lease.check)
    sequencer = Sequencer(
        writer, writer, writer, host=HOST, clock=lambda: time.time_ns() // 1000, entropy=os.urandom
    )
    nothing = Nothing()
    return LogParts(writer, sequencer, nothing, nothing, writer, writer.close)  # type: ignore[arg-type]


def sequence(url: str, mode: str) -> None:
    """Until it is killed."""
    logging.disable(logging.ERROR)
    address = Address(url)
    wait = threading.Event().wait
    lease = Lease(address) if mode == "lease" else None
    while True:
        try:
            while lease is not None and not lease.take():
                wait(TICK)
        except AffidavitError:
            wait(TICK)
            continue
        upkeep = Upkeep(lambda: parts(address, lease), monotonic=time.monotonic, clock=lambda: 0)
        while lease is None or lease.held:
            if not upkeep.step():
                wait(TICK)
        upkeep.close()


if __name__ == "__main__":
    sequence(*sys.argv[1:])
