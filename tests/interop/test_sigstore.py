"""Programs that nobody here wrote accept our proofs, and none of the forgeries: so they are worth asking.

They run in environments of their own, made by ``make interop``. Where one is missing the tests fail.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from affidavit.core.checkpoint import open_checkpoint
from affidavit.core.proof import TlogProof, verify_proof
from affidavit.core.unsound import BadSignature, Unsound
from tests.interop.cases import LOG, Case, forged, honest

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-interop" / "bin" / "python"

CHECKERS = {
    "sigstore-python": [str(PYTHON), str(HERE / "check_sigstore.py")],
    "@sigstore/verify": [shutil.which("node") or "node", str(HERE / "check_sigstore.mjs")],
}


def ask(checker: str, cases: list[Case]) -> list[str]:
    """What a program says of each case."""
    command = CHECKERS[checker]
    answer = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert answer.returncode == 0, (
        f"{checker} did not run (make interop installs it): {answer.stderr[-2000:]}"
    )
    verdicts: list[str] = json.loads(answer.stdout)
    assert len(verdicts) == len(cases)
    return verdicts


@cache
def forgeries() -> dict[str, list[Case]]:
    """Made once."""
    return forged()


def check(key: bytes, message: bytes, signature: bytes) -> None:
    """OpenSSL's arithmetic, for thousands of signatures."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature as error:
        raise BadSignature from error


def of_ours(case: Case) -> str:
    """The verdict of the product."""
    hashes = tuple(map(bytes.fromhex, case["hashes"]))
    proof = TlogProof(case["index"], hashes, case["note"].encode())
    try:
        opened = open_checkpoint(proof.checkpoint, [LOG.verifier], check=check)
        verify_proof(proof, bytes.fromhex(case["entry"]), opened)
    except Unsound as error:
        return error.message
    return "accepted"


def test_the_packages_of_npm_are_pinned_by_hash() -> None:
    """Each by a SHA-512, none by a place: what is checked with is what was checked."""
    locked = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    own = locked.pop("")
    assert set(own["dependencies"].values()) == {locked["node_modules/@sigstore/verify"]["version"]}
    assert all(package["integrity"].startswith("sha512-") for package in locked.values())
    assert not any("resolved" in package for package in locked.values())


@pytest.mark.parametrize("checker", CHECKERS)
def test_our_proofs_are_accepted(checker: str) -> None:
    """Proofs out of our tiles, under our notes, for trees of 1 to 70,000 entries."""
    cases = list(honest())
    assert len(cases) > 150
    verdicts = ask(checker, cases)
    assert {verdict for verdict in verdicts if verdict != "accepted"} == set()
    assert {of_ours(case) for case in cases} == {"accepted"}


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_forgery_is_refused(checker: str) -> None:
    """(case 20) (case 22) (case 29b) By them and by us: whoever accepts one is not worth asking."""
    cases = [(kind, case) for kind, of_kind in forgeries().items() for case in of_kind]
    assert len(cases) > 3000
    verdicts = ask(checker, [case for _, case in cases])
    accepted = [
        (kind, case) for (kind, case), verdict in zip(cases, verdicts, strict=True) if verdict == "accepted"
    ]
    assert accepted == []


def test_every_forgery_is_refused_by_us() -> None:
    """(case 20) (case 22) (case 29b) The same forgeries."""
    for kind, cases in forgeries().items():
        assert cases, kind
        for case in cases:
            assert of_ours(case) != "accepted", (kind, case)
