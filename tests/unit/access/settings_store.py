"""A database file with all settings on it, under a clock and entropy that the test holds."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

from affidavit.access.authentication import Authentication
from affidavit.access.events import AccessEvents
from affidavit.access.logins import LoginLinks
from affidavit.access.operator import OperatorToken
from affidavit.access.organizations import OrganizationSettings
from affidavit.access.sessions import WebSessions
from affidavit.access.tokens import TokenSettings
from affidavit.catalogs import ready_made
from affidavit.core.event import Draft, RecordedBy
from affidavit.core.row import Row, StoredEvent
from affidavit.recorder.intake import Intake, Rights
from affidavit.storage.sql.settings import SqlLogins, SqlOrganizations, SqlSessions, SqlTokens
from affidavit.storage.sqlite import database as sqlite

START = 1_790_000_000_000_000


class Settings:
    """Everything of :mod:`affidavit.access` on one SQLite file."""

    def __init__(self, folder: Path, operator: OperatorToken | None = None) -> None:
        self.now = START
        self._numbers = itertools.count()
        sqlite.migrate_file(folder / "a.db")
        self.database = sqlite.SqliteDatabase(folder / "a.db", None, clock=self.clock)
        stores = SqlOrganizations(self.database)
        self.intake = Intake(
            self.database.events.insert,
            clock=self.clock,
            entropy=self.entropy,
            catalogs=ready_made,
            organization_secret=lambda name: stores.secret(name, self.now, self.entropy(32)),
        )
        events = AccessEvents(self._prepare)
        self.organizations = OrganizationSettings(stores, events, clock=self.clock, entropy=self.entropy)
        self.tokens = TokenSettings(SqlTokens(self.database), events, clock=self.clock, entropy=self.entropy)
        self.logins = LoginLinks(SqlLogins(self.database), events, clock=self.clock, entropy=self.entropy)
        self.sessions = WebSessions(SqlSessions(self.database), events, clock=self.clock)
        self.authentication = Authentication(operator, self.tokens, self.sessions, clock=self.clock)

    def clock(self) -> int:
        return self.now

    def entropy(self, size: int) -> bytes:
        return hashlib.shake_256(next(self._numbers).to_bytes(8, "big")).digest(size)

    def recorded(self) -> list[StoredEvent]:
        """Every event, in recording order."""
        return self.database.events.after(0, 1000)

    def actions(self) -> list[tuple[str, str]]:
        """Organization and action of every event, in recording order."""
        return [(event.organization, event.action) for event in self.recorded()]

    def close(self) -> None:
        self.database.close()

    def _prepare(self, drafts: Sequence[Draft], organization: str, by: RecordedBy | None) -> list[Row]:
        return self.intake.prepare(drafts, organization=organization, by=by, rights=Rights(reserved=True))
