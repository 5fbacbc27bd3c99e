"""What the worker works with: the log's parts and the follower of the index."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack

from affidavit.errors import LogMismatch
from affidavit.log.sequencer import Sequencer
from affidavit.log.upkeep import LogParts, Upkeep
from affidavit.storage.protocols import Follower
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Engine
from affidavit.wiring.engines import Where, engine_of
from affidavit.wiring.log import may_make_log, open_signer
from affidavit.wiring.spools import Drain, OpenSpools
from affidavit.wiring.stopped import stopped_parts
from affidavit.wiring.tasks import open_tasks
from affidavit.wiring.witnesses import open_cosigning

__all__ = ["open_follower", "open_upkeep"]


def open_follower(where: Where) -> Follower:
    """The follower that keeps the search index."""
    return engine_of(where).follower()


def open_upkeep(where: Where, *, at_once: bool = False) -> Upkeep:
    """The log's share of the worker.

    Args:
        where: the database.
        at_once: open the files now, so that what is wrong with them is raised here; else at the first step,
            and again while that fails.
    """
    engine = engine_of(where)
    if at_once:
        first = open_parts(engine)
        return Upkeep(lambda: open_parts(engine), monotonic=time.monotonic, clock=clock, first=first)
    return Upkeep(lambda: _open_or_stop(engine), monotonic=time.monotonic, clock=clock)


def _open_or_stop(engine: Engine) -> LogParts:
    """The parts; where the files are not of one history, those that can mend it on a person's word."""
    try:
        return open_parts(engine)
    except LogMismatch as mismatch:
        return stopped_parts(engine, mismatch)


def open_parts(where: Where) -> LogParts:
    """Open the log for the holder of the worker's lease.

    Raises:
        LogMismatch: the files are not of one history.
        StorageError: a file cannot be used.
    """
    engine = engine_of(where)
    with ExitStack() as opened:
        writer = engine.writer(make=may_make_log(engine))
        opened.callback(writer.close)
        signer, store = open_signer(engine, writer)
        opened.callback(store.close)
        opened.callback(signer.close)
        sequencer = Sequencer(
            writer,
            writer,
            writer,
            host=engine.settings.log_host,
            clock=clock,
            entropy=os.urandom,
            known=signer.known,
        )
        renewed = threading.Event()
        tasks = open_tasks(engine, writer, renewed.set)
        opened.callback(tasks.close)
        cosigning = open_cosigning(engine, writer)
        if cosigning is not None:
            opened.callback(cosigning.close)
        housekeeping = engine.housekeeping(opened.callback)
        spools = OpenSpools(engine)
        opened.callback(spools.close)
        close = opened.pop_all().close
    return LogParts(
        writer,
        sequencer,
        signer,
        tasks.runner,
        writer,
        close,
        cosigning,
        renewed.is_set,
        housekeeping,
        Drain(spools),
    )
