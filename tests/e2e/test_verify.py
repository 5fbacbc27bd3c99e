"""The real ``affidavit verify`` as a process: what it prints and how it ends, on good and bad evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.program import Program
from tests.naive_bundle import LOG, WITNESS, Event, Log, history, packed

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "bundle-v1"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A folder without any database or setting."""
    return Program(tmp_path)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle on the disk."""
    path = tmp_path / "evidence.zip"
    path.write_bytes(packed(history().bundle()))
    return path


def test_sound_evidence_ends_with_0(program: Program, bundle: Path) -> None:
    """One JSON document with the counts; nothing on standard error; no file is made beside the bundle."""
    done = program.run("verify", bundle, "--key", LOG.vkey, "--key", WITNESS.vkey, "--json")
    (verdict,) = done.documents
    assert (done.code, done.err) == (0, "")
    assert (verdict["sound"], verdict["verified"], verdict["redacted"], verdict["failed"]) == (True, 32, 2, 0)
    assert verdict["memory"] == "cosigned by witness.example/w1"
    assert [path.name for path in program.folder.iterdir()] == ["evidence.zip"]


def test_changed_evidence_ends_with_1(program: Program, tmp_path: Path) -> None:
    """(case 1) The failure is named, and no trace of the program is shown."""
    log = history()
    log.events[20].gone = {"changes"}
    path = tmp_path / "evidence.zip"
    path.write_bytes(packed(log.bundle()))
    done = program.run("verify", path, "--key", LOG.vkey, "--json")
    (verdict,) = done.documents
    assert done.code == 1
    assert [(each["index"], each["what"]) for each in verdict["failures"]] == [(20, "group changes")]
    assert "Traceback" not in done.err


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PK\x03\x04", b"{", None])
def test_what_is_no_evidence_ends_with_2(program: Program, tmp_path: Path, content: bytes | None) -> None:
    """A reason in the verdict, a traceback nowhere."""
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    done = program.run("verify", path, "--key", LOG.vkey, "--json")
    (verdict,) = done.documents
    assert (done.code, verdict["sound"]) == (2, False)
    assert verdict["not_checked"]
    assert "Traceback" not in done.err


def test_people_read_the_verdict_in_lines(program: Program, bundle: Path) -> None:
    """--no-json gives sentences; the first word is the verdict."""
    done = program.run("verify", bundle, "--key", LOG.vkey, "--no-json")
    assert done.code == 0
    assert done.out.splitlines()[0] == "sound"
    assert "  checkpoint signed by the operator only" in done.out.splitlines()
    assert "  32 verified, 2 redacted, 3 expired, 2 pruned, 1 invalid, 0 failed" in done.out.splitlines()


def test_every_option_reaches_the_verifier(program: Program, bundle: Path, tmp_path: Path) -> None:
    """Policy, kept checkpoint, range, age and origin each can turn the verdict."""
    policy = tmp_path / "policy"
    policy.write_text(f"log {LOG.vkey}\nwitness w {WITNESS.vkey}\nquorum w\n")
    trusted = ("verify", bundle, "--policy", policy)
    kept = VECTORS / "kept.checkpoint"
    assert program.run(*trusted, "--since", kept, "--range", "0:40").code == 0
    assert program.run(*trusted, "--range", "0:41").code == 1
    assert program.run(*trusted, "--max-age", 60).code == 1
    assert program.run(*trusted, "--origin", LOG.name + "1").code == 1
    other = tmp_path / "other"
    other.write_bytes(Log([Event(number, "user.other") for number in range(25)]).checkpoint())
    assert program.run(*trusted, "--since", other).code == 1
    assert program.run("verify", bundle).code == 2
