"""The suites of the settings' roles."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from affidavit.core.credentials import ALL, LoginLink, Organization, Token, WebSession
from affidavit.core.row import Row
from affidavit.errors import IdConflict
from affidavit.testing.author import NOW, Author
from affidavit.testing.conformance.suite import Suite, at_once, seal
from affidavit.testing.engine import Engine, Stores

__all__ = [
    "CatalogStoreSuite",
    "LoginStoreSuite",
    "OrganizationStoreSuite",
    "SessionStoreSuite",
    "TokenStoreSuite",
]

DAY = 24 * 3600 * 1_000_000


class SettingsSuite(Suite):
    """The event that goes with a change, and one that the store must refuse."""

    @pytest.fixture
    def row(self, author: Author) -> Row:
        """An event that says that something changed."""
        return author.row("settings.change")

    @pytest.fixture
    def refused(self, stores: Stores, author: Author) -> Row:
        """An event that cannot be stored: other content stands under its id."""
        stores.events.insert([author.row("first.content", idempotency_key="k", occurred_at=NOW)])
        return author.row("other.content", idempotency_key="k", occurred_at=NOW)


def actions(stores: Stores) -> list[str]:
    """The actions recorded so far."""
    seal(stores)
    return [event.action for event in stores.events.after(0, 100)]


def rows_of(author: Author) -> list[Row]:
    """An event for each of four callers."""
    return [author.row(f"settings.by_{number}") for number in range(4)]


class OrganizationStoreSuite(SettingsSuite):
    """Organizations and their secrets."""

    ACME = Organization(name="acme", created_at=NOW)

    def test_a_declared_organization_is_listed(self, stores: Stores, row: Row) -> None:
        """With its event, once; a second declaration stores nothing."""
        store = stores.organizations
        assert store.get("acme") is None
        assert store.declare(self.ACME, b"a" * 32, [row])
        assert not store.declare(Organization(name="acme", created_at=NOW + 5), b"b" * 32, [row])
        assert store.get("acme") == self.ACME
        assert store.list() == [self.ACME]
        assert store.secret("acme", NOW, b"c" * 32) == b"a" * 32
        assert actions(stores) == ["settings.change"]

    def test_a_secret_comes_once_and_stays(self, engine: Engine, database: str, stores: Stores) -> None:
        """Made on the way it is no declaration; declaring it later keeps the secret."""
        store = stores.organizations
        assert store.secret("acme", NOW, b"a" * 32) == b"a" * 32
        assert store.secret("acme", NOW, b"b" * 32) == b"a" * 32
        found = store.get("acme")
        assert found is not None
        assert not found.declared
        assert store.declare(self.ACME, b"c" * 32, [])
        assert engine.open(database).organizations.secret("acme", NOW, b"d" * 32) == b"a" * 32

    def test_first_callers_at_once_get_one_secret(self, engine: Engine, database: str) -> None:
        """Else the ids of their keyed events would differ."""
        stores = [engine.open(database) for _ in range(4)]
        calls = (
            partial(store.organizations.secret, "acme", NOW, bytes([number]) * 32)
            for number, store in enumerate(stores)
        )
        assert len(set(at_once(*calls))) == 1

    def test_declared_by_many_at_once_it_is_declared_once(
        self, engine: Engine, database: str, author: Author
    ) -> None:
        """One of them is told so, and its event alone is stored."""
        stores = [engine.open(database) for _ in range(4)]
        calls = [
            partial(store.organizations.declare, self.ACME, bytes([number]) * 32, [row])
            for number, (store, row) in enumerate(zip(stores, rows_of(author), strict=True))
        ]
        answers = at_once(*calls)
        assert sorted(answers, key=repr) == [False, False, False, True]
        assert actions(stores[0]) == [f"settings.by_{answers.index(True)}"]

    def test_an_organization_with_events_exists(self, stores: Stores, author: Author) -> None:
        """Declared or not."""
        store = stores.organizations
        assert not store.exists("acme")
        stores.events.insert([author.row()])
        assert store.exists("acme")
        assert not store.exists("acm")
        assert store.get("acme") is None
        store.declare(Organization(name="globex", created_at=NOW), b"a" * 32, [])
        assert store.exists("globex")

    def test_change_and_event_are_stored_together(self, stores: Stores, refused: Row) -> None:
        """Where the event is refused, nothing was declared."""
        with pytest.raises(IdConflict):
            stores.organizations.declare(self.ACME, b"a" * 32, [refused])
        assert stores.organizations.get("acme") is None
        assert actions(stores) == ["first.content"]


class TokenStoreSuite(SettingsSuite):
    """API tokens."""

    TOKEN = Token(
        id="tok_1",
        name="CI",
        hash=b"h" * 32,
        organizations=("acme", "globex"),
        abilities=("events:write",),
        created_at=NOW,
        created_by="operator",
        expires_at=NOW + DAY,
    )

    def test_a_token_is_found_by_id_and_by_hash(
        self, engine: Engine, database: str, stores: Stores, row: Row
    ) -> None:
        """All of it comes back, also for another process."""
        stores.tokens.add(self.TOKEN, {"acme": b"a" * 32}, [row])
        for store in (stores.tokens, engine.open(database).tokens):
            assert store.get("tok_1") == store.find(b"h" * 32) == self.TOKEN
            assert store.get("tok_2") is None
            assert store.find(b"i" * 32) is None
            assert store.list() == [self.TOKEN]
        assert stores.organizations.secret("acme", NOW, b"b" * 32) == b"a" * 32
        assert actions(stores) == ["settings.change"]

    def test_tokens_are_listed_oldest_first(self, stores: Stores) -> None:
        """Revoked ones too."""
        for number, age in enumerate((5, 9, 1)):
            token = msgspec.structs.replace(
                self.TOKEN, id=f"tok_{number}", hash=bytes([number]) * 32, created_at=NOW - age
            )
            stores.tokens.add(token, {}, [])
        stores.tokens.revoke("tok_1", NOW, [])
        assert [token.id for token in stores.tokens.list()] == ["tok_1", "tok_0", "tok_2"]

    def test_a_revocation_is_seen_at_once_and_happens_once(
        self, engine: Engine, database: str, stores: Stores, row: Row, author: Author
    ) -> None:
        """By every process; the second one keeps the first moment and stores no event."""
        stores.tokens.add(self.TOKEN, {}, [])
        other = engine.open(database)
        stores.tokens.revoke("tok_1", NOW + 1, [row])
        found = other.tokens.find(b"h" * 32)
        assert found is not None
        assert found.revoked_at == NOW + 1
        other.tokens.revoke("tok_1", NOW + 2, [author.row("settings.again")])
        other.tokens.revoke("tok_2", NOW + 2, [author.row("settings.unknown")])
        assert stores.tokens.get("tok_1") == found
        assert actions(stores) == ["settings.change"]

    def test_revoked_by_many_at_once_it_is_revoked_once(
        self, engine: Engine, database: str, stores: Stores, author: Author
    ) -> None:
        """One moment and one event, and these belong together."""
        stores.tokens.add(self.TOKEN, {}, [])
        calls = [
            partial(engine.open(database).tokens.revoke, "tok_1", NOW + number, [row])
            for number, row in enumerate(rows_of(author))
        ]
        assert at_once(*calls) == [None] * 4
        found = stores.tokens.get("tok_1")
        assert found is not None
        assert found.revoked_at is not None
        assert actions(stores) == [f"settings.by_{found.revoked_at - NOW}"]

    def test_tokens_made_at_once_make_each_organization_once(self, engine: Engine, database: str) -> None:
        """In whatever order they name them; nobody waits for ever."""
        names = ["acme", "globex", "initech"]
        stores = [engine.open(database) for _ in range(4)]
        calls = []
        for number, store in enumerate(stores):
            token = msgspec.structs.replace(self.TOKEN, id=f"tok_{number}", hash=bytes([number]) * 32)
            order = names if number % 2 else reversed(names)
            secrets = {name: bytes([number]) * 32 for name in order}
            calls.append(partial(store.tokens.add, token, secrets, []))
        assert at_once(*calls) == [None] * 4
        assert len(stores[0].tokens.list()) == 4
        assert [each.name for each in stores[0].organizations.list()] == names

    def test_last_use_never_goes_back(self, stores: Stores) -> None:
        """Two servers may note it in any order."""
        stores.tokens.add(self.TOKEN, {}, [])
        for moment in (NOW + 5, NOW + 3):
            stores.tokens.used("tok_1", moment)
        stores.tokens.used("tok_2", NOW)
        found = stores.tokens.get("tok_1")
        assert found is not None
        assert found.last_used_at == NOW + 5

    def test_change_and_event_are_stored_together(self, stores: Stores, refused: Row) -> None:
        """Where the event is refused, there is no token, no organization, no revocation."""
        with pytest.raises(IdConflict):
            stores.tokens.add(self.TOKEN, {"acme": b"a" * 32}, [refused])
        assert stores.tokens.list() == []
        assert stores.organizations.get("acme") is None
        stores.tokens.add(self.TOKEN, {}, [])
        with pytest.raises(IdConflict):
            stores.tokens.revoke("tok_1", NOW, [refused])
        assert stores.tokens.list() == [self.TOKEN]


class LoginStoreSuite(SettingsSuite):
    """One-time login links."""

    LINK = LoginLink(
        hash=b"l" * 32,
        name="ana",
        organizations=("acme",),
        abilities=("audit-log:list",),
        created_at=NOW,
        expires_at=NOW + 1_000,
    )
    SESSION = WebSession(
        id="ses_1",
        hash=b"s" * 32,
        name="ana",
        organizations=("acme",),
        abilities=("audit-log:list",),
        created_at=NOW,
        expires_at=NOW + DAY,
    )

    def test_a_link_comes_back_whole(self, stores: Stores, row: Row) -> None:
        """Of some organizations, of none, and of all: three different things."""
        for number, organizations in enumerate((("acme",), (), ALL)):
            link = msgspec.structs.replace(self.LINK, hash=bytes([number]) * 32, organizations=organizations)
            stores.logins.add(link, [row] if number == 0 else [])
            assert stores.logins.get(link.hash) == link
        assert stores.logins.get(b"x" * 32) is None
        assert actions(stores) == ["settings.change"]

    def test_a_link_works_once(self, stores: Stores, row: Row, author: Author) -> None:
        """The first use starts the session, the second stores nothing."""
        stores.logins.add(self.LINK, [])
        assert stores.logins.consume(self.LINK.hash, NOW + 5, self.SESSION, [row])
        second = msgspec.structs.replace(self.SESSION, id="ses_2", hash=b"t" * 32)
        assert not stores.logins.consume(self.LINK.hash, NOW + 6, second, [author.row("settings.again")])
        assert stores.sessions.find(self.SESSION.hash) == self.SESSION
        assert stores.sessions.find(second.hash) is None
        used = stores.logins.get(self.LINK.hash)
        assert used is not None
        assert used.used_at == NOW + 5
        assert actions(stores) == ["settings.change"]

    @pytest.mark.parametrize(("at", "works"), [(999, True), (1_000, False), (1_001, False)])
    def test_an_expired_or_unknown_link_starts_nothing(self, stores: Stores, at: int, works: bool) -> None:
        """The moment of expiry is no longer valid."""
        stores.logins.add(self.LINK, [])
        assert stores.logins.consume(self.LINK.hash, NOW + at, self.SESSION, []) is works
        assert not stores.logins.consume(b"x" * 32, NOW, self.SESSION, [])
        assert (stores.sessions.find(self.SESSION.hash) is not None) is works

    def test_of_many_at_once_one_gets_in(self, engine: Engine, database: str, author: Author) -> None:
        """Simultaneous callers of several processes."""
        stores = [engine.open(database) for _ in range(4)]
        stores[0].logins.add(self.LINK, [])
        calls = []
        for number, store in enumerate(stores):
            session = msgspec.structs.replace(self.SESSION, id=f"ses_{number}", hash=bytes([number]) * 32)
            row = author.row(f"settings.by_{number}")
            calls.append(partial(store.logins.consume, self.LINK.hash, NOW + 1, session, [row]))
        answers = at_once(*calls)
        assert sorted(answer is True for answer in answers) == [False, False, False, True]
        assert actions(stores[0]) == [f"settings.by_{answers.index(True)}"]

    def test_old_links_are_forgotten(self, stores: Stores) -> None:
        """A day after they expired, when another is made."""
        stores.logins.add(self.LINK, [])
        for later, remembered in ((DAY, True), (2 * DAY, False)):
            new = msgspec.structs.replace(
                self.LINK, hash=later.to_bytes(32, "big"), created_at=NOW + later, expires_at=NOW + later + 1
            )
            stores.logins.add(new, [])
            assert (stores.logins.get(self.LINK.hash) is not None) is remembered

    def test_change_and_event_are_stored_together(self, stores: Stores, refused: Row) -> None:
        """Where the event is refused, the link is neither made nor used up."""
        with pytest.raises(IdConflict):
            stores.logins.add(self.LINK, [refused])
        assert stores.logins.get(self.LINK.hash) is None
        stores.logins.add(self.LINK, [])
        with pytest.raises(IdConflict):
            stores.logins.consume(self.LINK.hash, NOW + 1, self.SESSION, [refused])
        assert stores.logins.get(self.LINK.hash) == self.LINK
        assert stores.sessions.find(self.SESSION.hash) is None


class SessionStoreSuite(SettingsSuite):
    """Signed-in browsers."""

    @pytest.fixture
    def session(self, stores: Stores) -> WebSession:
        """A session, started by the only way there is."""
        stores.logins.add(LoginStoreSuite.LINK, [])
        assert stores.logins.consume(LoginStoreSuite.LINK.hash, NOW, LoginStoreSuite.SESSION, [])
        return LoginStoreSuite.SESSION

    def test_a_session_ends_once(self, stores: Stores, session: WebSession, row: Row, author: Author) -> None:
        """The end is seen at once; the second and one of an unknown session store nothing."""
        assert stores.sessions.find(session.hash) == session
        assert stores.sessions.end(session.hash, NOW + 1, [row])
        assert not stores.sessions.end(session.hash, NOW + 2, [author.row("settings.again")])
        assert not stores.sessions.end(b"x" * 32, NOW + 2, [author.row("settings.unknown")])
        found = stores.sessions.find(session.hash)
        assert found == msgspec.structs.replace(session, ended_at=NOW + 1)
        assert actions(stores) == ["settings.change"]

    def test_ended_by_many_at_once_it_ends_once(
        self, engine: Engine, database: str, session: WebSession, author: Author
    ) -> None:
        """One of them is told so, and its event alone is stored."""
        stores = [engine.open(database) for _ in range(4)]
        calls = [
            partial(store.sessions.end, session.hash, NOW + 1 + number, [row])
            for number, (store, row) in enumerate(zip(stores, rows_of(author), strict=True))
        ]
        answers = at_once(*calls)
        assert sorted(answers, key=repr) == [False, False, False, True]
        winner = answers.index(True)
        found = stores[0].sessions.find(session.hash)
        assert found == msgspec.structs.replace(session, ended_at=NOW + 1 + winner)
        assert actions(stores[0]) == [f"settings.by_{winner}"]

    def test_change_and_event_are_stored_together(
        self, stores: Stores, session: WebSession, refused: Row
    ) -> None:
        """Where the event is refused, the session goes on."""
        with pytest.raises(IdConflict):
            stores.sessions.end(session.hash, NOW + 1, [refused])
        assert stores.sessions.find(session.hash) == session


class CatalogStoreSuite(SettingsSuite):
    """Pushed catalogs."""

    def test_versions_count_from_one_and_equal_documents_store_nothing(
        self, stores: Stores, row: Row, author: Author
    ) -> None:
        """The version of the newest is the answer to a repeat; going back is a new version."""
        put = stores.catalogs.put
        assert stores.catalogs.current() == []
        assert put("billing", b'{"a":1}', NOW, "ana", [row]) == 1
        assert put("billing", b'{"a":1}', NOW, "ana", [author.row("settings.again")]) == 1
        assert put("billing", b'{"a":2}', NOW, "ana", []) == 2
        assert put("billing", b'{"a":1}', NOW, "ana", []) == 3
        assert put("admin", b'{"b":1}', NOW, "ana", []) == 1
        assert stores.catalogs.newest("billing") == b'{"a":1}'
        assert stores.catalogs.newest("nobody") is None
        assert stores.catalogs.current() == [b'{"b":1}', b'{"a":1}']
        assert actions(stores) == ["settings.change"]

    def test_pushes_at_once_get_different_versions(self, engine: Engine, database: str) -> None:
        """None overwrites another."""
        stores = [engine.open(database) for _ in range(4)]
        calls = (
            partial(store.catalogs.put, "billing", b'{"n":%d}' % number, NOW, "ana", [])
            for number, store in enumerate(stores)
        )
        assert sorted(answer for answer in at_once(*calls) if isinstance(answer, int)) == [1, 2, 3, 4]

    def test_one_document_pushed_by_many_at_once_is_one_version(
        self, engine: Engine, database: str, author: Author
    ) -> None:
        """Each gets its number; one of them stored it, with its event."""
        stores = [engine.open(database) for _ in range(4)]
        calls = [
            partial(store.catalogs.put, "billing", b"{}", NOW, "ana", [row])
            for store, row in zip(stores, rows_of(author), strict=True)
        ]
        assert at_once(*calls) == [1] * 4
        assert len(actions(stores[0])) == 1

    def test_change_and_event_are_stored_together(self, stores: Stores, refused: Row) -> None:
        """Where the event is refused, there is no new version."""
        with pytest.raises(IdConflict):
            stores.catalogs.put("billing", b"{}", NOW, "ana", [refused])
        assert stores.catalogs.current() == []
