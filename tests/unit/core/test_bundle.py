"""Bundles of a naive writer: what is whole verifies with the right counts, what was changed is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from affidavit.core.bundle import verify_bundle
from affidavit.core.checkpoint import parse_checkpoint
from affidavit.core.note import parse_verifier
from affidavit.core.policy import parse_policy
from affidavit.core.trust import Demands, Trust
from affidavit.core.verdict import COUNTS, Verdict
from tests.naive_bundle import (
    EPOCH,
    GROUPS,
    LOG,
    ORIGIN,
    OTHER_WITNESS,
    STEP,
    STRANGER,
    WITNESS,
    Event,
    Key,
    Log,
    Mapped,
    canonical,
    checkpoint_text,
    erasure_of,
    history,
    manifest_note,
    ndjson,
    prune_of,
    root,
)

TRUST = Trust.of([parse_verifier(LOG.vkey), parse_verifier(WITNESS.vkey)])
NOW = int((EPOCH + timedelta(days=46)).timestamp())


def verify(members: Mapping[str, bytes], *, trust: Trust = TRUST, **demands: Any) -> Verdict:
    """The verdict on members."""
    return verify_bundle(Mapped(members), trust, Demands(**{"now": NOW, **demands}))


def counts(verdict: Verdict) -> dict[str, int]:
    """The counts that are not 0."""
    return {name: getattr(verdict, name) for name in COUNTS if getattr(verdict, name)}


def said(verdict: Verdict) -> str:
    """Everything that failed, in one text."""
    return "\n".join(failure.line() for failure in verdict.failures)


def lines(members: Mapping[str, bytes], name: str) -> list[str]:
    """Of a member."""
    return members[name].decode().splitlines()


def plain(count: int = 20) -> Log:
    """A log of ordinary events."""
    return Log([Event(number) for number in range(count)])


def resigned(log: Log, members: dict[str, bytes]) -> dict[str, bytes]:
    """An insider has the key: the checkpoint is signed anew over the leaves as they stand in the members."""
    entries = members["entries.ndjson"].splitlines()
    text = checkpoint_text(len(entries), root([sha256(b"\0" + entry).digest() for entry in entries]))
    return members | {"checkpoint": f"{text}\n{LOG.sign(text)}".encode()}


# What is whole


def test_every_kind_of_entry_is_counted_once() -> None:
    """Verified, redacted, expired, pruned and invalid entries of a whole tree are told apart."""
    verdict = verify(history().bundle())
    assert counts(verdict) == {"verified": 32, "redacted": 2, "expired": 3, "pruned": 2, "invalid": 1}
    assert (verdict.sound, verdict.complete, verdict.exit_code) == (True, "range", 0)
    assert (verdict.origin, verdict.start, verdict.end, verdict.size) == (ORIGIN, 0, 40, 40)


def test_a_range_is_explained_by_what_stands_outside_it() -> None:
    """Erasures and policies that come after the range are cited with proofs of their own."""
    verdict = verify(history().bundle(4, 20))
    assert counts(verdict) == {"verified": 11, "redacted": 2, "expired": 3}


def test_a_selection_proves_each_entry_and_says_what_it_does_not_prove() -> None:
    """A filtered bundle is sound and warns that its completeness is not proven."""
    verdict = verify(history().bundle(only=[2, 3, 5, 6, 8, 20, 31]))
    assert counts(verdict) == {"verified": 3, "redacted": 2, "expired": 1, "invalid": 1}
    assert verdict.complete == "filtered"
    assert any("nothing was left out of the selection is not proven" in text for text in verdict.warnings)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 255, 256, 257, 1025])
def test_ranges_of_trees_of_many_sizes_verify(size: int) -> None:
    """The whole tree, its halves and single entries lead to the root, at sizes around the tiles."""
    log = plain(size)
    for start, end in {
        (0, size),
        (size // 2, size),
        (0, size // 2),
        (size - 1, size),
        (size // 3, size // 3 + 1),
    }:
        verdict = verify(log.bundle(start, end))
        assert counts(verdict) == ({"verified": end - start} if end > start else {}), (start, end)
        assert verdict.sound


def test_the_empty_tree_verifies() -> None:
    """A log without events has a signed checkpoint of size 0 and a bundle."""
    verdict = verify(Log([]).bundle())
    assert (verdict.sound, verdict.size, counts(verdict)) == (True, 0, {})


def test_values_of_every_form_are_hashed_as_they_stand() -> None:
    """(cases 49, 50, 51, 52) Great integers, floats, astral keys, NFC and NFD, white space: bytes count."""
    texts = {
        "actor": '{"actor":{"id":"é","name":"e\u0301"}}',
        "resources": '{"resources":[{"n":9007199254740993,"m":1%s}]}' % ("0" * 5000),
        "context": '{ "a" : [ 1.10 , -0, 1E400 ] }',
        "changes": '{"changes":{"\U0001f600":{"new":"\\u0001 \\ud83d\\ude00"}}}',
        "details": '{\n\t"metadata": {"x":"],[\\"AAAAAAAAAAAAAAAAAAAAAA\\",\\"actor\\",{"}}',
    }
    log = plain(5)
    log.events[2].texts = texts
    verdict = verify(log.bundle())
    assert (counts(verdict), verdict.sound) == ({"verified": 5}, True)


def test_a_text_that_looks_like_a_disclosure_hides_nothing() -> None:
    """(case 58) A nested value in the very form of a disclosure is not taken for one."""
    inner = ["A" * 22, "details", {"metadata": {}}]
    log = plain(5)
    log.events[1].values = {"context": {"x": inner}, "changes": {"changes": {"a": {"new": inner}}}}
    assert counts(verify(log.bundle())) == {"verified": 5}


def test_a_rerun_gives_the_same_verdict() -> None:
    """(case 61) A checkpoint and proofs from before an erasure still verify after it."""
    log = history()
    before = Log(log.events[:30], kept={})
    for event in before.events:
        event.gone, event.pruned = set(), False
    assert counts(verify(before.bundle())) == {"verified": 29, "invalid": 1}


# History


def test_an_edited_entry_breaks_the_range() -> None:
    """(case 1) One changed byte of a leaf: the root differs, nothing is called verified."""
    members = plain().bundle()
    members["entries.ndjson"] = members["entries.ndjson"].replace(b'"success"', b'"failure"', 1)
    verdict = verify(members)
    assert counts(verdict) == {"failed": 20}
    assert "the root of the tree of size 20" in said(verdict)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda entries: entries[:7] + entries[8:], id="(case 3) deleted"),
        pytest.param(
            lambda entries: [*entries[:7], entries[8], entries[7], *entries[9:]], id="(case 5) swapped"
        ),
        pytest.param(lambda entries: [*entries[:7], entries[6], *entries[7:]], id="(case 65) duplicated"),
        pytest.param(lambda entries: entries[:-1], id="(case 7) tail cut"),
    ],
)
def test_rows_that_are_lost_moved_or_doubled_are_found(change: Callable[[list[str]], list[str]]) -> None:
    """(cases 3, 5, 7, 65) Every change of the sequence of a range fails as a whole."""
    members = plain().bundle()
    members["entries.ndjson"] = ndjson(change(lines(members, "entries.ndjson")))
    verdict = verify(members)
    assert (verdict.sound, verdict.verified, verdict.failed) == (False, 0, 20)


def test_a_deleted_and_renumbered_event_is_found() -> None:
    """(case 4) Without its leaf the tree is smaller than the one that was signed."""
    log = plain()
    shorter = Log(log.events[:7] + log.events[8:])
    members = shorter.bundle() | {"checkpoint": log.checkpoint()}
    header = json.loads(members["bundle.json"]) | {"size": 20, "end": 20}
    members["bundle.json"] = canonical(header).encode()
    assert verify(members).failed == 20


def test_a_back_dated_insert_under_the_log_key_is_sealed_late() -> None:
    """(cases 6, 70) An insider with the key inserts an old event: a witness saw the head without it."""
    log = plain(30)
    log.events[25].recorded = EPOCH + STEP * 3
    log.kept = {20: EPOCH + STEP * 20}
    verdict = verify(log.bundle())
    assert (verdict.sound, verdict.sealed_late, verdict.verified) == (True, 1, 30)


def test_sealed_late_begins_after_five_minutes() -> None:
    """(case 71) A clock that steps back by 5 minutes is not called late, by a microsecond more it is."""
    for back, late in ((timedelta(minutes=5), 0), (timedelta(minutes=5, microseconds=1), 1)):
        log = plain(30)
        log.kept = {20: EPOCH + STEP * 20}
        log.events[20].recorded = EPOCH + STEP * 20 - back
        assert verify(log.bundle()).sealed_late == late


def test_long_after_the_witness_an_entry_is_still_late() -> None:
    """(case 70) Far behind the last cosigned head, where entries are judged by the hundred."""
    log = plain(1000)
    log.kept = {20: EPOCH + STEP * 20}
    for number in (850, 990):
        log.events[number].recorded = EPOCH + STEP * 3
    log.events[990].gone = set(GROUPS)
    verdict = verify(log.bundle())
    assert (verdict.sealed_late, verdict.verified, verdict.failed) == (2, 999, 1)


def test_only_witnesses_that_are_trusted_make_an_entry_late() -> None:
    """A cosignature of somebody whom the caller does not trust says nothing about time."""
    log = plain(30)
    log.events[25].recorded = EPOCH
    log.kept = {20: EPOCH + STEP * 20}
    alone = Trust.of([parse_verifier(LOG.vkey)])
    assert verify(log.bundle(), trust=alone).sealed_late == 0


def test_a_rewritten_tail_contradicts_a_kept_checkpoint() -> None:
    """(cases 9, 10) Signed anew with the same key: --since finds it, the bundle alone cannot."""
    log = plain()
    kept = parse_checkpoint(checkpoint_text(12, root(log.hashes[:12])))
    log.events[10].values = {"details": {"reason": "rewritten"}}
    members = log.bundle()
    assert verify(members).sound
    verdict = verify(members, since=kept)
    assert not verdict.sound
    assert "rewritten: the tree at the size 12 you kept" in said(verdict)


def test_a_fork_of_one_size_is_named() -> None:
    """(case 11) Two signed roots of the same size."""
    log = plain()
    kept = parse_checkpoint(checkpoint_text(20, root(log.hashes)))
    log.events[19].action = "user.other"
    assert "fork: two roots of size 20" in said(verify(log.bundle(), since=kept))


@pytest.mark.parametrize(("start", "end"), [(0, 20), (5, 20), (12, 20), (0, 12), (12, 13)])
def test_a_kept_checkpoint_is_compared_wherever_the_range_shows_its_size(start: int, end: int) -> None:
    """(case 12) The root at the old size comes out of left hashes, leaves and right hashes."""
    log = plain()
    good = parse_checkpoint(checkpoint_text(12, root(log.hashes[:12])))
    bad = parse_checkpoint(checkpoint_text(12, root(log.hashes[1:13])))
    members = log.bundle(start, end)
    assert verify(members, since=good).exit_code == 0
    assert verify(members, since=bad).exit_code == 1


def test_a_kept_checkpoint_that_nothing_shows_is_not_passed_over() -> None:
    """A range far from the kept size cannot answer: no verdict, rather than a good one."""
    log = plain()
    kept = parse_checkpoint(checkpoint_text(11, root(log.hashes[:11])))
    verdict = verify(log.bundle(15, 20), since=kept)
    assert (verdict.exit_code, verdict.sound) == (2, False)
    log.kept = {11: None}
    assert verify(log.bundle(15, 20), since=kept).exit_code == 0


def test_a_rollback_is_named() -> None:
    """(case 13) An older valid checkpoint in place of the newest."""
    log = plain()
    kept = parse_checkpoint(checkpoint_text(20, root(log.hashes)))
    assert "rollback: its tree has 15 entries" in said(verify(Log(log.events[:15]).bundle(), since=kept))


def test_a_frozen_checkpoint_is_too_old() -> None:
    """(case 14) --max-age counts from the last time a trusted witness saw it, and needs one."""
    log = plain()
    log.cosigned = EPOCH
    seen = int(EPOCH.timestamp())
    assert verify(log.bundle(), max_age=60, now=seen + 60).exit_code == 0
    assert verify(log.bundle(), max_age=60, now=seen + 61).exit_code == 1
    log.cosigned = None
    assert verify(log.bundle(), max_age=60, now=seen).exit_code == 2


def test_an_older_checkpoint_that_is_no_beginning_is_found() -> None:
    """(cases 11, 12) A kept checkpoint of another history, with the proof of the right one."""
    log = plain()
    log.kept = {9: None}
    members = log.bundle()
    text = checkpoint_text(9, root(log.hashes[1:10]))
    members["checkpoints/9"] = f"{text}\n{LOG.sign(text)}".encode()
    verdict = verify(members)
    assert (verdict.sound, verdict.verified) == (False, 0)


# Keys and witnesses


def test_only_the_key_of_the_caller_counts() -> None:
    """(case 42) A bundle signed by another key under the same origin, or by nobody trusted, fails."""
    log = plain()
    log.keys = (STRANGER,)
    verdict = verify(log.bundle())
    assert (verdict.exit_code, verdict.verified) == (1, 0)
    assert "no trusted key has signed" in said(verdict)


@pytest.mark.parametrize(
    "name", ["key", "key.vkey", "policy.txt", "keys/log.pub", "bundle.sig", "checkpoints/007"]
)
def test_a_key_in_the_bundle_is_refused(name: str) -> None:
    """(case 42) No member but those of a bundle: who could forge the rest could forge a key."""
    verdict = verify(plain().bundle() | {name: LOG.vkey.encode()})
    assert verdict.exit_code == 1
    assert name in said(verdict)


def test_readme_and_policy_are_not_looked_at() -> None:
    """Free text changes nothing, whatever it says."""
    log = plain()
    free = {"policy": f"log {STRANGER.vkey}\nquorum none\n".encode(), "README": b"\xff\x00"}
    assert verify(log.bundle() | free).sound
    log.keys = (STRANGER,)
    assert not verify(log.bundle() | free).sound


def test_a_quorum_is_demanded_where_the_policy_says_so() -> None:
    """(case 43) A stolen log key alone does not satisfy a quorum of witnesses."""
    text = (
        f"log {LOG.vkey}\nwitness w1 {WITNESS.vkey}\nwitness w2 {OTHER_WITNESS.vkey}\ngroup all all w1 w2\n"
    )
    one = Trust.of([], parse_policy(text + "quorum w1\n"))
    both = Trust.of([], parse_policy(text + "quorum all\n"))
    log = plain()
    assert not verify(log.bundle(), trust=one).sound
    log.cosigned = EPOCH
    assert verify(log.bundle(), trust=one).sound
    verdict = verify(log.bundle(), trust=both)
    assert not verdict.sound
    assert "group all has 1 of 2, missing of w2" in said(verdict)


def test_who_remembers_it_is_said() -> None:
    """Without a trusted cosignature the memory is the operator's alone."""
    log = plain()
    assert verify(log.bundle()).memory == "signed by the operator only"
    log.cosigned = EPOCH
    verdict = verify(log.bundle())
    assert verdict.memory == "cosigned by witness.example/w1"
    assert verdict.as_json()["checkpoint_time"] == "2026-03-01T08:00:00.000000Z"


