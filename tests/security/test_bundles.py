"""Hostile files for ``verify``: whatever is handed in, there is a verdict, and never a wrong "sound"."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import zipfile
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from affidavit.core.bundle import verify_bundle
from affidavit.core.note import parse_verifier
from affidavit.core.trust import Trust
from affidavit.core.unsound import BadSignature
from affidavit.core.verdict import Verdict
from affidavit.verifier import archive
from affidavit.verifier.command import Asked, verdict_of, written
from tests.naive_bundle import (
    EPOCH,
    GROUPS,
    LOG,
    ORIGIN,
    STEP,
    WITNESS,
    Event,
    Log,
    Mapped,
    canonical,
    erasure_of,
    packed,
)


def check(key: bytes, message: bytes, signature: bytes) -> None:
    """Signatures by the library, ten times as fast: their own checks are tested elsewhere."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        raise BadSignature from None


TRUST = Trust.of([parse_verifier(LOG.vkey), parse_verifier(WITNESS.vkey)], check=check)
FREE = ("README", "policy")


def small() -> Log:
    """A log with everything in it, small enough to change every byte of its bundle."""
    events = [Event(number) for number in range(9)]
    events[1].texts = {"details": '{\n"metadata":{}}'}
    body = erasure_of(events, {1: ["actor"], 2: ["changes"]})
    events[1].gone = {"actor"}
    events[2].gone = {"changes"}
    events[3].pruned = False
    events[7] = Event(7, "audit.erasure.requested", {"manifest": sha256(body).hexdigest()})
    return Log(events, [(body, "erasure")], {4: EPOCH + STEP * 4}, EPOCH + STEP * 9)


def verify(path: Path) -> Verdict:
    """The verdict on a file; it can be written out, whatever it is."""
    verdict = verdict_of(Asked(str(path), (LOG.vkey, WITNESS.vkey)), int(EPOCH.timestamp()))
    assert json.loads(written(verdict, as_json=True))["sound"] is verdict.sound
    shown = written(verdict, as_json=False).split("\n")
    assert all(line.isascii() and line.isprintable() for line in shown)
    return verdict


def saved(folder: Path, content: bytes, name: str = "bundle.zip") -> Path:
    """A file with this content."""
    path = folder / name
    path.write_bytes(content)
    return path


def may_differ(name: str, content: bytes) -> range:
    """The bytes that make the line of a witness one of another key, which is passed over: name and key id.

    A log's line that nobody trusts leaves the checkpoint without a signature, which is found.
    """
    start = content.find(f"\n— {WITNESS.name} ".encode()) if name.startswith("checkpoint") else -1
    return range(start, start + len(f"\n— {WITNESS.name} ".encode()) + 6) if start >= 0 else range(0)


def flipped(members: Mapping[str, bytes], name: str, at: int, bit: int) -> dict[str, bytes]:
    """The members with one bit of one changed."""
    content = bytearray(members[name])
    content[at] ^= 1 << bit
    return {**members, name: bytes(content)}


