"""API tokens on a real file: made once, recognised, expired, revoked, each change an event."""

from __future__ import annotations

from pathlib import Path

import pytest

from affidavit.access.abilities import EVENTS_WRITE, LIST, TOKENS_MANAGE
from affidavit.access.authentication import BELIEVED
from affidavit.access.operator import OPERATOR, OperatorToken
from affidavit.access.scope import ALL, Credential
from affidavit.access.secrets import TOKEN, hash_secret, make_secret
from affidavit.access.tokens import USED_EVERY, IssuedToken
from affidavit.errors import MissingAbility, NotFound, NotSignedIn, Refused
from tests.unit.access.settings_store import START, Settings

HOUR = 3_600_000_000


def issue(settings: Settings, *organizations: str, expires_at: int | None = None) -> IssuedToken:
    """Make a token that may list."""
    return settings.tokens.create(
        name="ci",
        organizations=organizations or ("acme",),
        abilities=[LIST],
        by=OPERATOR,
        expires_at=expires_at,
    )


def manager(*organizations: str) -> Credential:
    """A token that may list and manage tokens."""
    abilities = frozenset((LIST, TOKENS_MANAGE))
    return Credential(kind="token", id="tok_m", name="m", organizations=organizations, abilities=abilities)


def test_a_token_is_recognised_and_its_text_is_not_kept(settings: Settings) -> None:
    """The text works, and the file holds only its hash."""
    issued = issue(settings)
    credential = settings.tokens.authenticate(issued.text)
    assert (credential.id, credential.organizations) == (issued.token.id, ("acme",))
    assert credential.abilities == {LIST}
    assert issued.token.hash == hash_secret(issued.text)
    path = settings.database.path
    kept = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert issued.text.encode() not in kept
    assert issued.token.hash in kept


@pytest.mark.parametrize("text", ["", "aff_", "x" * 53, "aff_" + "0" * 49])
def test_a_malformed_token_is_refused(settings: Settings, text: str) -> None:
    """A text with a wrong checksum never reaches the store."""
    with pytest.raises(NotSignedIn, match="form or checksum"):
        settings.tokens.authenticate(text)


def test_an_unknown_token_is_refused(settings: Settings) -> None:
    """A well-formed token that nobody made is refused."""
    with pytest.raises(NotSignedIn, match="unknown, expired or revoked"):
        settings.tokens.authenticate(make_secret(TOKEN, settings.entropy))


def test_a_token_expires_to_the_microsecond(settings: Settings) -> None:
    """It works before its end and not from then on."""
    issued = issue(settings, expires_at=START + HOUR)
    settings.now = START + HOUR - 1
    assert settings.tokens.authenticate(issued.text).id == issued.token.id
    settings.now = START + HOUR
    with pytest.raises(NotSignedIn):
        settings.tokens.authenticate(issued.text)


def test_each_change_is_an_event_in_each_organization(settings: Settings) -> None:
    """Creating and revoking a token of two organizations records two events each, with old and new."""
    issued = issue(settings, "acme", "globex")
    settings.tokens.revoke(issued.token.id, by=OPERATOR)
    settings.tokens.revoke(issued.token.id, by=OPERATOR)
    assert settings.actions() == [
        ("acme", "access.token.created"),
        ("globex", "access.token.created"),
        ("acme", "access.token.revoked"),
        ("globex", "access.token.revoked"),
    ]
    created, *_, revoked = settings.recorded()
    assert created.groups()["changes"]["abilities"] == {"old": None, "new": [LIST]}
    assert created.groups()["resources"][0]["id"] == issued.token.id
    assert revoked.groups()["changes"]["revoked_at"]["old"] is None
    assert created.groups()["recorded_by"]["type"] == "operator"


def test_a_revoked_token_is_refused(settings: Settings) -> None:
    """After the call that revokes it, the store refuses it."""
    issued = issue(settings)
    settings.tokens.revoke(issued.token.id, by=OPERATOR)
    with pytest.raises(NotSignedIn):
        settings.tokens.authenticate(issued.text)