def test_a_retired_key_cannot_sign_alone() -> None:
    """(case 43) After log.key.rotated a head without the new key's signature is refused."""
    new = Key(ORIGIN, 1, "new")
    log = plain()
    facts = {"old": LOG.id.hex(), "new": new.id.hex(), "size": 10}
    log.events[10] = Event(10, "log.key.rotated", facts)
    assert "only a retired key" in said(verify(log.bundle()))
    assert "only a retired key" in said(verify(log.bundle(12, 20)))
    log.keys = (LOG, new)
    assert verify(log.bundle()).sound


# Tenancy


def test_a_checkpoint_of_another_organization_is_refused() -> None:
    """(cases 45, 67) Entries of one log under the checkpoint of another, or of another incarnation."""
    for other in (ORIGIN.replace("00112233", "ffff2233"), ORIGIN[:-1] + "2"):
        key = Key(other)
        trust = Trust.of([parse_verifier(LOG.vkey), parse_verifier(key.vkey)])
        text = checkpoint_text(20, root(plain().hashes), other)
        members = plain().bundle() | {"checkpoint": f"{text}\n{key.sign(text)}".encode()}
        verdict = verify(members, trust=trust)
        assert (verdict.exit_code, verdict.verified) == (1, 0)
        assert other in said(verdict)


