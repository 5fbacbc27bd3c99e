"""What the file of the guard holds, raw, for ``affidavit fsck``, whatever engine keeps the events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from affidavit.storage.evidence import Fault, Record
from affidavit.storage.sqlite.evidence_file import EvidenceFile

__all__ = ["SqliteGuardEvidence"]


class SqliteGuardEvidence:
    """:class:`affidavit.storage.evidence.GuardEvidence` of a guard that is a file.

    Args:
        guard: the file; it may be missing.
    """

    def __init__(self, guard: Path) -> None:
        self._file = EvidenceFile(guard, "guard")

    def faults(self) -> Iterator[Fault]:
        """See the role."""
        return self._file.faults(whole=True)

    def tables(self) -> Mapping[str, list[Record]] | None:
        """See the role."""
        return self._file.tables() if self._file.exists else None

    def head(self, origin: str) -> Record | None:
        """See the role."""
        rows = self._file.records("affidavit_guard_heads", "WHERE origin = ?", (origin,))
        return rows[0] if rows else None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
