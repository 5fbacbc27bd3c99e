"""Manifests are read strictly, signed, cited, and cover exactly what they say."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.core.leaf import LEAF_GROUPS
from affidavit.core.manifest import (
    ERASURE,
    PRUNE,
    ManifestBody,
    ManifestEntry,
    cites,
    encode_manifest,
    erasure_entries,
    manifest_hash,
    manifest_text,
    open_manifest,
    parse_manifest,
    prune_entries,
)
from affidavit.core.note import Verifier, make_verifier, parse_verifier, signature_line
from affidavit.core.unsound import BadSignature, Contradiction, Malformed, UnknownSigner

HEX = "0123456789abcdef0123456789abcdef"
ORIGIN = f"log.example.com/{HEX}/1"
MADE_AT = 1_795_239_000_000_000
DIGESTS = {group: sha256(group.encode()).hexdigest() for group in LEAF_GROUPS}

ERASED = {
    "entries": [
        {"digest": "11" * 32, "from": 3, "groups": ["actor", "details"], "to": 4},
        {"digest": "22" * 32, "from": 7, "groups": ["changes"], "to": 7},
    ],
    "kind": "erasure",
    "made_at": "2026-11-21T05:29:43.000000Z",
    "origin": ORIGIN,
    "v": 1,
}
PRUNED = {
    "entries": [{"digest": "33" * 32, "from": 0, "to": 999}],
    "ids": ["019a0000-0000-7000-8000-000000000000", "019a0000-0000-7000-8000-0000000000ff"],
    "kind": "prune",
    "made_at": "2026-11-21T05:29:43.000000Z",
    "origin": ORIGIN,
    "v": 1,
}


def written(value: object) -> bytes:
    """Canonical JSON by the standard library, as the contract has it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Key:
    """A log key made of a fixed seed, under one origin."""

    def __init__(self, origin: str = ORIGIN, seed: int = 1) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.verifier: Verifier = make_verifier(origin, self._private.public_key().public_bytes_raw())

    def sign(self, text: str) -> bytes:
        value = self._private.sign(text.encode())
        return f"{text}\n{signature_line(self.verifier.name, self.verifier.key_id, value)}".encode()


def test_body_is_canonical_json_and_read_back() -> None:
    """The bytes are those of the contract, and reading them gives what they were made of."""
    for members in (ERASED, PRUNED):
        body = written(members)
        assert encode_manifest(parse_manifest(body)) == body
    parsed = parse_manifest(written(ERASED))
    assert parsed.entries[0] == ManifestEntry(3, 4, ("actor", "details"), b"\x11" * 32)
    assert parse_manifest(written(PRUNED)).ids == tuple(PRUNED["ids"])  # type: ignore[arg-type]


def test_digest_of_a_run_is_the_hash_of_the_digests_index_by_index() -> None:
    """An entry's digest is SHA-256 over the 32-byte digests, index by index, groups in the leaf's order."""
    gone = [(5, ("details", "actor"), DIGESTS), (6, ("actor", "details"), DIGESTS), (8, ("actor",), DIGESTS)]
    pair = bytes.fromhex(DIGESTS["actor"]) + bytes.fromhex(DIGESTS["details"])
    assert erasure_entries(gone) == (
        ManifestEntry(5, 6, ("actor", "details"), sha256(pair + pair).digest()),
        ManifestEntry(8, 8, ("actor",), sha256(bytes.fromhex(DIGESTS["actor"])).digest()),
    )


def test_runs_end_after_a_thousand_indexes() -> None:
    """No entry covers more than 1,000 indexes, and 2,001 consecutive ones make three."""
    entries = prune_entries((index, sha256(b"%d" % index).digest()) for index in range(10, 2_011))
    assert [(entry.start, entry.end) for entry in entries] == [(10, 1_009), (1_010, 2_009), (2_010, 2_010)]
    assert entries[2].digest == sha256(sha256(b"2010").digest()).digest()
    assert erasure_entries(()) == ()