def test_an_origin_that_was_asked_for_must_be_it() -> None:
    """(case 45) With several trusted keys --origin says which log is meant."""
    assert verify(plain().bundle(), origin=ORIGIN).sound
    assert not verify(plain().bundle(), origin=ORIGIN[:-1] + "2").sound


@pytest.mark.parametrize("look", ["LOG.example", "log.example.", "log.exаmple", "log.example/"])
def test_names_that_only_look_alike_are_others(look: str) -> None:
    """(case 47) Case, a dot or slash more, and a Cyrillic letter make another log."""
    other = ORIGIN.replace("log.example", look)
    log = plain()
    log.origin, log.keys = other, (Key(other),)
    assert verify(log.bundle()).verified == 0


def test_an_entry_of_another_organization_is_named() -> None:
    """(case 46) The name of the organization stands inside the leaf: a moved one fails by itself."""
    log = plain()
    log.events[4].hex_digits = "f" * 32
    verdict = verify(log.bundle())
    assert counts(verdict) == {"verified": 19, "failed": 1}
    assert (verdict.failures[0].position, verdict.failures[0].rule) == (4, "it belongs to another log")


# JSON


@pytest.mark.parametrize(
    ("group", "text"),
    [
        ("details", '{"metadata":{"a":1,"a":2}}'),
        ("details", '{"metadata":{"a":1,"\\u0061":2}}'),
        ("details", '{"metadata":{"a" :1,"a":2}}'),
        ("details", '{"metadata":{"a":1,"b":[{"c":1,"c":1}]}}'),
        ("context", '{"x":NaN}'),
        ("context", '{"x":"\\ud800"}'),
        ("actor", '{"actor":' + "[" * 100_000 + "1" + "]" * 100_000 + "}"),
        ("actor", '{"actor":' + "[" * 70 + "1" + "]" * 70 + "}"),
        ("changes", '{"changes":}'),
    ],
    ids=[
        "twice",
        "twice escaped",
        "twice spaced",
        "nested twice",
        "NaN",
        "surrogate",
        "deep",
        "70 deep",
        "cut",
    ],
)
def test_json_that_could_mean_two_things_is_named(group: str, text: str) -> None:
    """(cases 48, 50, 51, 53) Though its digest is right, a value that is no strict JSON fails, alone."""
    log = plain()
    log.events[4].texts = {group: text}
    verdict = verify(log.bundle())
    assert counts(verdict) == {"verified": 19, "failed": 1}
    assert verdict.failures[0].position == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda leaf: leaf.replace('"outcome":', '"outcome":"failure","outcome":'),
        lambda leaf: leaf.replace('"v":1', '"v": 1'),
        lambda leaf: leaf.replace('"v":1', '"v":true'),
        lambda leaf: leaf.replace('"v":1', '"v":2'),
        lambda leaf: leaf.replace('"source":"web"', '"source":"w\\u0065b"'),
        lambda leaf: leaf.replace('"changes":"', '"changes":"g', 1),
        lambda leaf: leaf.replace('"v":1', '"v":1,"w":2'),
    ],
)
def test_a_leaf_that_is_not_in_the_one_spelling_is_named(change: Callable[[str], str]) -> None:
    """(case 48) The tree commits to it, and it is refused all the same."""
    log = plain()
    members = log.bundle()
    entries = lines(members, "entries.ndjson")
    entries[4] = change(entries[4])
    members["entries.ndjson"] = ndjson(entries)
    verdict = verify(resigned(log, members))
    assert counts(verdict) == {"verified": 19, "failed": 1}
    assert verdict.failures[0].position == 4


