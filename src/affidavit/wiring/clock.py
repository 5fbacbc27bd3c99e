"""The clock of the product."""

from __future__ import annotations

import time

__all__ = ["clock"]


def clock() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1_000
