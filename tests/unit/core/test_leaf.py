"""Leaf version 1: the frozen vectors, the table of fields, and rows that cannot be encoded."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from affidavit.core.entry import read_entry
from affidavit.core.event import GROUPS as EVENT_GROUPS
from affidavit.core.event import Draft
from affidavit.core.leaf import (
    CLEAR,
    FIELDS,
    LEAF_GROUPS,
    MAX_LEAF,
    Unencodable,
    digest_of,
    disclosure,
    encode_invalid,
    encode_leaf,
    parse_leaf,
    parse_remains,
    read_disclosure,
    salts_of,
    write_remains,
)
from affidavit.core.merkle import leaf_hash
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import RowVersionError, leaf_of
from affidavit.core.unsound import Malformed

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "leaf-v1.json").read_text(encoding="utf-8"))
HEX = "0123456789abcdef0123456789abcdef"


def values_of(row: dict[str, Any]) -> list[Any]:
    """The row as the sequencer reads it: ids and secret are bytes, texts UTF-8."""
    values: list[Any] = []
    for column in COLUMNS:
        value = row[column]
        if column in ("id", "parent_id", "secret") and value is not None:
            value = bytes.fromhex(value)
        values.append(value.encode() if isinstance(value, str) else value)
    return values


def row_of(**change: Any) -> list[Any]:
    """The minimal row, changed."""
    values = values_of(VECTORS[0]["row"])
    for column, value in change.items():
        values[COLUMNS.index(column)] = value
    return values


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_rows_give_the_frozen_leaves(vector: dict[str, Any]) -> None:
    """Salts, disclosures, leaf bytes and leaf hash are those that were frozen with version 1."""
    values = values_of(vector["row"])
    secret = bytes.fromhex(vector["row"]["secret"])
    assert list(salts_of(secret)) == vector["salts"]
    shown = [
        disclosure(salt, group, vector["row"][group].encode()).decode()
        for salt, group in zip(salts_of(secret), LEAF_GROUPS, strict=True)
    ]
    assert shown == vector["disclosures"]
    made = leaf_of(values, vector["organization_hex"])
    assert (made.entry.decode(), made.invalid) == (vector["leaf"], None)
    assert leaf_hash(made.entry).hex() == vector["leaf_hash"]


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_frozen_leaves_are_read_by_both_readers(vector: dict[str, Any]) -> None:
    """The parser and the fast reader find the same clear fields and digests."""
    entry = vector["leaf"].encode()
    leaf = parse_leaf(entry)
    action, digests, event, organization, recorded_at = read_entry(entry)
    assert (leaf.action.encode(), leaf.id.encode(), leaf.organization.encode()) == (
        action,
        event,
        organization,
    )
    assert recorded_at.decode() == leaf.fields["recorded_at"]
    assert json.loads(b"{" + digests + b"}")["groups"] == leaf.digests
    for text in vector["disclosures"]:
        _, group, _ = read_disclosure(text)
        assert leaf.digests[group] == sha256(text.encode()).hexdigest()


def test_every_field_of_an_event_is_clear_or_in_one_group() -> None:
    """The frozen table has every field that a caller can give, and what the product adds itself."""
    assert LEAF_GROUPS == EVENT_GROUPS
    assert set(FIELDS.values()) == {CLEAR, *LEAF_GROUPS}
    given = set(Draft.__struct_fields__) - {"idempotency_key"}
    assert given <= set(FIELDS)
    assert set(FIELDS) - given <= {"recorded_at", "recorded_by", "location", "client", "ci"}


def test_the_same_value_under_another_salt_has_another_digest() -> None:
    """(case 64) Nothing can be guessed from a digest without its salt."""
    first, second = salts_of(b"\0" * 32)[0], salts_of(b"\1" * 32)[0]
    assert digest_of(first, "context", b'{"ip":"192.0.2.1"}') != digest_of(
        second, "context", b'{"ip":"192.0.2.1"}'
    )
    assert len(set(salts_of(b"\0" * 32))) == 5


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", b"\0" * 16),
        ("id", b"short"),
        ("action", b"nodots"),
        ("action", b"a.B"),
        ("action", b"a." + b"b" * 127),
        ("outcome", b"maybe"),
        ("severity", None),
        ("source", b"Web"),
        ("imported", 2),
        ("imported", None),
        ("project", b"a..b"),
        ("project", b""),
        ("parent_id", b"x"),
        ("recorded_at", -1),
        ("recorded_at", 10**18),
        ("secret", b"short"),
        ("secret", None),
        ("actor", None),
        ("actor", 5),
        ("facts", 5),
        ("actor", b"[]"),
        ("actor", b'{"a":'),
        ("details", b"\xff"),
        ("facts", b"not json"),
    ],
)
def test_a_row_that_breaks_a_rule_gets_an_invalid_leaf(column: str, value: Any) -> None:
    """One bad row never stops sequencing: it is sealed over a salted hash of its bytes."""
    values = row_of(**{column: value})
    made = leaf_of(values, HEX)
    assert made.invalid
    leaf = parse_leaf(made.entry)
    assert (leaf.invalid, leaf.organization, dict(leaf.digests)) == (True, HEX, {})
    assert read_entry(made.entry)[0] == b""
    assert made.entry == encode_invalid(values, HEX)


def test_a_row_of_a_newer_version_waits() -> None:
    """It is not sealed as invalid: a newer program will encode it."""
    with pytest.raises(RowVersionError):
        leaf_of(row_of(version=2), HEX)


def test_a_leaf_that_is_too_long_is_refused() -> None:
    """A bundle of C2SP entries has two bytes for the length."""
    with pytest.raises(Unencodable, match="more than 65535"):
        encode_leaf(row_of(facts=b'{"policy":"' + b"x" * MAX_LEAF + b'"}'), HEX)


def test_erasing_a_group_keeps_the_leaf() -> None:
    """What remains gives the same bytes, whichever groups are gone."""
    row = VECTORS[1]["row"]
    whole = encode_leaf(values_of(row), HEX)
    salts = salts_of(bytes.fromhex(row["secret"]))
    for gone in ({"actor"}, {"changes", "details"}, set(LEAF_GROUPS)):
        left = {
            group: ("digest", digest_of(salt, group, row[group].encode()))
            if group in gone
            else ("salt", salt)
            for salt, group in zip(salts, LEAF_GROUPS, strict=True)
        }
        values = values_of(
            row | dict.fromkeys(gone) | {"secret": None, "remains": write_remains(left).decode()}
        )
        assert encode_leaf(values, HEX) == whole
        assert parse_remains(write_remains(left)) == left


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"actor":{"salt":"AAAAAAAAAAAAAAAAAAAAAA"}}',
        "[]",
        "null",
    ],
)
def test_remains_that_are_not_whole_are_refused(text: str) -> None:
    """Every group has a digest or a salt."""
    with pytest.raises(Malformed):
        parse_remains(text)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '["AAAAAAAAAAAAAAAAAAAAAA","actor"]',
        '["AAAAAAAAAAAAAAAAAAAAAA","other",{}]',
        '["AAAAAAAAAAAAAAAAAAAAAB","actor",{}]',
        '["AAAAAAAAAAAAAAAAAAAAA=","actor",{}]',
        '["AAAA","actor",{}]',
        '["AAAAAAAAAAAAAAAAAAAAAA","actor",[]]',
        '["AAAAAAAAAAAAAAAAAAAAAA","actor",{"a":1,"a":1}]',
        '[1,"actor",{}]',
    ],
)
def test_a_disclosure_in_another_form_is_refused(text: str) -> None:
    """(case 58) Salt, group and one object, nothing else."""
    with pytest.raises(Malformed):
        read_disclosure(text)
