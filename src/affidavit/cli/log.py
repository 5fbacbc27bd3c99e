"""The log of the commands that run for long: to standard error, as loud as the setting says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from affidavit.config import Settings

__all__ = ["write_log"]


def write_log(settings: Settings) -> None:
    """Send this process's log to standard error."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
