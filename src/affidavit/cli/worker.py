"""``affidavit worker``: the worker process alone, beside servers that do not start one."""

from __future__ import annotations

from affidavit.cli.log import write_log
from affidavit.cli.options import SERVING_NOTHING_GIVEN, Serving

__all__ = ["command"]


def command(*, settings: Serving = SERVING_NOTHING_GIVEN) -> None:
    """Grow and sign the log and keep the search index up to date, until SIGTERM or Ctrl-C.

    serve starts one by itself; run this where serve has --no-worker. Of several, the one that holds the lease
    works and the others wait.
    """
    from affidavit.worker import run_worker

    chosen = settings.settings()
    write_log(chosen)
    run_worker(chosen)
