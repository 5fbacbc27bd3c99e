"""What discloses the values of entries: the lines of ``groups.ndjson``, or one receipt after the other.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from affidavit.core.entry import Opening, read_groups
from affidavit.core.unsound import Malformed
from affidavit.core.verdict import Verdict

__all__ = ["Groups", "Openings"]


class Openings(Protocol):
    """What discloses the values of entries."""

    def take(self, index: int) -> Sequence[Opening] | Malformed:
        """Of this entry: groups with their digests, or why they cannot be read; empty where none is."""
        ...

    def finish(self) -> None:
        """The last entry has been judged."""
        ...


class Groups:
    """The lines of ``groups.ndjson``, each handed out when its entry comes by.

    Args:
        lines: in index order.
        verdict: is told of lines without an entry.

    Attributes:
        line: the next one.
        index: of the entry that it discloses; -1 after the last line.
    """

    def __init__(self, lines: Iterator[list[bytes]], verdict: Verdict) -> None:
        self._lines = (line for found in lines for line in found)
        self._verdict = verdict
        self.line = b""
        self.index = -1
        self.advance()

    def advance(self) -> None:
        """Go on to the next line.

        Raises:
            Malformed: it names no index, or none above the last.
        """
        line = next(self._lines, None)
        if line is None:
            self.index = -1
            return
        digits = line[1 : line.find(b",")]
        if not digits.isdigit() or len(digits) > 19:
            raise Malformed("a line of groups.ndjson", "must begin with an index", line[:40])
        index = int(digits)
        if index <= self.index:
            raise Malformed("groups.ndjson", "must have its lines in index order", index)
        self.line, self.index = line, index

    def take(self, index: int) -> Sequence[Opening] | Malformed:
        """What discloses the groups of this entry, or why its line cannot be read; empty where none is.

        Raises:
            Malformed: lines out of order, or one that names no index.
        """
        while -1 < self.index < index:
            self._skip()
        if self.index != index:
            return ()
        line = self.line
        self.advance()
        try:
            return read_groups(line)[1]
        except Malformed as error:
            return error

    def finish(self) -> None:
        """Name the lines that nobody took."""
        while self.index >= 0:
            self._skip()

    def _skip(self) -> None:
        self._verdict.fail("groups.ndjson", "discloses an entry that is not here", position=self.index)
        self.advance()
