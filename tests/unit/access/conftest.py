"""Fixtures of the tests of access."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.access.settings_store import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """All settings on a fresh file."""
    made = Settings(tmp_path)
    yield made
    made.close()