def test_what_is_shown_is_printable_ascii() -> None:
    """(case 54) Escape sequences and characters that turn text around are written out."""
    log = plain()
    log.origin = f"log.ex\x1b[2J\u202eample/{'0' * 32}/1"
    shown = "\n".join(verify(log.bundle() | {"\x1b]0;x\u202e": b""}).lines())
    assert shown.isascii()
    assert "\x1b" not in shown
    assert "\\x1b]0;x\\u202e" in shown


# Erasure and retention


def without(log: Log, index: int, groups: Sequence[str]) -> dict[str, bytes]:
    """The bundle with some groups of one entry taken out."""
    log.events[index].gone |= set(groups)
    return log.bundle()


def test_a_missing_value_without_a_manifest_is_a_failure() -> None:
    """(case 56) Taking a value away is no redaction."""
    verdict = verify(without(plain(), 4, ["changes"]))
    assert counts(verdict) == {"verified": 19, "failed": 1}
    assert (verdict.failures[0].position, verdict.failures[0].what) == (4, "group changes")


def test_another_group_passed_off_as_the_erased_one_is_a_failure() -> None:
    """(case 56) The manifest names context, and changes is what is missing."""
    log = history()
    log.events[6].gone = {"changes"}
    verdict = verify(log.bundle())
    assert (verdict.failed, verdict.redacted) == (1, 1)
    assert (verdict.failures[0].position, verdict.failures[0].what) == (6, "group changes")


