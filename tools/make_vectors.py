"""Writes the frozen vectors of leaf, bundle and receipt, once: ``python tools/make_vectors.py``.

Everything is made by the naive implementation in ``tests/naive_bundle.py`` and here, not by the product. A
file that exists is left as it is: whoever changes a vector deletes it by hand, says why, and raises the
version of the format.
"""

from __future__ import annotations

import json
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VECTORS = ROOT / "tests" / "vectors"
HEX = "0123456789abcdef0123456789abcdef"
GROUPS = ("actor", "resources", "context", "changes", "details")
EMPTY = dict.fromkeys(GROUPS, "{}")

_ROW: dict[str, Any] = {
    "id": "019aa4b27f3c7a209c4d0242ac120002",
    "version": 1,
    "organization": "acme",
    "project": None,
    "action": "user.login",
    "outcome": "success",
    "severity": "info",
    "source": "web",
    "imported": 0,
    "parent_id": None,
    "facts": None,
    "actor_id": None,
    **EMPTY,
    "secret": "00" * 32,
    "remains": None,
    "recorded_at": 1_763_702_983_100_000,
}
_FULL = {
    "actor": '{"actor":{"email":"ana@x.io","id":"u-1","name":"Ana Müller","type":"user"},'
    '"recorded_by":{"type":"api_token"}}',
    "resources": '{"resources":[{"id":"42","name":"Zürich 1","type":"site"}]}',
    "context": '{"ip":"192.0.2.7","request":{"method":"POST"},"user_agent":"x"}',
    "changes": '{"changes":{"plan":{"new":"pro","old":"free"}}}',
    "details": '{"metadata":{"big":123456789012345678901234567890,"ratio":1.1,"smile":"\U0001f600"},'
    '"reason":"tested"}',
}
_CLEAR = {
    "project": "billing",
    "action": "invoice.refund.approve",
    "outcome": "failure",
    "severity": "critical",
    "source": "api",
    "imported": 1,
    "parent_id": "019aa4b27f3c7000800000000000000a",
    "secret": sha256(b"a secret").hexdigest(),
}
ROWS: dict[str, dict[str, Any]] = {
    "minimal": {},
    "full": {**_FULL, **_CLEAR},
    "facts": {
        "action": "audit.retention.changed",
        "facts": '{"policy":"*=forever auth.*=90"}',
        "secret": "ff" * 32,
    },
    "first moment": {"id": "00000000000070008000000000000000", "recorded_at": 0},
    "last microsecond of a millisecond": {"id": "019aa4b27f3c7ffb8000000000000000"},
    "white space within a group": {"details": '{\n "metadata" : { } }'},
    "composed": {"details": '{"reason":"\u00e9"}'},
    "decomposed": {"details": '{"reason":"e\u0301"}'},
}


def _time(microseconds: int) -> str:
    from datetime import UTC, datetime, timedelta

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}Z"


def _uuid(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _occurred(digits: str) -> str:
    fraction = int(digits[13:16], 16)
    microseconds = next(us for us in range(1000) if us * 4096 // 1000 == fraction)
    return _time(int(digits[:12], 16) * 1000 + microseconds)


def salts_of(secret: bytes) -> list[str]:
    """As docs/spec/leaf.md says, in other words than the product."""
    stream = shake_256(secret).digest(16 * len(GROUPS))
    parts = [stream[16 * at : 16 * at + 16] for at in range(len(GROUPS))]
    return [urlsafe_b64encode(part).decode().replace("=", "") for part in parts]


def leaf_vector(name: str, change: Mapping[str, Any]) -> dict[str, Any]:
    """A row and everything that follows from it."""
    row = _ROW | dict(change)
    salts = salts_of(bytes.fromhex(row["secret"]))
    disclosures = [f'["{salt}","{group}",{row[group]}]' for salt, group in zip(salts, GROUPS, strict=True)]
    digests = {
        group: sha256(text.encode()).hexdigest() for group, text in zip(GROUPS, disclosures, strict=True)
    }
    members: dict[str, Any] = {
        "v": 1,
        "id": _uuid(row["id"]),
        "organization": HEX,
        "occurred_at": _occurred(row["id"]),
        "recorded_at": _time(row["recorded_at"]),
        "groups": digests,
        **{key: row[key] for key in ("action", "outcome", "severity", "source")},
    }
    if row["project"] is not None:
        members["project"] = row["project"]
    if row["parent_id"] is not None:
        members["parent_id"] = _uuid(row["parent_id"])
    if row["imported"]:
        members["imported"] = True
    if row["facts"] is not None:
        members["facts"] = json.loads(row["facts"])
    leaf = json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return {
        "name": name,
        "row": row,
        "organization_hex": HEX,
        "salts": salts,
        "disclosures": disclosures,
        "leaf": leaf,
        "leaf_hash": sha256(b"\x00" + leaf.encode()).hexdigest(),
    }


def files() -> dict[str, bytes]:
    """Every vector by its path below ``tests/vectors``."""
    from tests.naive_bundle import LOG, WITNESS, canonical, history, ndjson, packed

    log = history()
    receipts = [canonical(log.receipt(index)) for index in (10, 13, 14)]
    trailer = canonical({"trailer": {"events": 3, "redacted": 0}})
    leaves = [leaf_vector(name, change) for name, change in ROWS.items()]
    keys = {"log": LOG.vkey, "witness": WITNESS.vkey}
    return {
        "leaf-v1.json": _pretty(leaves),
        "bundle-v1/range.zip": packed(log.bundle()),
        "bundle-v1/part.zip": packed(log.bundle(4, 20)),
        "bundle-v1/filtered.zip": packed(log.bundle(only=[2, 3, 5, 6, 8, 20, 31])),
        "bundle-v1/receipt.json": receipts[0].encode(),
        "bundle-v1/receipts.ndjson": ndjson([*receipts, trailer]),
        "bundle-v1/kept.checkpoint": log.checkpoint(25),
        "bundle-v1/keys.json": _pretty(keys),
        "bundle-v1/verdicts.json": _pretty(VERDICTS),
    }


VERDICTS: dict[str, dict[str, Any]] = {
    "range.zip": {
        "verified": 32,
        "redacted": 2,
        "expired": 3,
        "pruned": 2,
        "invalid": 1,
        "complete": "range",
    },
    "part.zip": {"verified": 11, "redacted": 2, "expired": 3, "pruned": 0, "invalid": 0, "complete": "range"},
    "filtered.zip": {
        "verified": 3,
        "redacted": 2,
        "expired": 1,
        "pruned": 0,
        "invalid": 1,
        "complete": "filtered",
    },
    "receipt.json": {
        "verified": 1,
        "redacted": 0,
        "expired": 0,
        "pruned": 0,
        "invalid": 0,
        "complete": "filtered",
    },
    "receipts.ndjson": {
        "verified": 3,
        "redacted": 0,
        "expired": 0,
        "pruned": 0,
        "invalid": 0,
        "complete": "filtered",
    },
}
"""Counted by hand from what ``history`` in ``tests/naive_bundle.py`` does to its 40 events."""


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def main() -> None:
    """Write the vectors that are not there yet."""
    sys.path.insert(0, str(ROOT))
    for name, content in files().items():
        path = VECTORS / name
        if path.exists():
            sys.stdout.write(f"kept    {name}\n")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sys.stdout.write(f"written {name}\n")


if __name__ == "__main__":
    main()