def test_explains_exactly_the_indexes_and_groups_it_names() -> None:
    """Every index and group around two entries: covered or not, as a look through the list says (case 57)."""
    body = parse_manifest(written(ERASED))
    named = {(3, "actor"), (3, "details"), (4, "actor"), (4, "details"), (7, "changes")}
    covered = {(index, group) for index in range(12) for group in LEAF_GROUPS if body.explains(index, group)}
    assert covered == named
    assert not any(body.explains(index) for index in range(12))
    pruned = parse_manifest(written(PRUNED))
    assert [pruned.explains(index) for index in (0, 999, 1_000)] == [True, True, False]


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"v": 1.0},
        {"kind": "other"},
        {"kind": "prune"},
        {"extra": 1},
        {"origin": "log.example.com"},
        {"origin": f"log.example.com/{HEX}/0"},
        {"origin": f"log.example.com/{HEX.upper()}/1"},
        {"origin": f"log example.com/{HEX}/1"},
        {"origin": f"log.example.com/{HEX}/1\n"},
        {"made_at": "2026-11-21T05:29:43Z"},
        {"made_at": 3},
        {"entries": []},
        {"entries": {}},
        {"entries": [1]},
        {"entries": [{"digest": "11" * 32, "from": 3, "groups": [], "to": 4}]},
        {"entries": [{"digest": "11" * 32, "from": 3, "groups": ["details", "actor"], "to": 4}]},
        {"entries": [{"digest": "11" * 32, "from": 3, "groups": ["actor", "actor"], "to": 4}]},
        {"entries": [{"digest": "11" * 32, "from": 3, "groups": ["secret"], "to": 4}]},
        {"entries": [{"digest": "11" * 32, "from": 3, "groups": "actor", "to": 4}]},
        {"entries": [{"digest": "11" * 32, "from": 3, "to": 4}]},
        {"entries": [{"digest": "11" * 31, "from": 3, "groups": ["actor"], "to": 4}]},
        {"entries": [{"digest": "AA" * 32, "from": 3, "groups": ["actor"], "to": 4}]},
        {"entries": [{"digest": "11" * 32, "from": -1, "groups": ["actor"], "to": 4}]},
        {"entries": [{"digest": "11" * 32, "from": 4, "groups": ["actor"], "to": 3}]},
        {"entries": [{"digest": "11" * 32, "from": False, "groups": ["actor"], "to": 3}]},
        {"entries": [{"digest": "11" * 32, "from": 0, "groups": ["actor"], "to": 1_000}]},
        {"entries": [{"digest": "11" * 32, "from": 0, "groups": ["actor"], "to": 2**63}]},
        {"entries": ERASED["entries"][::-1]},  # type: ignore[index]
        {"entries": ERASED["entries"][:1] * 2},  # type: ignore[index]
    ],
)
def test_other_forms_are_refused(change: dict[str, object]) -> None:
    """A body that breaks one rule of the form is malformed."""
    with pytest.raises(Malformed):
        parse_manifest(written({**ERASED, **change}))


@pytest.mark.parametrize("ids", [[], ["x", "y"], PRUNED["ids"][::-1], PRUNED["ids"] * 2, None])  # type: ignore[index,operator]
def test_ids_of_a_prune_manifest_are_two_in_order(ids: object) -> None:
    """The id range of a pruning is closed: two UUIDs, the first not above the second."""
    with pytest.raises(Malformed):
        parse_manifest(written({**PRUNED, "ids": ids}))


def test_one_value_has_one_text() -> None:
    """White space, another order of keys, or escapes that JSON would allow make a body malformed."""
    body = written(ERASED)
    spellings = [
        body + b"\n",
        json.dumps(ERASED, sort_keys=True).encode(),
        json.dumps(dict(reversed(ERASED.items())), separators=(",", ":")).encode(),
        body.replace(b"erasure", b"er\\u0061sure"),
        body.replace(b'"v":1', b'"v":1,"v":1'),
        b"\xef\xbb\xbf" + body,
        b"",
        b"[]",
        b"null",
    ]
    for spelling in spellings:
        with pytest.raises(Malformed):
            parse_manifest(spelling)


def test_note_is_over_the_hash_of_the_body() -> None:
    """The signed text is the four lines of the contract, and a good signature opens the manifest."""
    body = written(ERASED)
    encoded = b64encode(sha256(body).digest()).decode()
    assert manifest_text(body) == f"affidavit-manifest/v1\n{ORIGIN}\nerasure\n{encoded}\n"
    key = Key()
    assert open_manifest(body, key.sign(manifest_text(body)), [key.verifier]) == parse_manifest(body)


