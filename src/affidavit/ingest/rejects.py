"""Source records that do not go in: why, and the file that keeps them for a second try.

A reject never stops an import. It is named by file and line, and its record is kept, so that it can be mended
and imported again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from affidavit.errors import FieldError, Refused

__all__ = ["KEPT_CHARACTERS", "Reject", "RejectFile", "RejectedRecord"]

KEPT_CHARACTERS = 65_536
"""How much of an unreadable record's text a reject keeps."""


class RejectedRecord(Refused):
    """The source record cannot become an event.

    Attributes:
        field: the vendor's field, dotted, or a JSON pointer into the event; empty for the whole record.
        rule: the rule that was broken, a word in snake case such as ``required``.
    """

    category = "rejected_record"

    def __init__(self, field: str, rule: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message, (FieldError(field, rule, message),))
        self.field = field
        self.rule = rule


class Reject(msgspec.Struct, frozen=True):
    """One line of a reject file.

    Attributes:
        file: the source as it was named, ``stdin`` for standard input.
        line: where the record starts, counted from 1.
        field, rule: as in :class:`RejectedRecord`.
        error: one sentence for people.
        record: the decoded record; its text, cut at 65,536 characters, where it could not be decoded.
    """

    file: str
    line: int
    field: str
    rule: str
    error: str
    record: Any


class RejectFile:
    """Writes ``NAME.rejects.ndjson`` for each source that has rejects.

    A file is made at a source's first reject and holds the rejects of the last run only; a source without
    rejects makes none and removes the one of an earlier run. Only its owner may read it (0600): a
    record can hold what masking would have hidden.

    Args:
        folder: where the files go, by default the current directory.
        on_reject: told of each reject, after it was written.
    """

    def __init__(self, folder: Path | None = None, on_reject: Callable[[Reject], None] | None = None) -> None:
        self._folder = folder if folder is not None else Path()
        self._on_reject = on_reject
        self._open: IO[bytes] | None = None
        self._path: Path | None = None
        self.paths: list[Path] = []
        """The files that this run wrote."""

    def path_for(self, file: str) -> Path:
        """Where the rejects of a source go."""
        return self._folder / f"{Path(file).name or 'stdin'}.rejects.ndjson"

    def write(self, reject: Reject) -> None:
        """Append one reject.

        Raises:
            Refused: the file cannot be written.
        """
        try:
            file = self._file(self.path_for(reject.file))
            file.write(_line(reject))
        except OSError as error:
            raise Refused(f"The reject file cannot be written: {error}") from error
        if self._on_reject:
            self._on_reject(reject)

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        if self._open:
            self._open.flush()

    def forget(self, file: str) -> None:
        """Remove what an earlier run left for a source that has no rejects in this one."""
        path = self.path_for(file)
        if path not in self.paths:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file that is open."""
        if self._open:
            self._open.close()
        self._open = self._path = None

    def _file(self, path: Path) -> IO[bytes]:
        if self._open and self._path == path:
            return self._open
        self.close()
        if path in self.paths:
            self._open = path.open("ab")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            self._open = open(path, "xb", opener=_private)  # noqa: SIM115
            self.paths.append(path)
        self._path = path
        return self._open


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _line(reject: Reject) -> bytes:
    try:
        return msgspec.json.encode(reject) + b"\n"
    except (UnicodeEncodeError, RecursionError, msgspec.MsgspecError):
        text = repr(reject.record)[:KEPT_CHARACTERS].encode(errors="backslashreplace").decode()
        return msgspec.json.encode(msgspec.structs.replace(reject, record=text)) + b"\n"
