"""People whom a product signed in: what a Viewer takes, and what its role reaches."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

import affidavit
from affidavit.access.scope import scope_of
from affidavit.access.viewers import ROLES, Viewer
from affidavit.core.credentials import ALL
from affidavit.errors import ConfigError, MissingAbility, NotFound

READS = {"audit-log:list", "audit-log:export", "log:read"}
RUNS = READS | {
    "events:write", "tokens:manage", "members:manage", "streams:manage", "detections:manage",
}  # fmt: skip
OWNS = RUNS | {"events:import", "retention:manage", "erasure:manage"}


@pytest.mark.parametrize(
    ("role", "abilities"),
    [
        ("viewer", set()),
        ("auditor", READS),
        ("admin", RUNS),
        ("owner", OWNS),
        ("operator", OWNS | {"instance:operate"}),
    ],
)
def test_a_role_has_its_abilities(role: str, abilities: set[str]) -> None:
    """Each role has what the how-to says, and who reads by default is an admin."""
    assert Viewer("7", role=role).credential("acme").abilities == abilities
    assert set(ROLES) == {"viewer", "auditor", "admin", "owner", "operator"}


def test_without_a_role_nothing_is_granted() -> None:
    """Absent means no: a Viewer of whom nothing is said may not read."""
    with pytest.raises(MissingAbility):
        scope_of(Viewer("7").credential("acme"), "audit-log:list")


def test_abilities_stand_instead_of_a_role() -> None:
    """A product with permissions of its own names abilities, and an empty list is none."""
    assert Viewer("7", abilities=["audit-log:list"]).credential("a").abilities == {"audit-log:list"}
    assert Viewer("7", role="owner", abilities=[]).credential("a").abilities == frozenset()


@pytest.mark.parametrize(
    ("viewer", "home", "reached"),
    [
        (Viewer("7", role="admin"), "acme", ("acme",)),
        (Viewer("7", role="admin", organizations=["b", "a", "b"]), "acme", ("b", "a")),
        (Viewer("7", role="admin", organizations=[]), "acme", ()),
        (Viewer("7", role="operator"), "acme", ALL),
        (Viewer("7", role="operator", organizations=["a"]), "acme", ("a",)),
    ],
)
def test_what_a_viewer_reaches(viewer: Viewer, home: str, reached: Any) -> None:
    """Those named, the product's own where none is, all for the operator, none for an empty list."""
    assert viewer.credential(home).organizations == reached


def test_a_viewer_of_no_organization_is_an_error() -> None:
    """Where neither viewer nor product names one, that is neither all nor none: it is said."""
    with pytest.raises(ConfigError, match="organizations must be given"):
        Viewer("7", role="admin").credential(None)


def test_the_empty_set_reaches_nothing() -> None:
    """A viewer of no organization may name none."""
    credential = Viewer("7", role="owner", organizations=[]).credential("acme")
    assert scope_of(credential, "audit-log:list").organizations == ()
    with pytest.raises(NotFound):
        scope_of(credential, "audit-log:list", organization="acme")


@pytest.mark.parametrize("identifier", ["u-7", 7, UUID(int=7)])
def test_events_name_the_person(identifier: Any) -> None:
    """The actor of what a viewer does is the person, as the product's own events name them."""
    viewer = affidavit.Viewer(identifier, name="Ana", email="ana@example.org", role="admin")
    credential = viewer.credential("acme")
    actor = credential.actor()
    assert (actor.type, actor.id, actor.name, actor.email) == (
        "user",
        str(identifier),
        "Ana",
        "ana@example.org",
    )
    recorded_by = credential.recorded_by("203.0.113.7")
    assert (recorded_by.type, recorded_by.id, recorded_by.address) == (
        "viewer",
        str(identifier),
        "203.0.113.7",
    )


@pytest.mark.parametrize(
    ("identifier", "fields", "named"),
    [
        (None, {}, "id must be a text, a number or a UUID, not None"),
        (True, {}, "id must be .* not True"),
        ("", {}, "id must be"),
        ("x" * 1025, {}, "id must be at most 1,024 characters"),
        ("a\0b", {}, "id must be without U[+]0000"),
        ("\ud800", {}, "id must be without U[+]0000 and lone surrogates"),
        ("7", {"name": 7}, "name must be a text, not 7"),
        ("7", {"name": "x" * 1025}, "name must be at most 1,024"),
        ("7", {"email": "x" * 321}, "email must be at most 320"),
        ("7", {"role": "boss"}, "role must be one of viewer, auditor, admin, owner, operator, not 'boss'"),
        ("7", {"role": None}, "role must be one of .* not None"),
        ("7", {"organizations": "acme"}, "organizations must be a list of texts, not 'acme'"),
        ("7", {"organizations": [7]}, "organizations must be names, not 7"),
        ("7", {"organizations": ["../x"]}, "organizations must be 1 to 128 .* not '../x'"),
        ("7", {"organizations": ["affidavit:instance"]}, "organizations must be of the product"),
        ("7", {"abilities": "audit-log:list"}, "abilities must be a list"),
        ("7", {"abilities": ["read"]}, "abilities must be of audit-log:list, .* not 'read'"),
    ],
)
def test_what_breaks_a_rule_is_named(identifier: Any, fields: dict[str, Any], named: str) -> None:
    """Field, rule and value, and never a Viewer that reaches something else than was meant."""
    with pytest.raises(ConfigError, match=f"^Viewer: (each of )?{named}"):
        Viewer(identifier, **fields)
