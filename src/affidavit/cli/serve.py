"""``affidavit serve``: the page, the API and the worker, from one command."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from affidavit import __version__
from affidavit.cli.instance import is_new, opened
from affidavit.cli.log import write_log
from affidavit.cli.login import login_link, page_address
from affidavit.cli.options import SERVING_NOTHING_GIVEN, Serving
from affidavit.cli.output import line

if TYPE_CHECKING:
    from affidavit.config import Settings
    from affidavit.wiring import Instance

__all__ = ["command", "run"]

log = logging.getLogger("affidavit.log")


def command(*, settings: Serving = SERVING_NOTHING_GIVEN) -> None:
    """Serve the page at /audit and the API, and keep one worker process running.

    A database that does not exist is made; one of an older version is not touched: run affidavit migrate. At
    the first start a login link is printed; affidavit login makes more. SIGTERM and Ctrl-C end it
    after the requests under way.
    """
    chosen = settings.settings()
    # Somebody else may have made the tables; who has no token yet has never served here.
    first = is_new(chosen) or not (chosen.data_dir / "operator.token").exists()
    with opened(chosen, make=True, source="api") as instance:
        run(instance, chosen, welcome=first)


def run(instance: Instance, settings: Settings, *, welcome: bool) -> None:
    """Serve an open instance until it is told to end, and say where.

    Args:
        instance: what is served.
        settings: the address to listen on, and the rest.
        welcome: whether to print a login link.
    """
    from affidavit.server import serve
    from affidavit.wiring.log import log_standing

    def ready(port: int) -> None:
        line(f"Affidavit {__version__} serves {page_address(settings, port)}")
        if welcome:
            line("Sign in, once, within ten minutes:")
            line(login_link(instance, settings, port=port))
        else:
            line("For a link that signs you in: affidavit login")
        sys.stdout.flush()

    write_log(settings)
    for alarm in log_standing(settings, instance.database, thorough=False):
        # It serves all the same: recording must go on where signing has stopped.
        log.warning("%s: %s", alarm.kind, alarm.text)
    serve(instance, settings, ready)