def test_a_disclosure_of_one_group_cannot_stand_for_another() -> None:
    """(case 58) Renamed, swapped within an event, swapped between events, altered: the group is named."""
    log = plain()
    own = log.events[4]
    for text, what in (
        (log.groups_line(4).replace('"changes",', '"context",', 1), None),  # type: ignore[union-attr]
        (log.groups_line(4).replace('"old":"free"', '"old":"gold"'), "group changes"),  # type: ignore[union-attr]
        (log.groups_line(4).replace(own.salt("actor"), log.events[5].salt("actor")), "group actor"),  # type: ignore[union-attr]
        (log.groups_line(5).replace("[5,", "[4,"), "group actor"),  # type: ignore[union-attr]
        (log.groups_line(4).replace('"details",', '"detail",'), None),  # type: ignore[union-attr]
        (log.groups_line(4)[:-1] + "," + own.disclosure("details") + "]", None),  # type: ignore[index]
        (f"[4,{own.disclosure('resources')},{own.disclosure('actor')}]", None),
    ):
        members = log.bundle()
        shown = lines(members, "groups.ndjson")
        shown[4] = text
        members["groups.ndjson"] = ndjson(shown)
        verdict = verify(members)
        assert counts(verdict) == {"verified": 19, "failed": 1}, text
        assert verdict.failures[0].position == 4
        assert what is None or verdict.failures[0].what == what


