"""Organizations: declared once with an event, made on the way without one."""

from __future__ import annotations

import pytest

from affidavit.access.abilities import LIST
from affidavit.access.operator import OPERATOR
from affidavit.access.scope import ALL
from affidavit.errors import Refused
from tests.unit.access.settings_store import Settings


def test_declaring_is_an_event_and_again_is_none(settings: Settings) -> None:
    """The first call stores and records, the second finds it."""
    made, created = settings.organizations.create("acme", OPERATOR)
    assert (made.name, made.declared, created) == ("acme", True, True)
    again, created = settings.organizations.create("acme", OPERATOR)
    assert (again, created) == (made, False)
    assert settings.actions() == [("acme", "access.organization.created")]


def test_one_made_on_the_way_can_still_be_declared(settings: Settings) -> None:
    """A secret makes the row without an event; declaring it keeps the secret."""
    secret = settings.organizations.secret("acme")
    assert len(secret) == 32
    assert settings.organizations.secret("acme") == secret
    assert settings.actions() == []
    assert [one.declared for one in settings.organizations.list(ALL)] == [False]
    _, created = settings.organizations.create("acme", OPERATOR)
    assert created
    assert settings.organizations.secret("acme") == secret
    assert settings.actions() == [("acme", "access.organization.created")]


def test_a_token_makes_its_organizations(settings: Settings) -> None:
    """Creating a token makes the rows that it needs."""
    settings.tokens.create(name="t", organizations=("b", "a"), abilities=[LIST], by=OPERATOR)
    assert [one.name for one in settings.organizations.list(ALL)] == ["a", "b"]
    assert [one.name for one in settings.organizations.list(("b",))] == ["b"]
    assert settings.organizations.list(()) == []


def test_an_organization_with_events_exists(settings: Settings) -> None:
    """Existence is having been made or having an event; nothing else."""
    assert not settings.organizations.exists("acme")
    settings.tokens.create(name="t", organizations=("acme",), abilities=[LIST], by=OPERATOR)
    assert settings.organizations.exists("acme")
    assert not settings.organizations.exists("acm")


@pytest.mark.parametrize("name", ["../x", "", "a/b", "affidavit:x", "x" * 129])
def test_a_bad_name_is_refused_with_the_rule(settings: Settings, name: str) -> None:
    """The error quotes name and rule, and nothing is stored."""
    with pytest.raises(Refused, match="name of an organization") as refused:
        settings.organizations.create(name, OPERATOR)
    assert refused.value.errors[0].pointer == "/name"
    assert settings.organizations.list(ALL) == []
