"""How a command ends: the exit codes, and one clear line for each error.

A traceback is shown only with ``AFFIDAVIT_DEBUG=1``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import IntEnum

from affidavit.cli.terminal import visible
from affidavit.errors import (
    AccessRefused,
    AffidavitError,
    ConfigError,
    InvalidQuery,
    LogError,
    LogMismatch,
    NotPublished,
    Refused,
    StorageError,
)

__all__ = ["Exit", "Failed", "UsageError", "exit_for", "refuse_flags", "report"]

SHOWN_ERRORS = 5
"""How many broken rules of one refusal are written out."""


class Exit(IntEnum):
    """The exit codes; their texts are those of ``docs/reference/cli.md``."""

    OK = 0
    INCOMPLETE = 1
    USAGE = 2
    REFUSED = 3
    STORAGE = 4
    INTERNAL = 70
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """One sentence for the documentation."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "Done. Also where the reader of a pipe, such as `head`, had enough.",
    Exit.INCOMPLETE: "Done in part, or something is not as it should be: records were rejected by `import`, "
    "`doctor` or `catalog check` found a fault.",
    Exit.USAGE: "The command line, a setting or a filter is wrong; nothing was done.",
    Exit.REFUSED: "The input breaks a rule, or what was named does not exist; nothing was stored.",
    Exit.STORAGE: "The database or a file cannot be used: missing, locked, full, read-only, damaged, "
    "or of another version.",
    Exit.INTERNAL: "A defect of the program.",
    Exit.INTERRUPTED: "Stopped by Ctrl-C.",
}


class UsageError(ConfigError):
    """The command line does not say what is needed."""


class Failed(AffidavitError):
    """The command is done in part; the message, if any, was said already."""

    def __init__(self, message: str = "", code: Exit = Exit.INCOMPLETE) -> None:
        super().__init__(message or "failed")
        self.said = not message
        self.code = code


def refuse_flags(words: Sequence[str]) -> None:
    """Refuse words that were meant as flags; a lone hyphen is standard input.

    Raises:
        UsageError: names the first.
    """
    for word in words:
        if word.startswith("-") and word != "-":
            raise UsageError(f"unknown option {word}; write ./{word} for a file of that name")


def exit_for(error: BaseException) -> Exit:
    """The exit code of an error, by its place in the tree of :mod:`affidavit.errors`."""
    if isinstance(error, Failed):
        return error.code
    if isinstance(error, ConfigError | InvalidQuery):
        return Exit.USAGE
    if isinstance(error, Refused | AccessRefused | NotPublished):
        return Exit.REFUSED
    if isinstance(error, LogMismatch):
        return Exit.INCOMPLETE
    if isinstance(error, StorageError | LogError | OSError):
        return Exit.STORAGE
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    return Exit.INTERNAL


def report(error: BaseException) -> Exit:
    """Say on standard error what went wrong, and give the exit code."""
    if os.environ.get("AFFIDAVIT_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    for text in _lines(error):
        sys.stderr.write(visible(text) + "\n")
    return exit_for(error)


def _lines(error: BaseException) -> list[str]:
    if isinstance(error, Failed) and error.said:
        return []
    if isinstance(error, KeyboardInterrupt):
        return ["stopped"]
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return [f"error: {place}{error.strerror or error}"]
    if not isinstance(error, AffidavitError):
        kind = type(error).__name__
        return [f"internal error: {kind}: {error}", "Set AFFIDAVIT_DEBUG=1 to see where it happened."]
    first, *rest = [f"error: {error.message}"]
    if isinstance(error, Refused) and len(error.errors) > 1:
        more = len(error.errors) - SHOWN_ERRORS
        rest = [f"  {broken.pointer}: {broken.message}" for broken in error.errors[:SHOWN_ERRORS]]
        rest += [f"  and {more} more"] if more > 0 else []
    return [first, *rest]
