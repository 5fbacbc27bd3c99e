"""What a check of a database found, and what to do about it: the form that every engine answers in."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Finding", "State"]


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """What one check found.

    Attributes:
        check: a word or two.
        state: ok, warn or fail.
        found: a sentence about what is.
        advice: what to do; empty where all is well.
    """

    check: str
    state: State
    found: str
    advice: str = ""
