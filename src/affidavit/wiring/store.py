"""One opened product: what server and command line work with."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from affidavit.access.authentication import Authentication
from affidavit.access.ciphers import TokenCipher, load_key
from affidavit.access.events import AccessEvents
from affidavit.access.logins import LoginLinks
from affidavit.access.operator import OperatorToken, load_operator_token
from affidavit.access.organizations import OrganizationSettings
from affidavit.access.sessions import WebSessions
from affidavit.access.tokens import TokenSettings
from affidavit.catalogs import ready_made
from affidavit.config import make_data_dir
from affidavit.core.catalog import CatalogSet
from affidavit.core.event import Draft, RecordedBy
from affidavit.core.row import Recorded, Row
from affidavit.enrich.client import label
from affidavit.enrich.context import Enrichment
from affidavit.log.entries import Entries
from affidavit.log.erasure.requests import Erasures
from affidavit.log.prover import Prover
from affidavit.log.reader import Reader
from affidavit.log.receipts import Receipts
from affidavit.log.retention.holds import LegalHolds
from affidavit.log.retention.orders import ExpiryOrders
from affidavit.log.retention.past import Past
from affidavit.log.retention.policies import RetentionSettings
from affidavit.log.retention.previews import Previews
from affidavit.log.tiles import Tiles
from affidavit.recorder.intake import Intake, Rights
from affidavit.storage.settings import CatalogStore
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Database, Engine
from affidavit.wiring.engines import Where, engine_of

__all__ = [
    "Instance",
    "LiveCatalogs",
    "clock",
    "migrate",
    "open_store",
    "planned_migrations",
]


class LiveCatalogs:
    """The known catalogs with those of the database laid over them, read anew every few seconds.

    Args:
        store: of the pushed catalogs.
        monotonic: seconds.
        known: to begin with; by default the ready-made ones.
    """

    SECONDS = 5.0
    """How long a push by another process may stay unseen."""

    def __init__(
        self,
        store: CatalogStore,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        known: CatalogSet | None = None,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._documents: list[bytes] | None = None
        self._known = ready_made() if known is None else known
        self._set = self._known
        self._read_at = 0.0

    def __call__(self) -> CatalogSet:
        """The catalogs in force."""
        now = self._monotonic()
        if self._documents is None or now - self._read_at >= self.SECONDS:
            self.refresh()
            self._read_at = now
        return self._set

    def refresh(self) -> None:
        """Read them now."""
        documents = self._store.current()
        if documents != self._documents:
            pushed = [CatalogSet.from_document(msgspec.json.decode(document)) for document in documents]
            self._set = self._known.merge(*pushed)
            self._documents = documents


class Instance:
    """A running product in one process; see :func:`open_store`.

    Attributes:
        intake: prepares and records events.
        reader: answers questions.
        log: the trees, manifests and alarms.
        prover: makes proofs from them.
        entries: what their leaves stand for.
        tiles, receipts: what they publish.
        organizations, tokens, logins, sessions: settings, each change an event.
        tasks: work for the holder of the worker's lease.
        erasures: of personal data, asked for and looked at.
        retention, holds: policies and legal holds, each change an event.
        retention_previews: what expiry and pruning would do now.
        expiry_orders: orders runs of expiry.
        catalog_store: pushed catalogs.
        authentication: recognises credentials.
    """

    def __init__(
        self,
        engine: Engine,
        database: Database,
        source: str,
        catalogs: CatalogSet | None = None,
        *,
        operator: bool = True,
    ) -> None:
        self.engine = engine
        self.settings = settings = engine.settings
        self._database = database
        entropy = os.urandom
        organizations = database.organizations
        self.catalog_store = database.catalogs
        self._catalogs = LiveCatalogs(self.catalog_store, known=catalogs)
        enrichment = Enrichment(settings.geoip)
        self.intake = Intake(
            database.events.insert,
            clock=clock,
            entropy=entropy,
            catalogs=self._catalogs,
            organization_secret=lambda name: organizations.secret(name, clock(), secrets.token_bytes(32)),
            enrich=enrichment,
            source=source,
        )
        self.tasks = database.tasks
        self.erasures = Erasures(self.tasks, clock=clock, entropy=entropy)
        self.log = database.log
        self.prover = Prover(database.log)
        self.entries = Entries(database.log, database.events, database.log)
        self.tiles = Tiles(database.log, self.entries)
        self.receipts = Receipts(database.log, self.entries)
        self.access_events = AccessEvents(self._prepare_ours, source)
        make_data_dir(settings)
        self.reader = Reader(
            database.events,
            database.index,
            database.log,
            TokenCipher(load_key(settings.data_dir / "token.key", entropy), entropy),
        )
        self.organizations = OrganizationSettings(
            organizations, self.access_events, clock=clock, entropy=entropy
        )
        self.tokens = TokenSettings(database.tokens, self.access_events, clock=clock, entropy=entropy)
        self.logins = LoginLinks(database.logins, self.access_events, clock=clock, entropy=entropy)
        self.sessions = WebSessions(database.sessions, self.access_events, clock=clock)
        policies, holds, past = database.policies, database.holds, database.past
        self.retention = RetentionSettings(policies, self.access_events)
        self.holds = LegalHolds(holds, self.access_events, clock=clock, entropy=entropy)
        self.retention_previews = Previews(Past(policies, holds, past), past, database.log, clock=clock)
        self.expiry_orders = ExpiryOrders(self.tasks, clock=clock, entropy=entropy)
        self._has_operator = operator
        self._authentication: Authentication | None = None

    def _prepare_ours(self, drafts: Sequence[Draft], organization: str, by: RecordedBy | None) -> list[Row]:
        return self.intake.prepare(drafts, organization=organization, by=by, rights=Rights(reserved=True))

    @property
    def catalogs(self) -> CatalogSet:
        """The catalogs in force."""
        return self._catalogs()

    @property
    def authentication(self) -> Authentication:
        """Recognises credentials; where there is an operator's token, it is made at the first use."""
        if self._authentication is None:
            operator: OperatorToken | None = None
            if self._has_operator:
                operator = load_operator_token(self.settings.data_dir / "operator.token", os.urandom)
            self._authentication = Authentication(operator, self.tokens, self.sessions, clock=clock)
        return self._authentication

    def warm(self) -> None:
        """Load what the first event with a browser's name would wait half a second for."""
        label("Mozilla/5.0 (X11; Linux x86_64; rv:1.0) Gecko/20100101 Firefox/1.0")

    def submit(self, rows: Sequence[Row]) -> Awaitable[list[Recorded]]:
        """Store rows in a transaction shared with other requests; done when it is durable."""
        return self._database.submit(rows)

    def insert(self, rows: Sequence[Row]) -> list[Recorded]:
        """Store rows in a transaction of their own; durable on return."""
        return self._database.events.insert(rows)

    @property
    def database(self) -> Database:
        """The stores, for what else is built on them here in wiring."""
        return self._database

    @property
    def is_demo(self) -> bool:
        """Whether the database holds generated data."""
        return self.demo_mark is not None

    @property
    def demo_mark(self) -> str | None:
        """What :meth:`mark_demo` noted last; ``None`` for a database of real events."""
        return self._database.meta("demo")

    def mark_demo(self, note: str) -> None:
        """Note that the database holds generated data, and how it was made."""
        self._database.set_meta("demo", note)

    def health(self) -> Mapping[str, Any]:
        """Where the queue and the index stand, for operators; raises where the database does not answer."""
        progress = self.reader.progress()
        waited = clock() - progress.waiting_since if progress.waiting_since is not None else 0
        queue = self._database.waiting()
        age = clock() - queue.since if queue.since is not None else 0
        return {
            "events": progress.seq + progress.behind,
            "queue_events": queue.events,
            "queue_age_seconds": max(0, age) / 1_000_000,
            "alarms": len(self.log.alarms()) + self._log_is_lost(),
            "index_position": progress.seq,
            "index_behind_events": progress.behind,
            "index_behind_seconds": max(0, waited) / 1_000_000,
        }

    def _log_is_lost(self) -> bool:
        """There is a guard and no log file, which therefore cannot hold the alarm itself."""
        return self.settings.guard_path.exists() and not self.engine.log_exists()

    def close(self) -> None:
        """Commit what waits and close the files."""
        self._database.close()


def open_store(
    where: Where,
    *,
    migrate: bool = False,
    source: str = "api",
    catalogs: CatalogSet | None = None,
    operator: bool = True,
) -> Instance:
    """Open a database.

    Args:
        where: the database.
        migrate: make or upgrade the schema first; else a missing or older one is an error.
        source: channel of events that name none, and of changes of settings that name none.
        catalogs: known before those of the database; by default the ready-made ones.
        operator: whether the operator's token is a credential here.

    Raises:
        StorageError: it cannot be used; the message says what to do.
    """
    engine = engine_of(where)
    if migrate:
        engine.migrate()
    database = engine.open()
    try:
        return Instance(engine, database, source, catalogs, operator=operator)
    except BaseException:
        database.close()
        raise


def migrate(where: Where) -> list[tuple[int, str]]:
    """Make or upgrade the schema; number and name of each step that was applied."""
    return engine_of(where).migrate()


def planned_migrations(where: Where) -> list[tuple[int, str]]:
    """Number and name of each step that :func:`migrate` would apply."""
    return engine_of(where).planned()
