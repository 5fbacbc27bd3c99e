"""A small mutation run; ``make mutate`` does ten thousand changes on five thousand events."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation import run
from tests.shared_data import shared_data

CHANGES = 200
SEED = "make test"


@pytest.mark.slow
def test_each_of_two_hundred_changes_is_noticed(tmp_path: Path) -> None:
    """A random change to any file or bundle is found, or no reader shows anything else than before."""
    original = tmp_path / "original"
    original.mkdir()
    cookie = run.build(original, shared_data(), 300)
    summary = run.Summary(list(run.run(original, cookie, SEED, CHANGES, 1)))
    assert len(summary.outcomes) == CHANGES
    assert summary.of("missed") == [], f"seed {SEED!r}"
    assert summary.passed, [outcome for outcome in summary.outcomes if outcome.verdict == "benign"]
