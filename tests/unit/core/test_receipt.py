"""Receipts and NDJSON with proofs: each line is proven by itself, and the trailer must fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from affidavit.core.note import parse_verifier
from affidavit.core.receipt import verify_receipts
from affidavit.core.trust import Demands, Trust
from affidavit.core.verdict import NotChecked, Verdict
from tests.naive_bundle import LOG, ORIGIN, Event, Key, Log, canonical

TRUST = Trust.of([parse_verifier(LOG.vkey)])


def log_of(count: int = 12) -> Log:
    """Ordinary events."""
    return Log([Event(number) for number in range(count)])


def exported(log: Log, indexes: list[int], **counts: int) -> list[str]:
    """NDJSON with proofs."""
    redacted = sum(bool(log.events[index].gone) for index in indexes)
    trailer = {"events": len(indexes), "redacted": redacted} | counts
    return [*(canonical(log.receipt(index)) for index in indexes), canonical({"trailer": trailer})]


def verify(lines: list[str], trust: Trust = TRUST, **demands: Any) -> Verdict:
    """The verdict on lines."""
    return verify_receipts((line.encode() for line in lines), trust, Demands(**demands))


def test_a_receipt_proves_its_event() -> None:
    """Leaf, values and proof hold together under the key of the caller."""
    verdict = verify([canonical(log_of().receipt(7))])
    assert (verdict.sound, verdict.verified, verdict.start, verdict.end, verdict.size) == (True, 1, 7, 8, 12)
    assert verdict.signed_by == [LOG.vkey]


def test_every_receipt_of_a_log_verifies() -> None:
    """All places of trees of several sizes."""
    for size in (1, 2, 3, 8, 13):
        log = log_of(size)
        assert all(verify([canonical(log.receipt(index))]).sound for index in range(size))


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r | {"leaf": r["leaf"].replace("success", "failure")},
        lambda r: r | {"proof": r["proof"].replace("index 7", "index 6")},
        lambda r: r | {"proof": r["proof"].replace("index 7", "index 07")},
        lambda r: r | {"proof": r["proof"].replace("index 7\n", "index 7\n" + "A" * 43 + "=\n")},
        lambda r: r | {"proof": r["proof"].rpartition("— ")[0]},
        lambda r: r | {"disclosures": [r["disclosures"][0].replace("Ana", "Eve"), *r["disclosures"][1:]]},
        lambda r: r | {"disclosures": r["disclosures"][::-1]},
        lambda r: r | {"disclosures": r["disclosures"] * 2},
        lambda r: r | {"disclosures": r["disclosures"][:4]},
        lambda r: r | {"disclosures": [*r["disclosures"][:4], r["disclosures"][4] + " "]},
        lambda r: r | {"disclosures": "none"},
        lambda r: r | {"v": 2},
        lambda r: r | {"v": True},
        lambda r: r | {"key": LOG.vkey},
    ],
)
def test_a_changed_receipt_fails(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """(cases 1, 42, 58) Any change of leaf, index, proof, signature or values."""
    verdict = verify([canonical(change(log_of().receipt(7)))])
    assert (verdict.exit_code, verdict.verified) == (1, 0)


def test_one_flipped_bit_of_a_receipt_is_found() -> None:
    """Every byte of the line counts."""
    line = canonical(log_of(5).receipt(3)).encode()
    for at in range(len(line)):
        changed = bytearray(line)
        changed[at] ^= 1 << at % 7
        try:
            verdict = verify_receipts(iter([bytes(changed)]), TRUST, Demands())
        except NotChecked:
            continue
        assert not verdict.sound, at


def test_a_receipt_of_another_organization_is_refused() -> None:
    """(case 45) Its checkpoint is signed by a key of another origin, or its leaf names another log."""
    log = log_of()
    log.events[7].hex_digits = "f" * 32
    assert "another log" in verify([canonical(log.receipt(7))]).failures[0].rule
    other = Key(ORIGIN[:-1] + "2")
    assert not verify([canonical(log_of().receipt(7))], Trust.of([parse_verifier(other.vkey)])).sound
    assert not verify([canonical(log_of().receipt(7))], origin=other.name).sound


def test_a_missing_value_asks_for_a_bundle() -> None:
    """(case 56) A receipt carries no manifest, so nothing in it explains what is missing."""
    log = log_of()
    log.events[7].gone = {"actor"}
    verdict = verify([canonical(log.receipt(7))])
    assert (verdict.exit_code, verdict.failures[0].what) == (1, "group actor")
    assert any("a bundle shows" in text for text in verdict.warnings)


def test_lines_are_counted_and_their_completeness_is_not_claimed() -> None:
    """NDJSON with proofs is a selection."""
    verdict = verify(exported(log_of(), [1, 4, 5, 9]))
    assert (verdict.sound, verdict.verified, verdict.complete) == (True, 4, "filtered")
    assert any("not proven" in text for text in verdict.warnings)
    assert verify(exported(log_of(), [9, 5, 4, 1])).sound  # newest first


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda rows: rows[:1] + rows[2:], id="dropped"),
        pytest.param(lambda rows: [rows[0], *rows], id="duplicated"),
        pytest.param(lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], id="swapped"),
        pytest.param(lambda rows: rows[:-1], id="without trailer"),
        pytest.param(lambda rows: [*rows, rows[0]], id="after the trailer"),
        pytest.param(lambda rows: [*rows[:-1], rows[-1].replace(":4,", ":5,")], id="counts"),
        pytest.param(lambda rows: [*rows[:2], rows[2].replace("Ana", "Eve"), *rows[3:]], id="edited"),
        pytest.param(lambda rows: [*rows[:2], "{", *rows[3:]], id="garbage"),
        pytest.param(lambda rows: [*rows[:-1], '{"trailer":{"events":4}}'], id="short trailer"),
    ],
)
def test_lines_lost_doubled_moved_or_edited_are_found(change: Callable[[list[str]], list[str]]) -> None:
    """(case 65) What is done to the lines of NDJSON shows in their proofs, their order or their count."""
    assert verify(change(exported(log_of(), [1, 4, 5, 9]))).exit_code == 1


def test_lines_under_two_checkpoints_are_refused() -> None:
    """(case 12) Two heads that nobody showed to be of one history."""
    rows = exported(log_of(), [1, 4])
    rows[1] = canonical(log_of(11).receipt(4))
    assert "same checkpoint" in verify(rows).failures[0].rule


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", '{"id":"x"}', "not json", '{"trailer":{"events":0,"redacted":0}}']
)
def test_what_carries_no_proof_gets_no_verdict(line: str) -> None:
    """Plain NDJSON and other JSON are no evidence."""
    with pytest.raises(NotChecked):
        verify([line])


def test_a_range_cannot_be_shown_by_receipts() -> None:
    """(case 66) --range needs a bundle."""
    assert verify(exported(log_of(3), [0, 1, 2]), span=(0, 3)).exit_code == 1


def test_unpublished_events_are_said() -> None:
    """Events without a proof yet are counted by the trailer, and told."""
    verdict = verify(exported(log_of(), [1], unpublished=3))
    assert verdict.sound
    assert any("3 events had no proof yet" in text for text in verdict.warnings)


def test_json_that_could_mean_two_things_is_named() -> None:
    """(case 48) A key twice, in the receipt itself or in a value."""
    line = canonical(log_of().receipt(7))
    assert not verify([line[:-1] + ',"v":1}']).sound
    log = log_of()
    log.events[7].texts = {"details": '{"metadata":{"a":1,"a":2}}'}
    assert not verify([canonical(log.receipt(7))]).sound
    assert json.loads(line)["v"] == 1