def test_the_memory_of_credentials_is_short(settings: Settings) -> None:
    """What another process revokes ends within the documented bound; what this one revokes ends at once."""
    issued = issue(settings)
    authentication = settings.authentication
    assert authentication.recall(issued.text) is None
    authentication.bearer(issued.text)
    settings.tokens.revoke(issued.token.id, by=OPERATOR)
    settings.now += BELIEVED - 1
    assert authentication.recall(issued.text) is not None
    settings.now += 1
    assert authentication.recall(issued.text) is None
    with pytest.raises(NotSignedIn):
        authentication.bearer(issued.text)

    second = issue(settings)
    authentication.bearer(second.text)
    settings.tokens.revoke(second.token.id, by=OPERATOR)
    authentication.forget()
    assert authentication.recall(second.text) is None


def test_a_clock_that_goes_back_does_not_lengthen_belief(settings: Settings) -> None:
    """A credential confirmed in what is now the future is confirmed again."""
    issued = issue(settings)
    settings.authentication.bearer(issued.text)
    settings.now -= HOUR
    assert settings.authentication.recall(issued.text) is None


def test_the_operator_is_recognised_by_hash(tmp_path: Path) -> None:
    """The operator's token reaches everything; another text does not."""
    settings = Settings(tmp_path, OperatorToken(text := make_secret(TOKEN, lambda size: b"o" * size)))
    assert settings.authentication.bearer(text).organizations is ALL
    with pytest.raises(NotSignedIn):
        settings.authentication.bearer(make_secret(TOKEN, lambda size: b"p" * size))
    settings.close()


def test_last_use_is_noted_at_most_once_a_minute(settings: Settings) -> None:
    """The note is written at the first use and then after a minute, not each time."""
    issued = issue(settings)
    for step, noted in ((0, START), (USED_EVERY - 1, START), (USED_EVERY, START + USED_EVERY)):
        settings.now = START + step
        settings.tokens.authenticate(issued.text)
        assert settings.tokens.list(ALL)[0].last_used_at == noted


def test_nobody_gives_what_they_do_not_have(settings: Settings) -> None:
    """A manager of tokens cannot make one with more abilities or organizations than its own."""
    by = manager("acme")
    with pytest.raises(MissingAbility, match="events:write"):
        settings.tokens.create(name="x", organizations=("acme",), abilities=[EVENTS_WRITE], by=by)
    with pytest.raises(NotFound):
        settings.tokens.create(name="x", organizations=("acme", "globex"), abilities=[LIST], by=by)
    assert settings.tokens.list(ALL) == []
    assert settings.actions() == []


def test_a_token_of_elsewhere_can_neither_be_seen_nor_revoked(settings: Settings) -> None:
    """Within a scope, foreign tokens do not exist, and shared ones show only the shared part."""
    foreign = issue(settings, "globex").token
    shared = issue(settings, "acme", "globex").token
    by = manager("acme")
    assert [(one.id, one.organizations) for one in settings.tokens.list(by.organizations)] == [
        (shared.id, ("acme",))
    ]
    for token in (foreign, shared):
        with pytest.raises(NotFound):
            settings.tokens.revoke(token.id, by=by)
    assert settings.tokens.list(()) == []


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("name", "", "/name"),
        ("name", "a\nb", "/name"),
        ("organizations", (), "/organizations"),
        ("organizations", ("../x",), "/organizations/0"),
        ("organizations", ("affidavit:instance",), "/organizations/0"),
        ("abilities", [], "/abilities"),
        ("expires_at", START, "/expires_at"),
    ],
)
def test_each_broken_rule_is_named(settings: Settings, field: str, value: object, pointer: str) -> None:
    """A wrong field is refused by its pointer, and nothing is stored."""
    fields = {"name": "x", "organizations": ("acme",), "abilities": [LIST], "by": OPERATOR, field: value}
    with pytest.raises(Refused) as refused:
        settings.tokens.create(**fields)  # type: ignore[arg-type]
    assert refused.value.errors[0].pointer == pointer
    assert settings.tokens.list(ALL) == []
