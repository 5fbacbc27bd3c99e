"""An intake with the real rules and a dictionary for a database."""

from __future__ import annotations

from collections.abc import Sequence

from affidavit.catalogs import ready_made
from affidavit.core.event import Draft
from affidavit.core.prepare import Rights
from affidavit.core.row import Recorded, Row
from affidavit.ingest.importers import Importer
from affidavit.recorder.intake import Intake

NOW = 1_795_000_000_000_000
"""In November 2026, after every record of the shared data."""


class MemoryIntake:
    """Records into memory as ``affidavit import`` records into a database."""

    def __init__(self, importer: Importer) -> None:
        self.rows: dict[bytes, Row] = {}
        self.drafts: dict[bytes, Draft] = {}
        self.batches: list[int] = []
        self._rights = Rights(may_import=True, may_set_id=True, compare=False, unmasked=importer.unmasked)
        self._intake = Intake(
            self._insert,
            clock=lambda: NOW,
            entropy=bytes,
            catalogs=ready_made,
            organization_secret=lambda organization: organization.encode().ljust(32, b"\0"),
        )

    def record(self, drafts: Sequence[Draft]) -> list[Recorded]:
        """The function that an import run gets."""
        recorded = self._intake.record(drafts, organization="acme", rights=self._rights)
        self.batches.append(len(drafts))
        for answer, draft in zip(recorded, drafts, strict=True):
            self.drafts.setdefault(answer.id, draft)
        return recorded

    def _insert(self, rows: Sequence[Row]) -> list[Recorded]:
        answers = []
        for row in rows:
            answers.append(Recorded(row.id, row.id in self.rows))
            self.rows.setdefault(row.id, row)
        return answers