def test_a_salt_that_is_used_twice_is_named() -> None:
    """(case 59) Two groups of one event under one salt."""
    log = plain()

    class Lazy(Event):
        def salt(self, group: str) -> str:
            return super().salt("actor")

    log.events[4] = Lazy(4)
    verdict = verify(log.bundle())
    assert counts(verdict) == {"verified": 19, "failed": 1}
    assert "salt once" in said(verdict)


def test_an_announced_erasure_that_did_not_happen_is_said() -> None:
    """(case 57) The manifest covers a value that is still there: a warning, not a failure."""
    log = history()
    log.events[6].gone = set()
    verdict = verify(log.bundle())
    assert verdict.sound
    assert any("actor of entry 6 was erased, and its value is here" in text for text in verdict.warnings)


def test_an_erasure_whose_manifest_is_not_here_is_said() -> None:
    """(case 57) The event names a manifest that nobody shows."""
    log = history()
    log.manifests = log.manifests[1:]
    log.events[6].gone = log.events[8].gone = set()
    verdict = verify(log.bundle())
    assert verdict.sound
    assert any("manifest of the erasure at entry 30 is not here" in text for text in verdict.warnings)


def test_a_manifest_that_no_event_cites_explains_nothing() -> None:
    """(case 56) Signed with the log key, but never announced in the log."""
    log = plain()
    log.manifests = [(erasure_of(log.events, {4: ["changes"]}), "erasure")]
    verdict = verify(without(log, 4, ["changes"]))
    assert counts(verdict) == {"verified": 19, "failed": 1}
    assert any("no event here cites the manifest" in text for text in verdict.warnings)


@pytest.mark.parametrize("action", ["audit.erasure.completed", "audit.retention.pruned", "user.note"])
def test_only_the_event_of_an_erasure_cites_it(action: str) -> None:
    """(case 56) The hash in the facts of another event, such as a client could post, is no citation."""
    log = plain()
    body = erasure_of(log.events, {4: ["changes"]})
    log.manifests = [(body, "erasure")]
    log.events[9] = Event(9, action, {"manifest": sha256(body).hexdigest()})
    assert verify(without(log, 4, ["changes"])).failed == 1


def test_a_manifest_of_another_key_is_refused() -> None:
    """(case 56) Announced and covering, but not signed by the log."""
    log = history()
    members = log.bundle()
    body, kind = log.manifests[0]
    members[f"manifests/{sha256(body).hexdigest()}.note"] = manifest_note(body, kind, STRANGER)
    assert verify(members).exit_code == 1


def test_a_manifest_with_the_digests_of_other_values_is_refused() -> None:
    """(case 56) What it says stood there is not what the leaves commit to."""
    log = plain()
    body = erasure_of([*log.events[:4], log.events[5]], {4: ["changes"]})
    log.manifests = [(body, "erasure")]
    log.events[9] = Event(9, "audit.erasure.requested", {"manifest": sha256(body).hexdigest()})
    verdict = verify(without(log, 4, ["changes"]))
    assert not verdict.sound
    assert "its digest over entries 4 to 4" in said(verdict)


def test_a_critical_event_that_expired_early_is_a_failure() -> None:
    """The policy keeps its class longer, or for ever, or the row was too young."""
    for policy, recorded, expired in (
        ("user.*=30", EPOCH, True),
        ("user.*=30", EPOCH + timedelta(days=15) + STEP, True),
        ("user.*=30", EPOCH + timedelta(days=15) + STEP + timedelta(microseconds=1), False),
        ("user.*=46", EPOCH, False),
        ("*=30 user.login=forever", EPOCH, False),
        ("user.login=30 user.logi=1", EPOCH, None),
        ("*=30 user.*=90", EPOCH, False),
        ("", EPOCH, False),
    ):
        log = history()
        log.events[12].facts = log.events[31].facts = {"policy": policy}
        log.events[5].recorded = recorded
        log.events[7].gone = log.events[9].gone = set()
        verdict = verify(log.bundle())
        if expired is None:
            assert not verdict.sound
        else:
            assert (verdict.expired, verdict.failed) == ((1, 0) if expired else (0, 1)), policy


def test_an_expiry_under_a_policy_that_was_not_in_force_explains_nothing() -> None:
    """The table of the expiry must be that of the newest change before it."""
    log = history()
    log.events[31].facts = {"policy": "user.*=1"}
    assert verify(log.bundle()).failed == 3
    log.events[12].action = "user.other"
    assert verify(log.bundle()).failed == 3


