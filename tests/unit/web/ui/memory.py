"""An instance in memory for tests of the pages: real events, real matching, no store."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette

from affidavit.access.abilities import EXPORT, LIST
from affidavit.access.logins import SignedIn
from affidavit.access.scope import ALL, Credential, Organizations
from affidavit.catalogs import ready_made
from affidavit.config import Settings
from affidavit.core.catalog import CatalogSet
from affidavit.core.credentials import LoginLink, Organization, WebSession
from affidavit.core.event import Draft, RecordedBy
from affidavit.core.filter import Filter
from affidavit.core.match import matches
from affidavit.core.prepare import Frame, Rights, prepare
from affidavit.core.row import COLUMNS, Recorded, Row, StoredEvent
from affidavit.errors import InvalidQuery, NotFound, NotSignedIn
from affidavit.log.reader import Bucket, Facets, Histogram, Page
from affidavit.web.app import create_app

NOW = 1_795_238_983_000_000
"""2026-11-21T05:29:43Z."""

COOKIE = "session-of-ana"
CODE = "code-of-ana"
RIGHTS = Rights(may_import=True, may_set_id=True, reserved=True, verified=True)


def stored(draft: Draft, seq: int = 1, organization: str = "acme", **columns: Any) -> StoredEvent:
    """An event as it comes out of a store, made by the real preparation; ``columns`` are then overwritten."""
    catalogs = ready_made()
    frame = Frame(
        organization=organization,
        fixed=False,
        source="api",
        by=RecordedBy(type="api_token", token_id="tok_1", token_name="ingest"),
        rights=RIGHTS,
        now=NOW,
        catalogs=catalogs,
        secret=lambda _: b"s" * 32,
        enrich=lambda _: {},
    )
    row = prepare(draft, frame, pointer="", moment=NOW - 1_000_000, random=os.urandom(40))
    values = dict(zip(COLUMNS, (*row.values, NOW), strict=True)) | columns
    return StoredEvent(seq, tuple(values[name] for name in COLUMNS))


class MemoryReader:
    """Answers from a list; ``step`` bounds how many events one page looks at, to make pages short."""

    def __init__(self, events: Sequence[StoredEvent], step: int = 1_000_000) -> None:
        self.events = sorted(events, key=lambda event: event.id, reverse=True)
        self.step = step
        self.at_least = False

    def _within(self, organizations: Organizations, asked: Filter) -> list[StoredEvent]:
        return [
            event
            for event in self.events
            if (organizations is ALL or event.organization in organizations) and matches(asked, event)
        ]

    def page(
        self,
        organizations: Organizations,
        filter_: Filter,
        *,
        limit: int = 50,
        order: Any = "desc",
        token: str | None = None,
    ) -> Page:
        at = 0
        if token is not None:
            prefix, _, number = token.partition("-")
            if prefix != "t":
                raise InvalidQuery.of(
                    "continuation_token", "token", "does not belong to this question", token
                )
            at = int(number)
        wanted = {id(event) for event in self._within(organizations, filter_)}
        found: list[StoredEvent] = []
        stop = at + self.step
        while at < min(len(self.events), stop) and len(found) < limit:
            if id(self.events[at]) in wanted:
                found.append(self.events[at])
            at += 1
        return Page(found, f"t-{at}" if at < len(self.events) else None, NOW, caught_up=False)

    def get(self, organizations: Organizations, event_id: bytes) -> StoredEvent:
        for event in self._within(organizations, Filter()):
            if event.id == event_id:
                return event
        raise NotFound()

    def histogram(self, organizations: Organizations, filter_: Filter, *, buckets: int = 60) -> Histogram:
        events = self._within(organizations, filter_)
        if not events:
            return Histogram([], 0, self.at_least, NOW)
        first, last = events[-1].occurred_at, events[0].occurred_at + 1
        width = -(-(last - first) // buckets)
        made = []
        for number in range(buckets):
            start = first + number * width
            inside = [event for event in events if start <= event.occurred_at < start + width]
            failed = sum(event.outcome == "failure" for event in inside)
            made.append(Bucket(start, start + width, len(inside), failed))
        return Histogram(made, len(events), self.at_least, NOW)

    def facets(
        self, organizations: Organizations, filter_: Filter, *, fields: Sequence[str] = (), top: int = 10
    ) -> Facets:
        events = self._within(organizations, filter_)
        read = {
            "actor": lambda event: event.actor_id,
            "action": lambda event: event.action,
            "source": lambda event: event.source,
        }
        counts = {name: Counter(read[name](event) for event in events).most_common(top) for name in fields}
        return Facets(counts, len(events), False, NOW)

    def export(
        self, organizations: Organizations, filter_: Filter, *, order: Any = "desc"
    ) -> Iterator[list[StoredEvent]]:
        yield self._within(organizations, filter_)


class _Authentication:
    def __init__(self, instance: MemoryInstance) -> None:
        self._instance = instance

    def recall(self, _text: str) -> Credential | None:
        return None

    def bearer(self, _text: str) -> Credential:
        raise NotSignedIn()

    def cookie(self, text: str) -> Credential:
        if text != COOKIE or self._instance.ended:
            raise NotSignedIn()
        return self._instance.credential

    def forget(self) -> None:
        self._instance.forgot = True


class _Logins:
    def __init__(self, instance: MemoryInstance) -> None:
        self._instance = instance

    def peek(self, code: str) -> LoginLink:
        if code != CODE or self._instance.consumed:
            raise NotSignedIn("This login link is unknown, was used or has expired.")
        credential = self._instance.credential
        return LoginLink(
            hash=b"",
            name=credential.name,
            organizations=credential.organizations,
            abilities=tuple(sorted(credential.abilities)),
            created_at=NOW,
            expires_at=NOW + 1,
        )

    def consume(self, code: str, *, address: str | None = None) -> SignedIn:
        link = self.peek(code)
        self._instance.consumed = True
        session = WebSession(
            id="ses_1",
            hash=b"",
            name=link.name,
            organizations=link.organizations,
            abilities=link.abilities,
            created_at=NOW,
            expires_at=NOW + 1,
        )
        return SignedIn(session=session, cookie=COOKIE)


class _Sessions:
    def __init__(self, instance: MemoryInstance) -> None:
        self._instance = instance

    def end(self, cookie: str, *, address: str | None = None) -> None:
        assert cookie == COOKIE
        self._instance.ended = True


class _Organizations:
    def __init__(self, instance: MemoryInstance) -> None:
        self._instance = instance

    def list(self, organizations: Organizations) -> list[Organization]:
        names = self._instance.names
        return [Organization(name=name, created_at=0) for name in names]

    def exists(self, name: str) -> bool:
        return name in self._instance.names


class _Intake:
    def prepare(self, drafts: Sequence[Draft], **_rest: Any) -> list[Row]:
        return []


class MemoryInstance:
    """What :class:`affidavit.web.instance.Instance` asks for, over a list of events."""

    def __init__(
        self,
        events: Sequence[StoredEvent] = (),
        *,
        organizations: Organizations = ("acme",),
        abilities: Sequence[str] = (LIST, EXPORT),
        name: str = "ana",
        step: int = 1_000_000,
    ) -> None:
        self.reader = MemoryReader(events, step)
        self.catalogs: CatalogSet = ready_made()
        self.credential = Credential(
            kind="session",
            id="ses_1",
            name=name,
            organizations=organizations,
            abilities=frozenset(abilities),
        )
        self.names = sorted({event.organization for event in events})
        self.ended = self.consumed = self.forgot = False
        self.authentication = _Authentication(self)
        self.logins = _Logins(self)
        self.sessions = _Sessions(self)
        self.organizations = _Organizations(self)
        self.tokens = None
        self.intake = _Intake()

    async def submit(self, _rows: Sequence[Row]) -> list[Recorded]:
        return []

    def insert(self, _rows: Sequence[Row]) -> list[Recorded]:
        return []

    def health(self) -> Mapping[str, Any]:
        return {}


def app_of(instance: MemoryInstance, *, page: str = "/audit") -> Starlette:
    """The real application over it."""
    return create_app(instance, settings=Settings(), page=page, clock=lambda: NOW)  # type: ignore[arg-type]
