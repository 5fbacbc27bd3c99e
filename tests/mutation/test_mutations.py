"""A small mutation run; ``make mutate`` does ten thousand changes on five thousand events."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation import run, world
from tests.mutation.postgres_run import PostgresMaking
from tests.postgres import Server
from tests.shared_data import shared_data

CHANGES = {"sqlite": 200, "postgresql": 30}
MOST_BENIGN = 2
SEED = "make test"


@pytest.mark.slow
@pytest.mark.parametrize("engine", CHANGES)
def test_each_of_so_many_changes_is_noticed(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A random change to any file, table or bundle is found, or no reader shows anything else than before."""
    original = tmp_path / "original"
    original.mkdir()
    making: run.Making = run.Laboratory
    url = None
    if engine == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        making = PostgresMaking(server.url())
        url = making.make()
        request.addfinalizer(making.drop)
    settings = world.settings_in(original, url)
    cookie = run.build(settings, shared_data(), 300)
    summary = run.Summary(list(run.run(original, cookie, SEED, CHANGES[engine], 1, making)))
    assert len(summary.outcomes) == CHANGES[engine]
    assert summary.of("missed") == [], f"seed {SEED!r}"
    assert len(summary.of("benign")) <= MOST_BENIGN, summary.of("benign")
