"""Django on both engines; in processes of their own, as Django can be set up once in a process."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tests.recorder.django.processes import databases_on, dropped, run

ENGINES = ("sqlite", "postgresql")
PARTS = ("transactions", "requests", "captured", "captured_sets", "endpoints", "howto", "replayed")


@pytest.mark.parametrize(("engine", "part"), [*product(ENGINES, PARTS), ("postgresql", "triggered")])
def test_inside(request: pytest.FixtureRequest, tmp_path: Path, engine: str, part: str) -> None:
    """What ``inside/PART.py`` promises holds."""
    server = request.getfixturevalue("postgres") if engine == "postgresql" else None
    databases = databases_on(server, tmp_path)
    try:
        done = run(
            databases,
            *("-m", "pytest", "-q", "-p", "no:django", "-p", "no:xdist", "-p", "no:cacheprovider"),
            *("-p", "tests.recorder.django.inside.plugin", f"tests/recorder/django/inside/{part}.py"),
        )
    finally:
        dropped(server, databases)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