def test_note_over_another_body_is_refused() -> None:
    """A signed note does not carry over to a manifest that covers one more index (case 57)."""
    key = Key()
    note = key.sign(manifest_text(written(ERASED)))
    wider = json.loads(written(ERASED))
    wider["entries"][1]["to"] = 8
    with pytest.raises(Contradiction):
        open_manifest(written(wider), note, [key.verifier])


def test_only_the_log_of_the_origin_can_sign() -> None:
    """A stranger's key, a trusted key of another log and a broken signature are each refused by name."""
    body = written(ERASED)
    key, stranger, other = Key(), Key(seed=2), Key(f"log.example.com/{HEX}/2")
    good = key.sign(manifest_text(body))
    with pytest.raises(UnknownSigner):
        open_manifest(body, stranger.sign(manifest_text(body)), [key.verifier])
    with pytest.raises(UnknownSigner):
        open_manifest(body, other.sign(manifest_text(body)), [other.verifier])
    with pytest.raises(UnknownSigner):
        open_manifest(body, good, [])
    text, _, line = good.decode().rpartition("\n\n")
    name, _, encoded = line.strip().rpartition(" ")
    flipped = encoded[:-4] + ("A" if encoded[-4] != "A" else "B") + encoded[-3:]
    with pytest.raises(BadSignature):
        open_manifest(body, f"{text}\n\n{name} {flipped}\n".encode(), [key.verifier])


def test_cited_by_the_event_that_announced_it_and_no_other() -> None:
    """Only the reserved action of its kind cites a manifest, under a fact of that name (case 57)."""
    digest = manifest_hash(written(ERASED))
    shown = digest.hex()
    assert cites("audit.erasure.requested", {"manifest": shown}, ERASURE, digest)
    assert cites("audit.erasure.requested", {"manifest": "00" * 32, "manifest_1": shown}, ERASURE, digest)
    assert cites("audit.retention.pruned", {"manifest": shown}, PRUNE, digest)
    assert not cites("audit.erasure.completed", {"manifest": shown}, ERASURE, digest)
    assert not cites("audit.erasure.requested", {"manifest": shown}, PRUNE, digest)
    assert not cites("audit.erasure.requested", {"manifest_01": shown}, ERASURE, digest)
    assert not cites("audit.erasure.requested", {"note": shown}, ERASURE, digest)
    assert not cites("audit.erasure.requested", {"manifest": "00" * 32}, ERASURE, digest)
    assert not cites("audit.erasure.requested", {}, ERASURE, digest)


def test_what_cannot_be_read_is_not_written() -> None:
    """A body that breaks a rule is refused where it is made."""
    entry = ManifestEntry(0, 1_000, ("actor",), bytes(32))
    with pytest.raises(Malformed):
        encode_manifest(ManifestBody(ERASURE, ORIGIN, MADE_AT, (entry,)))
    with pytest.raises(Malformed):
        encode_manifest(ManifestBody(ERASURE, ORIGIN, MADE_AT, ()))


VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_vectors_are_read_written_and_opened(case: dict[str, Any]) -> None:
    """Each body of the vectors is canonical, has its hash and text, and its note opens under the key."""
    body = case["body"].encode()
    assert encode_manifest(parse_manifest(body)) == body
    assert manifest_hash(body).hex() == case["hash"]
    assert manifest_text(body) == case["text"]
    opened = open_manifest(body, case["note"].encode(), [parse_verifier(VECTORS["vkey"])])
    gone = case["gone"]
    if isinstance(gone, dict):
        digests = {
            index: {"context": sha256(f"digest of context at {index}".encode()).hexdigest()}
            for index in range(gone["from"], gone["to"] + 1)
        }
        assert opened.entries == erasure_entries(
            (index, ("context",), each) for index, each in digests.items()
        )
    elif opened.kind == PRUNE:
        assert opened.entries == prune_entries(
            (row["index"], bytes.fromhex(row["leaf_hash"])) for row in gone
        )
    else:
        assert opened.entries == erasure_entries(
            (row["index"], tuple(row["groups"]), row["groups"]) for row in gone
        )


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["why"])
def test_vectors_that_must_be_refused_are(case: dict[str, str]) -> None:
    """No reader may take what the specification does not allow."""
    with pytest.raises(Malformed):
        parse_manifest(case["body"].encode())
