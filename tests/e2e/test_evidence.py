"""What docs/howto/evidence.md tells an auditor and his counterpart to run does what it says."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.test_documents import ADDRESS, QUICKSTART, address, blocks, reader, run

__all__ = ["address", "reader"]

PAGE = QUICKSTART.parent / "howto" / "evidence.md"


def test_the_audit_does_what_it_says(tmp_path: Path, reader: dict[str, str], address: str) -> None:
    """Every command of the page, typed in order: all is sound but the edited file."""
    make_token = next(block for block in blocks(QUICKSTART, "sh") if "token create" in block)
    script = (make_token + "".join(blocks(PAGE, "sh"))).replace(ADDRESS, address)
    printed = run(script, tmp_path, reader)
    verdicts = [json.loads(line) for line in printed.splitlines() if line.startswith('{"sound"')]
    assert [verdict["sound"] for verdict in verdicts] == [True] * 5 + [False] + [True] * 2
    receipt, whole, http, filtered, lines, edited, later, live = verdicts
    assert receipt["verified"] == 1
    assert whole["complete"] == http["complete"] == later["complete"] == live["complete"] == "range"
    assert filtered["complete"] == lines["complete"] == "filtered"
    assert filtered["verified"] == 1
    assert http["verified"] >= whole["verified"] >= 3
    assert edited["failed"] > 0
    assert later["memory"] == "signed by the operator only"
