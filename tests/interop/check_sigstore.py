"""Have sigstore-python check proofs: cases from standard input, one verdict each to standard output.

Runs in the environment of requirements/interop.txt, not in that of the product. A verdict is ``accepted`` or
what was raised.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore._internal.merkle import verify_merkle_inclusion  # type: ignore[import-not-found]
from sigstore._internal.rekor.checkpoint import SignedCheckpoint  # type: ignore[import-not-found]
from sigstore._internal.trust import Keyring  # type: ignore[import-not-found]
from sigstore_models.common.v1 import PublicKey, PublicKeyDetails  # type: ignore[import-not-found]


def check(case: dict[str, Any]) -> str:
    """Check the signature of the checkpoint, then the proof against what it says."""
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(case["key"]))
    encoded = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    keyring = Keyring([PublicKey(raw_bytes=b64encode(encoded), key_details=PublicKeyDetails.PKIX_ED25519)])
    try:
        opened = SignedCheckpoint.from_text(case["note"])
        opened.signed_note.verify(keyring, bytes.fromhex(case["key_id"]))
        proof = SimpleNamespace(
            log_index=case["index"],
            tree_size=opened.checkpoint.log_size,
            hashes=[bytes.fromhex(each) for each in case["hashes"]],
            root_hash=bytes.fromhex(opened.checkpoint.log_hash),
        )
        inner = SimpleNamespace(inclusion_proof=proof, canonicalized_body=bytes.fromhex(case["entry"]))
        verify_merkle_inclusion(SimpleNamespace(_inner=inner))
    except Exception as error:  # noqa: BLE001  # every way of refusing is a verdict
        return f"{type(error).__name__}: {error}"[:200]
    return "accepted"


if __name__ == "__main__":
    json.dump([check(case) for case in json.load(sys.stdin)], sys.stdout)
