"""What the same machine does without us: OpenSSL, hashlib, and pymerkle in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from hashlib import sha256
from pathlib import Path
from typing import Final

from affidavit.core.merkle import Frontier, leaf_hash
from bench.results import Results, Row, at_least, paired
from bench.verification import openssl_rate

__all__ = ["measure"]

ROUNDS: Final = 3
COUNT: Final = 50_000
SIZE: Final = 500
BATCH: Final = 1_000
PYTHON: Final = Path(__file__).parent.parent / ".venv-bench" / "bin" / "python"
SCRIPT: Final = Path(__file__).with_name("pymerkle_peer.py")


def measure(results: Results) -> None:
    """Add the rows: hashing itself, and a tree of entries of 500 bytes in memory."""
    entries = [os.urandom(SIZE) for _ in range(COUNT)]
    loops, limits, ours, theirs, stored = [], [], [], [], []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for entry in entries:
            sha256(entry).digest()
        loops.append(COUNT / (time.process_time() - begun))
        limits.append(openssl_rate(SIZE))
        begun = time.process_time()
        frontier = Frontier()
        for entry in entries:
            frontier.append(leaf_hash(entry))
        frontier.root()
        ours.append(COUNT / (time.process_time() - begun))
        peer = _pymerkle()
        theirs.append(peer["memory"])
        stored.append(peer["sqlite"])
    results.add(
        Row(
            name="hashing 500 bytes, hashlib beside openssl speed",
            ours=round(sorted(loops)[ROUNDS // 2]),
            reference=round(sorted(limits)[ROUNDS // 2]),
            unit="hashes/s",
            ratio=round(paired(loops, limits), 3),
            target="-",
            met=True,
            note="the limit of every row about hashes",
        ),
        at_least(
            "tree in memory, entries of 500 bytes, beside pymerkle", ours, theirs, 1.0, unit="leaves/s",
            note=f"pymerkle's own SQLite, batches of {BATCH:,}: {sorted(stored)[ROUNDS // 2]:,.0f}",
        ),
    )  # fmt: skip


def _pymerkle() -> dict[str, float]:
    if not PYTHON.exists():
        raise RuntimeError(f"{PYTHON} is missing; make bench installs pymerkle there")
    command = [str(PYTHON), str(SCRIPT), str(COUNT), str(SIZE), str(BATCH)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rates: dict[str, float] = json.loads(said)
    return rates
