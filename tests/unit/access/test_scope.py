"""The one scope function: absent permission means no, and nothing means nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.access.abilities import ABILITIES, EVENTS_WRITE, LIST, check_abilities
from affidavit.access.operator import OPERATOR
from affidavit.access.scope import ALL, Credential, Organizations, scope_of
from affidavit.core.credentials import INSTANCE, pack_organizations, unpack_organizations
from affidavit.core.names import name_is_valid
from affidavit.errors import AffidavitError, InvalidQuery, MissingAbility, NotFound, NotSignedIn, Refused

NAMES = ("acme", "globex", "initech")


def credential(*organizations: str, abilities: tuple[str, ...] = (LIST,)) -> Credential:
    """A token of these organizations."""
    return Credential(
        kind="token", id="tok_1", name="t", organizations=organizations, abilities=frozenset(abilities)
    )


def test_nobody_is_refused() -> None:
    """Without a credential there is no scope."""
    with pytest.raises(NotSignedIn):
        scope_of(None, LIST, organization="acme")


@pytest.mark.parametrize("ability", sorted(ABILITIES))
def test_an_ability_that_is_not_there_is_refused(ability: str) -> None:
    """The empty set of abilities grants nothing, whatever is asked."""
    with pytest.raises(MissingAbility):
        scope_of(credential("acme", abilities=()), ability, organization="acme")


def test_the_only_organization_needs_no_name() -> None:
    """A credential of one organization means that one."""
    assert scope_of(credential("acme"), LIST).organizations == ("acme",)


def test_several_organizations_need_a_name() -> None:
    """A credential of several must name one, even for a bounded question."""
    with pytest.raises(InvalidQuery, match="name one"):
        scope_of(credential("acme", "globex"), LIST)
    with pytest.raises(InvalidQuery, match="name one"):
        scope_of(credential("acme", "globex"), LIST, bounded=True)
    assert scope_of(credential("acme", "globex"), LIST, organization="globex").organizations == ("globex",)


def test_an_organization_outside_looks_like_an_unknown_one() -> None:
    """Foreign and unknown organizations give the same error with the same words."""
    said = set()
    for name in ("globex", "nowhere"):
        with pytest.raises(NotFound) as refused:
            scope_of(credential("acme"), LIST, organization=name)
        said.add(str(refused.value))
    with pytest.raises(NotFound) as refused:
        scope_of(OPERATOR, LIST, organization="nowhere", known=lambda name: name == "globex")
    assert said == {str(refused.value)}


def test_all_needs_both_dates_or_a_name() -> None:
    """The operator reads across all organizations only within dates."""
    with pytest.raises(InvalidQuery, match="start_date"):
        scope_of(OPERATOR, LIST)
    assert scope_of(OPERATOR, LIST, bounded=True).organizations is ALL
    assert scope_of(OPERATOR, LIST, organization="acme", known=lambda _: True).organizations == ("acme",)


def test_the_instance_itself_is_known() -> None:
    """The operator can read what the instance recorded of itself before any organization exists."""
    found = scope_of(OPERATOR, LIST, organization=INSTANCE, known=lambda _: False)
    assert found.organizations == (INSTANCE,)


@pytest.mark.parametrize("name", ["../x", "", ".", "a..b", "-a", "a-", "a b", "a\n", "ä", "x" * 129, "a/b"])
def test_a_name_that_breaks_the_rule_is_named(name: str) -> None:
    """``../x`` and its like are a clear error, not an unknown organization."""
    assert not name_is_valid(name)
    with pytest.raises(InvalidQuery, match="organization: must be 1 to 128"):
        scope_of(credential("acme"), LIST, organization=name)


def test_a_scope_of_nothing_is_nothing() -> None:
    """A credential without organizations reaches none, never all."""
    scope = scope_of(credential(), LIST)
    assert scope.organizations == ()
    with pytest.raises(InvalidQuery):
        _ = scope.organization
    with pytest.raises(NotFound):
        scope_of(credential(), LIST, organization="acme")


@given(
    reach=st.one_of(st.just(ALL), st.lists(st.sampled_from(NAMES), unique=True).map(tuple)),
    abilities=st.frozensets(st.sampled_from(sorted(ABILITIES))),
    ability=st.sampled_from(sorted(ABILITIES)),
    organization=st.one_of(st.none(), st.sampled_from((*NAMES, "nowhere"))),
    bounded=st.booleans(),
)
def test_a_scope_never_exceeds_the_credential(
    reach: Organizations, abilities: frozenset[str], ability: str, organization: str | None, bounded: bool
) -> None:
    """Whatever is asked, the answer is an error or lies within the credential."""
    held = Credential(kind="token", id="t", name="t", organizations=reach, abilities=abilities)
    try:
        scope = scope_of(
            held, ability, organization=organization, bounded=bounded, known=lambda name: name in NAMES
        )
    except AffidavitError:
        return
    assert ability in abilities
    if scope.organizations is ALL:
        assert reach is ALL
        assert bounded
        assert organization is None
    else:
        assert reach is ALL or set(scope.organizations) <= set(reach)
        assert organization is None or scope.organizations == (organization,)


@pytest.mark.parametrize("organizations", [ALL, (), ("acme",), ("acme", "all")])
def test_stored_organizations_come_back(organizations: Organizations) -> None:
    """All, none and some survive storage as what they are."""
    assert unpack_organizations(pack_organizations(organizations)) == organizations


@pytest.mark.parametrize("text", ["", "null", '"everything"', "{}", "[1]"])
def test_unreadable_organizations_are_an_error(text: str) -> None:
    """A damaged row is never taken for all or for none."""
    with pytest.raises(AffidavitError, match="unreadable"):
        unpack_organizations(text)


def test_abilities_are_twelve_and_checked() -> None:
    """An ability that does not exist is refused by name; the known ones come in their order."""
    assert len(ABILITIES) == 12
    assert check_abilities([EVENTS_WRITE, LIST, LIST]) == (LIST, EVENTS_WRITE)
    with pytest.raises(Refused) as refused:
        check_abilities([LIST, "audit-log:everything"])
    assert refused.value.errors[0].pointer == "/abilities/1"
