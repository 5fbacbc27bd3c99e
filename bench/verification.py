"""Verifying a bundle, beside bare SHA-256 and ``json.loads`` of the same bytes; a proof's size and time."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from affidavit.core.bundle import verify_bundle
from affidavit.core.explained import reasons_of
from affidavit.core.filter import Filter
from affidavit.core.folded import Folded
from affidavit.core.judge import Judge, Question
from affidavit.core.note import parse_verifier
from affidavit.core.proof import parse_proof, verify_proof
from affidavit.core.trust import Trust
from affidavit.core.verdict import Verdict
from affidavit.export.bundle import Bundles
from affidavit.verifier.archive import Archive
from affidavit.wiring.log import key_file
from bench.base import Base
from bench.data import MAIN
from bench.results import Results, at_least, at_most, median
from bench.stores import opened

__all__ = ["measure", "openssl_rate"]

ROUNDS: Final = 5
PROOFS: Final = 200
PIECE: Final = 300
"""Lines that are judged at once: a quarter of a megabyte, as the verifier reads them."""


def measure(results: Results, folder: Path, filled: Base, label: str) -> None:
    """Add the rows.

    Args:
        results: gets them.
        folder: for the bundle.
        filled: a sealed store.
        label: its size in words.
    """
    bundle = folder / "bench.bundle.zip"
    trust = _export(filled, bundle)
    with ZipFile(bundle) as file:
        header = json.loads(file.read("bundle.json"))
        entries = file.read("entries.ndjson").splitlines()
        groups = file.read("groups.ndjson").splitlines()
    _measure_leaves(results, header, entries)
    _measure_whole(results, bundle, trust, entries, groups)
    bundle.unlink()
    _measure_proofs(results, filled, trust, label)


def openssl_rate(size: int) -> float:
    """How many messages of so many bytes OpenSSL hashes in a second, on one core."""
    command = ["openssl", "speed", "-mr", "-seconds", "1", "-bytes", str(size), "-evp", "sha256"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^\+F:\d+:sha256:([0-9.]+)$", said, re.MULTILINE | re.IGNORECASE)
    if found is None:
        raise RuntimeError(f"openssl speed said: {said}")
    return float(found[1]) / size


def _export(filled: Base, bundle: Path) -> Trust:
    """Write the bundle of the greatest tree; the key to verify it with."""
    with opened(filled) as instance, bundle.open("wb") as file:
        origin = instance.log.trees(MAIN)[-1].origin
        bundles = Bundles(instance.log, instance.log, instance.entries, instance.reader)
        for chunk in bundles.open(MAIN, Filter()).chunks():
            file.write(chunk)
    key = key_file(filled.settings).load().verifiers(origin)[-1]
    return Trust.of([parse_verifier(key.vkey)])


def _timed(work: Callable[[], object]) -> float:
    """Seconds of one core, which is what ``openssl speed`` counts too: others on the machine matter less."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _measure_leaves(results: Results, header: dict[str, str], entries: list[bytes]) -> None:
    """Leaves without values: read, hashed, judged and folded into the root."""
    hexdigits = header["origin"].split("/")[1]
    mean = sum(map(len, entries)) // len(entries)

    def ours() -> None:
        verdict = Verdict()
        judge = Judge(
            verdict, hexdigits, None, Question(lambda: reasons_of({}, [], verdict, whole_until=0), (), ())
        )
        folded = Folded(0, ())
        for start in range(0, len(entries), PIECE):
            folded.add(judge.batch(start, entries[start : start + PIECE]))
        if verdict.verified != len(entries) or folded.size != len(entries):
            raise RuntimeError(f"{verdict.verified} of {len(entries)} leaves were verified")

    def bare() -> None:
        for entry in entries:
            sha256(entry)

    rates, references, loops = [], [], []
    for _ in range(ROUNDS):
        rates.append(len(entries) / _timed(ours))
        loops.append(len(entries) / _timed(bare))
        references.append(openssl_rate(mean))
    note = f"leaves of {mean} bytes; hashlib in a loop {median(loops):,.0f}"
    results.add(
        at_least("verify, leaves only, beside openssl", rates, references, 0.15, unit="leaves/s", note=note)
    )


def _measure_whole(
    results: Results, bundle: Path, trust: Trust, entries: list[bytes], groups: list[bytes]
) -> None:
    """The bundle as it stands on the disk, unpacked, every group hashed and read."""

    def ours() -> None:
        with Archive(bundle) as archive:
            verdict = verify_bundle(archive, trust)
        if verdict.failed or verdict.verified != len(entries):
            raise RuntimeError(f"{verdict.verified} of {len(entries)} entries were verified: {verdict}")

    def bare() -> None:
        for line in entries:
            json.loads(line)
        for line in groups:
            json.loads(line)

    rates, references = [], []
    for _ in range(ROUNDS):
        rates.append(len(entries) / _timed(ours))
        references.append(len(entries) / _timed(bare))
    packed = bundle.stat().st_size / len(entries)
    note = f"{len(entries):,} entries, {packed:.0f} bytes each in the bundle"
    results.add(
        at_least("verify, full events, beside json.loads", rates, references, 0.3, unit="events/s", note=note)
    )


def _measure_proofs(results: Results, filled: Base, trust: Trust, label: str) -> None:
    """One tlog-proof made, and verified."""
    making, checking, sizes = [], [], []
    hashes = 0
    with opened(filled) as instance:
        # The first leaves of a tree have its longest proofs, the last ones its shortest.
        pages = [
            instance.reader.page((MAIN,), Filter(), limit=PROOFS, order=order) for order in ("asc", "desc")
        ]
        for event in (event for page in pages for event in page.events):
            begun = time.process_time()
            text = instance.receipts.proof(event)
            making.append(time.process_time() - begun)
            proof = parse_proof(text)
            entry = json.loads(instance.receipts.receipt(event))["leaf"].encode()
            begun = time.process_time()
            verify_proof(proof, entry, trust.read(proof.checkpoint, None))
            checking.append(time.process_time() - begun)
            sizes.append(len(text))
            hashes = max(hashes, 32 * len(proof.hashes))
    results.add(
        at_most(f"size of a proof, {label}", max(sizes), 1_000, unit="B", note=f"its hashes {hashes}"),
        at_most(f"time to make a proof, p95, {label}", _p95(making) * 1e3, 5, unit="ms"),
        at_most(f"time to check a proof, p95, {label}", _p95(checking) * 1e3, 5, unit="ms"),
    )


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]