@pytest.mark.parametrize("kind", ["range", "part", "filtered"])
def test_one_flipped_bit_anywhere_is_found(kind: str) -> None:
    """Every byte of every member but README and policy counts: not one bit of it can differ."""
    log = small()
    whole, part, only = (0, None, None), (1, 6, None), (0, None, [1, 2, 5])
    start, end, chosen = {"range": whole, "part": part, "filtered": only}[kind]
    members = log.bundle(start, end, chosen)
    assert verify_bundle(Mapped(members), TRUST).sound
    missed = []
    for name, content in members.items():
        if name in FREE:
            continue
        step = max(1, len(content) // 200)
        for at in range(0, len(content), step):
            verdict = verify_bundle(Mapped(flipped(members, name, at, at % 8)), TRUST)
            if verdict.sound and at not in may_differ(name, content):
                missed.append((name, at, at % 8, content[max(0, at - 20) : at + 20]))
    assert missed == []


@pytest.mark.timeout(3600)
@pytest.mark.soak
@pytest.mark.parametrize("only", [None, [1, 2, 5]], ids=["range", "filtered"])
def test_a_flipped_bit_in_every_byte_is_found(only: list[int] | None) -> None:
    """The same without leaving out a byte."""
    members = small().bundle(only=only)
    missed = [
        (name, at)
        for name, content in members.items()
        if name not in FREE
        for at in range(len(content))
        if at not in may_differ(name, content)
        and verify_bundle(Mapped(flipped(members, name, at, at % 8)), TRUST).sound
    ]
    assert missed == []


def test_every_flipped_byte_of_the_file_is_found_or_changes_no_member(tmp_path: Path) -> None:
    """Also what surrounds the members: a verdict every time, sound only where all of them are unchanged."""
    members = small().bundle()
    content = packed(members)
    assert verify(saved(tmp_path, content)).sound
    for at in range(0, len(content), 31):
        changed = bytearray(content)
        changed[at] ^= 1 << (at % 8)
        path = saved(tmp_path, bytes(changed))
        if verify(path).sound:
            with zipfile.ZipFile(io.BytesIO(changed)) as opened:
                same = {name: opened.read(name) for name in opened.namelist() if name not in FREE}
            assert same == {name: text for name, text in members.items() if name not in FREE}


def test_every_truncated_file_is_refused(tmp_path: Path) -> None:
    """A download that broke off is never sound."""
    content = packed(small().bundle())
    for length in [*range(0, len(content), 97), len(content) - 1]:
        assert not verify(saved(tmp_path, content[:length])).sound


def test_a_zip_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """(case 69) What is read is counted, whatever the directory of the zip declares."""
    monkeypatch.setattr(archive, "ALLOWANCE", 100_000)
    log = Log([Event(0, values={"details": {"metadata": {"x": "a" * 3_000_000}}})])
    verdict = verify(saved(tmp_path, packed(log.bundle())))
    assert verdict.exit_code == 1
    assert "unpacks to far more than 200 times" in verdict.failures[0].rule


def test_an_honest_bundle_of_long_texts_is_no_bomb(tmp_path: Path) -> None:
    """Three megabytes of one letter stay below the allowance."""
    log = Log([Event(0, values={"details": {"metadata": {"x": "a" * 3_000_000}}})])
    assert verify(saved(tmp_path, packed(log.bundle()))).sound


def test_memory_stays_flat_before_a_huge_line(tmp_path: Path) -> None:
    """(case 69) A line without an end is given up, and does not fill the memory first."""
    members = small().bundle()
    path = saved(tmp_path, packed(members | {"entries.ndjson": b"x" * 60_000_000}))
    tracemalloc.start()
    try:
        verdict = verify(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert verdict.exit_code == 1
    assert peak < 20_000_000


def test_a_size_that_the_file_only_declares_is_not_believed(tmp_path: Path) -> None:
    """(case 69) Local header and directory say 4 GB; nothing of that size is set aside."""
    members = small().bundle()
    del members["README"]
    content = bytearray(packed(members, zipfile.ZIP_STORED))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.find(mark)  # of the first member, which is bundle.json
        content[at + offset : at + offset + 4] = struct.pack("<I", 0xFFFFFFF0)
    tracemalloc.start()
    try:
        verdict = verify(saved(tmp_path, bytes(content)))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert (verdict.verified, verdict.redacted, verdict.failed) == (7, 2, 0)  # what is there is what counts


def test_a_directory_of_the_zip_that_is_said_to_be_huge_is_refused(tmp_path: Path) -> None:
    """(case 69) zipfile would read as much as the last record says."""
    content = bytearray(packed(small().bundle()))
    at = content.rfind(b"PK\x05\x06")
    struct.pack_into("<I", content, at + 12, 0x7FFFFFFF)
    assert verify(saved(tmp_path, bytes(content))).exit_code == 2


@pytest.mark.parametrize(
    "name",
    ["../bundle.json", "/etc/passwd", "a/../../x", "C:\\x", "checkpoints/../x", "entries.ndjson/", "\u202ex"],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    """(case 69) Nothing is ever written; and a name that is none of a bundle's is refused."""
    verdict = verify(saved(tmp_path, packed(small().bundle() | {name: b""})))
    assert verdict.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.zip"]


@pytest.mark.parametrize("mode", [0o120777, 0o040755, 0o010644, 0o060644])
def test_links_and_folders_are_refused(tmp_path: Path, mode: int) -> None:
    """(case 69) A symbolic link, a folder, a pipe, a device in place of a member."""
    written_to = io.BytesIO()
    with zipfile.ZipFile(written_to, "w") as made:
        for name, content in small().bundle().items():
            described = zipfile.ZipInfo(name)
            described.external_attr = (mode if name == "entries.ndjson" else 0o100644) << 16
            made.writestr(described, content)
    verdict = verify(saved(tmp_path, written_to.getvalue()))
    assert verdict.exit_code == 1
    assert "must be a file, not a link or a folder" in verdict.failures[0].rule


def test_a_member_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Two readers could see two contents."""
    members = small().bundle()
    written_to = io.BytesIO()
    with zipfile.ZipFile(written_to, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("entries.ndjson", members["entries.ndjson"])
    verdict = verify(saved(tmp_path, written_to.getvalue()))
    assert verdict.exit_code == 1
    assert "must have every member once" in verdict.failures[0].rule


def test_a_hundred_thousand_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of members that no bundle has, counted before one is read."""
    monkeypatch.setattr("affidavit.core.members.MAX_MEMBERS", 50)
    many = {f"checkpoints/{number}": b"" for number in range(1, 60)}
    verdict = verify(saved(tmp_path, packed(small().bundle() | many)))
    assert "must have at most 50 members" in verdict.failures[0].rule


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packings_are_refused(tmp_path: Path, compression: int) -> None:
    """Stored or deflated, nothing else."""
    verdict = verify(saved(tmp_path, packed(small().bundle(), compression)))
    assert (verdict.exit_code, verdict.verified) == (1, 0)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    """The flag of encryption, which zipfile answers with an error of its own."""
    content = bytearray(packed(small().bundle()))
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content[at + 8] |= 1
        at = content.find(b"PK\x01\x02", at + 4)
    verdict = verify(saved(tmp_path, bytes(content)))
    assert (verdict.exit_code, verdict.verified) == (1, 0)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 2),
        (b"PK", 2),
        (b"PK\x05\x06" + bytes(18), 1),
        (b"index,hash\n1,2\n", 2),
        (b"\x00" * 5000, 2),
        (b"\xff\xfe{}", 2),
        (b"{}", 2),
        (b"{" * 100_000, 2),
        (b'{"a":1', 2),
        (b'{"id":"x","action":"a.b"}\n{"trailer":{"events":1}}\n', 2),
        (b"c2sp.org/tlog-proof@v1\nindex 0\n\n", 2),
        (b"GIF89a", 2),
    ],
)
def test_what_is_no_evidence_gets_no_verdict(tmp_path: Path, content: bytes, code: int) -> None:
    """Empty, cut, CSV, plain NDJSON, another format: could not be checked, with the reason."""
    verdict = verify(saved(tmp_path, content, "file.csv" if content.startswith(b"index") else "file"))
    assert (verdict.exit_code, verdict.sound) == (code, False)


