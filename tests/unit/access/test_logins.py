"""Login links are used once, by a POST, within ten minutes; sessions end; both on a real file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from affidavit.access.abilities import EVENTS_WRITE, EXPORT, LIST
from affidavit.access.logins import LINK_LIFE, SESSION_LIFE, SignedIn
from affidavit.access.operator import OPERATOR
from affidavit.access.scope import ALL, Credential
from affidavit.core.credentials import INSTANCE
from affidavit.errors import MissingAbility, NotFound, NotSignedIn
from tests.unit.access.settings_store import Settings


def test_looking_at_a_link_does_not_use_it_up(settings: Settings) -> None:
    """A preview, however often, leaves the link usable."""
    code = settings.logins.create(name="ana", organizations=("acme",), by=OPERATOR)
    for _ in range(3):
        assert settings.logins.peek(code).name == "ana"
    assert settings.logins.consume(code).session.name == "ana"


def test_a_link_works_once(settings: Settings) -> None:
    """A second use is refused and says how to get another."""
    code = settings.logins.create(name="ana", organizations=("acme",), by=OPERATOR)
    settings.logins.consume(code)
    for use in (settings.logins.peek, settings.logins.consume):
        with pytest.raises(NotSignedIn, match="affidavit login"):
            use(code)


def test_of_simultaneous_uses_one_wins(settings: Settings) -> None:
    """Eight threads with the same link make one session."""
    code = settings.logins.create(name="ana", organizations=("acme",), by=OPERATOR)

    def use(_: int) -> SignedIn | None:
        try:
            return settings.logins.consume(code)
        except NotSignedIn:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [signed_in for signed_in in pool.map(use, range(8)) if signed_in is not None]
    assert len(made) == 1
    assert settings.actions().count(("acme", "access.session.created")) == 1


def test_a_link_expires_after_ten_minutes(settings: Settings) -> None:
    """It works until just before, and is refused from then on."""
    code = settings.logins.create(name="ana", organizations=("acme",), by=OPERATOR)
    settings.now += LINK_LIFE - 1
    settings.logins.peek(code)
    settings.now += 1
    with pytest.raises(NotSignedIn):
        settings.logins.consume(code)


def test_a_session_has_the_reach_of_its_link(settings: Settings) -> None:
    """Organizations and abilities come from the link, by default reading and exporting."""
    code = settings.logins.create(name="ana", organizations=ALL, by=OPERATOR)
    signed_in = settings.logins.consume(code, address="203.0.113.7")
    credential = settings.sessions.authenticate(signed_in.cookie)
    assert credential.organizations is ALL
    assert credential.abilities == {LIST, EXPORT}
    assert settings.actions() == [
        (INSTANCE, "access.login_link.created"),
        (INSTANCE, "access.session.created"),
    ]
    recorded = settings.recorded()[-1].groups()
    assert recorded["ip"] == "203.0.113.7"
    assert recorded["actor"] == {"type": "user", "id": "ana"}
    assert "affs_" not in str(recorded)


def test_a_session_ends(settings: Settings) -> None:
    """After twelve hours, or when it is ended, the cookie is worth nothing."""
    first = settings.logins.consume(settings.logins.create(name="a", organizations=("acme",), by=OPERATOR))
    second = settings.logins.consume(settings.logins.create(name="b", organizations=("acme",), by=OPERATOR))
    settings.sessions.end(first.cookie)
    settings.sessions.end(first.cookie)
    assert settings.actions().count(("acme", "access.session.ended")) == 1
    with pytest.raises(NotSignedIn):
        settings.sessions.authenticate(first.cookie)
    settings.now += SESSION_LIFE
    with pytest.raises(NotSignedIn):
        settings.sessions.authenticate(second.cookie)
    with pytest.raises(NotSignedIn):
        settings.sessions.authenticate("affs_made-up")


def test_a_link_gives_no_more_than_its_maker_has(settings: Settings) -> None:
    """Neither abilities nor organizations can be gained through a link."""
    by = Credential(kind="token", id="t", name="t", organizations=("acme",), abilities=frozenset((LIST,)))
    with pytest.raises(MissingAbility):
        settings.logins.create(name="x", organizations=("acme",), by=by, abilities=[EVENTS_WRITE])
    for organizations in (ALL, ("acme", "globex")):
        with pytest.raises(NotFound):
            settings.logins.create(name="x", organizations=organizations, by=by, abilities=[LIST])


def test_old_links_are_forgotten(settings: Settings) -> None:
    """Links that expired more than a day ago leave the table when another is made."""
    old = settings.logins.create(name="old", organizations=("acme",), by=OPERATOR)
    settings.now += LINK_LIFE + 25 * 3_600_000_000
    settings.logins.create(name="new", organizations=("acme",), by=OPERATOR)
    left = settings.database.read(
        lambda connection: connection.execute("SELECT name FROM affidavit_logins").fetchall()
    )
    assert left == [("new",)]
    with pytest.raises(NotSignedIn):
        settings.logins.peek(old)