@pytest.mark.parametrize(("held", "failed"), [("user.*", 3), ("user.login", 3), ("*", 3), ("invoice.*", 0)])
def test_a_legal_hold_wins_over_expiry(held: str, failed: int) -> None:
    """What a hold covered when the expiry ran may not be gone."""
    log = history()
    log.events[20] = Event(20, "audit.hold.created", {"hold": "h1", "class": held})
    assert verify(log.bundle()).failed == failed
    log.events[22] = Event(22, "audit.hold.released", {"hold": "h1", "class": held})
    assert verify(log.bundle()).failed == 0


def test_one_missing_group_is_no_expiry() -> None:
    """Expiry takes all five; a single one under a policy is a failure."""
    log = history()
    log.events[5].gone = {"changes"}
    assert verify(log.bundle()).failed == 1


@pytest.mark.parametrize(("start", "end", "failed"), [(0, 1, 0), (0, 2, 0), (1, 1, 1), (0, 0, 1), (1, 2, 1)])
def test_only_a_covered_row_may_be_pruned(start: int, end: int, failed: int) -> None:
    """(case 62) Below, at and above the pruned run: a hash without a manifest is a failure."""
    log = history()
    log.events[2].gone = set()
    body = prune_of(log.events, start, end)
    log.manifests[1] = (body, "prune")
    log.events[32].facts = {"manifest": sha256(body).hexdigest()}
    verdict = verify(log.bundle())
    assert (verdict.failed, verdict.pruned) == (failed, 2 - failed)


def test_a_prune_manifest_over_other_hashes_is_refused() -> None:
    """(case 62) It names the run, but not the leaves that stood there."""
    log = history()
    body = prune_of([log.events[2], log.events[1]], 0, 1)
    log.manifests[1] = (body, "prune")
    log.events[32].facts = {"manifest": sha256(body).hexdigest()}
    assert "its digest over entries 0 to 1" in said(verify(log.bundle()))


def test_an_erasure_manifest_does_not_explain_a_pruned_row() -> None:
    """(case 62) Only a prune manifest explains that a leaf is gone."""
    log = history()
    log.events[6].pruned = True
    assert verify(log.bundle()).failed == 1


def test_values_for_an_invalid_leaf_are_a_failure() -> None:
    """An invalid leaf has no digests: whatever is shown for it proves nothing."""
    log = plain()
    line = log.groups_line(4)
    log.events[4].invalid = True
    members = log.bundle()
    shown = lines(members, "groups.ndjson")
    shown.insert(4, str(line))
    members["groups.ndjson"] = ndjson(shown)
    assert counts(verify(members)) == {"verified": 19, "failed": 1}


# Exports


@pytest.mark.parametrize(("start", "end"), [(4, 20), (5, 19), (6, 20), (5, 21)])
def test_edges_off_by_one_fail(start: int, end: int) -> None:
    """(case 66) bundle.json says another range than the entries and hashes are of."""
    members = plain(30).bundle(5, 20)
    header = json.loads(members["bundle.json"]) | {"start": start, "end": end}
    members["bundle.json"] = canonical(header).encode()
    verdict = verify(members)
    assert (verdict.exit_code, verdict.verified) == (1, 0)


@pytest.mark.parametrize(
    ("span", "code"), [((5, 20), 0), ((6, 19), 0), ((4, 20), 1), ((5, 21), 1), ((5, None), 1), ((20, 20), 0)]
)
def test_a_demanded_range_must_be_there(span: tuple[int, int | None], code: int) -> None:
    """(case 66) --range finds a bundle that is one entry short on either side."""
    assert verify(plain(30).bundle(5, 20), span=span).exit_code == code


def test_a_selection_does_not_satisfy_a_range() -> None:
    """(case 66) All entries one by one are not a complete range."""
    assert verify(plain(5).bundle(only=range(5)), span=(0, 5)).exit_code == 1


def test_a_checkpoint_of_another_size_than_the_bundle_fails() -> None:
    """(case 68) Newer or older than what the hashes lead to."""
    log = plain(30)
    for size in (29, 25):
        members = log.bundle(0, 20) | {"checkpoint": log.checkpoint(size)}
        assert verify(members).verified == 0
        header = json.loads(members["bundle.json"]) | {"size": size}
        assert verify(members | {"bundle.json": canonical(header).encode()}).verified == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda rows: rows[:2] + rows[3:], id="dropped"),
        pytest.param(lambda rows: [*rows[:2], rows[1], *rows[2:]], id="duplicated"),
        pytest.param(lambda rows: [rows[1], rows[0], *rows[2:]], id="swapped"),
    ],
)
@pytest.mark.parametrize("name", ["entries.ndjson", "proofs.ndjson", "groups.ndjson"])
def test_rows_of_a_selection_that_are_lost_moved_or_doubled_are_found(
    name: str, change: Callable[[list[str]], list[str]]
) -> None:
    """(case 65) Lines of entries, proofs and groups belong together one by one."""
    members = plain().bundle(only=[1, 4, 9, 11])
    members[name] = ndjson(change(lines(members, name)))
    verdict = verify(members)
    assert not verdict.sound
    assert verdict.verified < 4