def test_csv_is_no_evidence(tmp_path: Path) -> None:
    """A table proves nothing, and verify says what to export instead."""
    verdict = verify(saved(tmp_path, b"id,action\n1,user.login\n", "export.csv"))
    assert verdict.exit_code == 2
    assert "CSV is no evidence" in str(verdict.not_checked)


@pytest.mark.parametrize("kind", ["missing", "folder", "unreadable", "pipe", "device"])
def test_a_path_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    """A missing file, a folder, no permission, a pipe that nobody writes to: named, and nothing waits."""
    path = tmp_path / "x\x1b[2J"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "unreadable":
        path = Path("/proc/self/mem")
    elif kind == "device":
        path = Path("/dev/zero")
    verdict = verify(path)
    assert verdict.exit_code == 2
    assert verdict.not_checked


def test_what_stands_in_a_bundle_cannot_reach_the_terminal(tmp_path: Path) -> None:
    """(case 54) An event whose id, action and origin carry escape sequences is shown in ASCII."""
    log = small()
    log.events[5].extra = {"action": "\x1b]8;;http://evil\x07x\u202e\x9b2J"}
    shown = written(verify(saved(tmp_path, packed(log.bundle()))), as_json=False)
    assert "\x1b" not in shown
    assert "NOT SOUND" in shown
    assert "u001b]8;;http://evil" in shown


@pytest.mark.parametrize(
    "header",
    [
        {"size": 10**400},
        {"size": -1},
        {"start": 1.0},
        {"v": True},
        {"v": 2},
        {"end": "9"},
        {"complete": "all"},
        {"complete": ["range"]},
        {"origin": "x"},
        {"origin": ORIGIN + "/1"},
        {"key": "x"},
        {"start": 2**63},
    ],
)
def test_a_header_that_is_not_one_is_refused(header: dict[str, object]) -> None:
    """(case 49) Numbers that are none, other types, other members, and a number of 5,000 digits."""
    members = small().bundle()
    changed = canonical(json.loads(members["bundle.json"]) | header).encode()
    for text in (changed, b'{"complete":"range","end":' + b"9" * 5000 + b"}", b"[" * 100_000, b"null", b""):
        verdict = verify_bundle(Mapped(members | {"bundle.json": text}), TRUST)
        assert (verdict.exit_code, verdict.verified) == (1, 0)
        assert verdict.failures


def test_garbage_in_every_member_is_a_finding() -> None:
    """Random bytes, deep nesting, other JSON in place of each member: failed, with the member's name."""
    members = small().bundle()
    noise = sha256(b"noise").digest() * 40
    for name in members:
        if name in FREE:
            continue
        for content in (
            noise,
            b"[" * 200_000,
            b"{}",
            b"[]\n",
            b"\n",
            b"null\n",
            b"[1]\n",
            b'[1,["x"]]\n',
            b64encode(noise),
        ):
            verdict = verify_bundle(Mapped(members | {name: content}), TRUST)
            assert not verdict.sound, (name, content[:10])
            assert verdict.failures


def test_a_million_lines_take_little_memory(tmp_path: Path) -> None:
    """Entries stream: ten times as many take no more memory."""
    peaks = []
    for count in (300, 3_000):
        events = [Event(number) for number in range(count)]
        events[-1] = Event(
            count - 1, "audit.retention.expired", {"policy": "*=1"}, EPOCH + timedelta(days=90)
        )
        events[0] = Event(0, "audit.retention.changed", {"policy": "*=1"})
        for event in events[1:-1]:
            event.gone = set(GROUPS)
        path = saved(tmp_path, packed(Log(events).bundle()))
        tracemalloc.start()
        try:
            assert verify(path).expired == count - 2
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 3_000_000
