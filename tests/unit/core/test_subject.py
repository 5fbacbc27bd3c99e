"""A person is found as typed values exactly, and as text anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from affidavit.core.event import GROUPS
from affidavit.core.subject import SUBSTRING, Subject

ANA = "Ana.Lima@X.io"


def hits(subject: str, **groups: Any) -> dict[str, set[str]]:
    """What is found in an event with these groups; a text goes in as it is."""
    texts = [groups.get(group, {}) for group in GROUPS]
    raw = [text if isinstance(text, str) else json.dumps(text, ensure_ascii=False) for text in texts]
    return Subject(subject).hits([text.encode() for text in raw])


@pytest.mark.parametrize(
    ("group", "members", "kinds"),
    [
        ("actor", {"actor": {"id": ANA}}, {"actor.id"}),
        ("actor", {"actor": {"id": "u", "email": "ANA.LIMA@x.IO"}}, {"actor.email"}),
        ("actor", {"actor": {"id": "u", "name": "ana.lima@x.io"}}, {"actor.name"}),
        ("actor", {"on_behalf_of": {"id": ANA, "name": ANA}}, {"on_behalf_of.id", "on_behalf_of.name"}),
        ("actor", {"session": {"type": "web", "id": ANA}}, {"session.id"}),
        ("actor", {"session": {"type": "t", "token_id": ANA}}, {"session.token_id"}),
        ("actor", {"session": {"type": "t", "token_name": ANA.upper()}}, {"session.token_name"}),
        ("actor", {"recorded_by": {"type": "t", "id": ANA}}, {"recorded_by.id"}),
        ("actor", {"recorded_by": {"type": "t", "token_name": ANA}}, {"recorded_by.token_name"}),
        ("resources", {"resources": [{"id": "1"}, {"id": ANA}]}, {"resources.id"}),
        ("resources", {"resources": [{"id": "1", "name": ANA.lower()}]}, {"resources.name"}),
        ("context", {"request": {"params": {"q": [{"who": ANA}]}}}, {"request.params"}),
        ("changes", {"changes": {"email": {"old": ANA, "new": None}}}, {"changes"}),
        ("details", {"description": ANA}, {"description"}),
        ("details", {"reason": ANA.lower()}, {"reason"}),
        ("details", {"metadata": {"a": {"b": [1, [ANA]]}}}, {"metadata"}),
    ],
)
def test_typed_and_whole_values_are_exact_hits(group: str, members: Any, kinds: set[str]) -> None:
    """Every field that may hold a person gives an exact hit, named after the field."""
    assert hits(ANA, **{group: members}) == {group: kinds}


@pytest.mark.parametrize(
    ("group", "members"),
    [
        ("actor", {"actor": {"id": ANA.lower()}}),
        ("actor", {"actor": {"id": f"user:{ANA}"}}),
        ("resources", {"resources": [{"id": ANA.upper()}]}),
        ("context", {"user_agent": f"agent of {ANA}"}),
        ("context", {"request": {"endpoint": f"/users/{ANA}"}}),
        ("changes", {"changes": {ANA: {"old": 1, "new": 2}}}),
        ("details", {"reason": f"told by {ANA.lower()} in person"}),
        ("details", {"metadata": {ANA: True}}),
        ("details", {"metadata": {"inner": json.dumps({"mail": ANA})}}),
    ],
)
def test_anything_else_is_a_substring_hit(group: str, members: Any) -> None:
    """Ids in other case, keys, parts of texts and JSON within texts wait for a word of confirmation."""
    assert hits(ANA, **{group: members}) == {group: {SUBSTRING}}


def test_names_compare_after_case_folding() -> None:
    """Folding is Unicode's, not ASCII's: the sharp s is two."""
    assert hits("Anna Weiß", actor={"actor": {"id": "1", "name": "ANNA WEISS"}}) == {"actor": {"actor.name"}}


def test_free_text_in_other_case_is_exact_only_for_an_e_mail() -> None:
    """An id that differs in case may be somebody else, an address is not."""
    assert hits("u-AB", details={"metadata": {"x": "U-ab"}}) == {"details": {SUBSTRING}}
    assert hits("a@b.c", details={"metadata": {"x": "A@B.C"}}) == {"details": {"metadata"}}


def test_addresses_compare_in_their_normal_form() -> None:
    """An IPv6 address in another spelling, or an IPv4 one mapped into it, is the same address."""
    assert hits("2001:DB8:0::1", context={"ip": "2001:db8::1"}) == {"context": {"ip"}}
    assert hits("::ffff:10.0.0.7", context={"ip": "10.0.0.7"}) == {"context": {"ip"}}
    by = {"recorded_by": {"type": "x", "address": "2001:db8::1"}}
    assert hits("2001:db8::0:1", actor=by) == {"actor": {"recorded_by.address"}}
    assert hits("10.0.0.7", context={"ip": "10.0.0.70"}) == {"context": {SUBSTRING}}


def test_escapes_of_json_hide_nothing() -> None:
    """What a foreign writer stored with escapes is found, exactly and within."""
    escaped = "".join(f"\\u{ord(character):04x}" for character in ANA)
    assert hits(ANA, details=f'{{"metadata":{{"x":"{escaped}"}}}}') == {"details": {"metadata"}}
    assert hits(ANA, details=f'{{"reason":"by {escaped}"}}') == {"details": {SUBSTRING}}
    quoted = 'Ana "Lima"\\'
    assert hits(quoted, details={"metadata": {"x": quoted}}) == {"details": {"metadata"}}
    twice = json.dumps({"x": json.dumps({"y": f"by {quoted}"})})
    assert hits(quoted, details={"metadata": {"x": twice}}) == {"details": {SUBSTRING}}


def test_numbers_and_broken_groups_are_looked_through_as_text() -> None:
    """A number that reads like the subject, and a group that is no JSON, are substring hits."""
    assert hits("4711", details={"metadata": {"user": 4711}}) == {"details": {SUBSTRING}}
    assert hits("4711", details='{"metadata": 4711') == {"details": {SUBSTRING}}


def test_a_stranger_is_not_found() -> None:
    """Empty groups, gone groups, wrong shapes and other people are no hits."""
    assert Subject(ANA).hits([None, b"{}", b"[]", b'{"changes":3}', b'{"metadata":"x\\n"}']) == {}
    assert hits(ANA, actor={"actor": {"id": "bob", "email": "bob@x.io"}}, resources={"resources": 3}) == {}
