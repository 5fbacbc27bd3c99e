"""A verdict: one count an entry, bounded lists, a sentence for each failure, ASCII for the terminal."""

from __future__ import annotations

import pytest

from affidavit.core.unsound import BadProof, RootMismatch
from affidavit.core.verdict import Cosigned, Verdict, escaped


def test_a_new_verdict_is_sound_and_empty() -> None:
    """Nothing looked at, nothing failed; the shape is the documented one."""
    shown = Verdict().as_json()
    assert (
        list(shown)
        == (
            "sound origin start end size complete signed_by witnesses memory verified redacted expired "
            "pruned invalid failed sealed_late failures warnings"
        ).split()
    )
    assert shown["sound"] is True


def test_a_failure_is_counted_listed_and_told() -> None:
    """Place, event, rule and both values."""
    verdict = Verdict()
    verdict.origin = "log.example/0/1"
    verdict.fail("group actor", "it differs", position=7, id="e", expected="aa", computed="bb")
    assert (verdict.sound, verdict.exit_code) == (False, 1)
    assert verdict.as_json()["failures"] == [
        {
            "index": 7,
            "id": "e",
            "what": "group actor",
            "rule": "it differs",
            "expected": "aa",
            "computed": "bb",
        }
    ]
    assert "  failed: entry 7: group actor: it differs: expected aa, computed bb (event e)" in list(
        verdict.lines()
    )


def test_errors_of_the_evidence_become_failures() -> None:
    """Both roots of a mismatch are shown."""
    verdict = Verdict()
    verdict.refuse("checkpoint", RootMismatch("x", b"\x01", b"\x02"))
    verdict.refuse("entry", BadProof("too short"), position=3)
    assert [(f.expected, f.computed) for f in verdict.failures] == [("01", "02"), (None, None)]
    assert verdict.failed == 2


def test_lists_are_bounded_and_counts_are_not() -> None:
    """A thousand failures, a hundred warnings, each warning once."""
    verdict = Verdict()
    for number in range(1500):
        verdict.fail("entry", "bad", position=number)
        verdict.warn(f"note {number % 120}")
    assert (verdict.failed, len(verdict.failures), len(verdict.warnings)) == (1500, 1000, 100)


def test_what_is_disproved_is_no_longer_counted() -> None:
    """When the root differs nothing that was counted before is shown."""
    verdict = Verdict()
    verdict.verified, verdict.redacted, verdict.sealed_late = 10, 2, 1
    verdict.disprove(12)
    assert (verdict.verified, verdict.redacted, verdict.sealed_late, verdict.failed) == (0, 0, 0, 12)


@pytest.mark.parametrize(("failed", "reason", "code"), [(0, None, 0), (1, None, 1), (0, "x", 2), (1, "x", 1)])
def test_exit_codes(failed: int, reason: str | None, code: int) -> None:
    """0 sound, 1 not sound, 2 could not be checked; a failure outweighs an open question."""
    verdict = Verdict()
    verdict.failed, verdict.not_checked = failed, reason
    assert verdict.exit_code == code
    assert verdict.sound is (code == 0)


def test_memory_names_the_witnesses() -> None:
    """Who besides the operator has seen this head, and when."""
    verdict = Verdict()
    assert verdict.memory == "signed by the operator only"
    verdict.witnesses = [Cosigned("w1", 0), Cosigned("w2", 10**18)]
    assert verdict.memory == "cosigned by w1, w2"
    assert [each["time"] for each in verdict.as_json()["witnesses"]] == [
        "1970-01-01T00:00:00.000000Z",
        "@1000000000000000000",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ~", "plain ~"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("exаmple", "ex\\u0430mple"),
        ("\U0001f600", "\\U0001f600"),
        ("\n\r\x7f\x9b", "\\x0a\\x0d\\x7f\\x9b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_everything_but_printable_ascii_is_written_out(text: str, shown: str) -> None:
    """(cases 47, 54) Escape sequences, turned text, letters that look alike."""
    assert escaped(text) == shown