@pytest.mark.parametrize(
    "name", ["bundle.json", "entries.ndjson", "groups.ndjson", "checkpoint", "range.json"]
)
def test_a_member_that_is_missing_is_named(name: str) -> None:
    """Nothing is assumed for a member that is not there."""
    members = plain().bundle()
    del members[name]
    verdict = verify(members)
    assert (verdict.exit_code, verdict.verified) == (1, 0)
    assert name in said(verdict)


@pytest.mark.parametrize(
    "name", ["bundle.json", "range.json", "cited.ndjson", "consistency.ndjson", "proofs.ndjson"]
)
def test_another_spelling_of_the_same_is_refused(name: str) -> None:
    """Every byte counts: a space, an escape that need not be, keys in another order."""
    log = history()
    members = log.bundle(only=[2, 5]) if name == "proofs.ndjson" else log.bundle(4, 20)
    assert verify(members).sound
    value = json.loads(lines(members, name)[0])
    rest = "".join(f"{line}\n" for line in lines(members, name)[1:])
    end = "\n" if name.endswith("ndjson") else ""
    for text in (
        json.dumps(value),
        json.dumps(value, separators=(",", ":")).replace("=", "\\u003d").replace("log", "l\\u006fg"),
    ):
        changed = members | {name: f"{text}{end}{rest}".encode()}
        assert changed[name] != members[name]
        assert not verify(changed).sound


def test_cited_leaves_must_explain_something() -> None:
    """cited.ndjson is no place for other entries, nor for those that stand in the range."""
    log = history()
    members = log.bundle(20, 40)
    bare = log.bundle(0, 40)
    for index in (14, 30):
        proof = json.loads(lines(log.bundle(only=[index]), "proofs.ndjson")[0])[1]
        line = canonical([index, log.events[index].entry.decode(), proof])
        for target in (members, bare):
            cited = ndjson(
                sorted([*lines(target, "cited.ndjson"), line], key=lambda text: json.loads(text)[0])
            )
            assert not verify(target | {"cited.ndjson": cited}).sound


def test_a_cited_leaf_that_is_not_in_the_tree_explains_nothing() -> None:
    """(case 56) A forged announcement of an erasure beside the entries, with the proof of another leaf."""
    log = plain()
    body = erasure_of(log.events, {4: ["changes"]})
    log.manifests = [(body, "erasure")]
    log.events[4].gone = {"changes"}
    members = log.bundle(0, 15)
    forged = Event(16, "audit.erasure.requested", {"manifest": sha256(body).hexdigest()})
    proof = json.loads(lines(log.bundle(only=[16]), "proofs.ndjson")[0])[1]
    members["cited.ndjson"] = ndjson([canonical([16, forged.entry.decode(), proof])])
    verdict = verify(members)
    assert (verdict.sound, verdict.verified, verdict.redacted) == (False, 0, 0)


@pytest.mark.parametrize("index", [3, 20, 30])
def test_values_of_an_entry_that_is_not_here_are_named(index: int) -> None:
    """(case 58) A line of groups.ndjson before, at and behind the end of the range."""
    log = plain(40)
    members = log.bundle(5, 20)
    shown = [*lines(members, "groups.ndjson"), str(log.groups_line(index))]
    members["groups.ndjson"] = ndjson(sorted(shown, key=lambda text: int(text[1:].partition(",")[0])))
    verdict = verify(members)
    assert counts(verdict) == {"verified": 15, "failed": 1}
    assert (verdict.failures[0].what, verdict.failures[0].position) == ("groups.ndjson", index)


def test_the_log_tells_what_happened_to_it() -> None:
    """A reopened log and an overruled guard are said, and stay sound."""
    log = plain()
    log.events[0] = Event(0, "log.restored", {"checkpoint": "", "reason": "disk lost"})
    log.events[3] = Event(3, "log.guard.accepted", {"size": 3})
    verdict = verify(log.bundle())
    assert verdict.sound
    assert [text.partition(":")[0] for text in verdict.warnings] == ["entry 0", "entry 3"]


def test_a_thousand_failures_are_listed_and_all_are_counted() -> None:
    """The list is bounded, the count is not."""
    log = plain(1100)
    for event in log.events:
        event.gone = set(GROUPS)
    verdict = verify(log.bundle())
    assert (verdict.failed, len(verdict.failures)) == (1100, 1000)
