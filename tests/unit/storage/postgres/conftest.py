"""What tests of recording from SQL share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from affidavit.testing.postgres import PostgresEngine
from tests.postgres import VERSIONS, Server
from tests.unit.storage.postgres.recording import Recording


@pytest.fixture(scope="module", params=VERSIONS)
def database(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """One database of each version for all tests of a module."""
    server: Server = request.getfixturevalue(f"postgres{request.param}")
    engine = PostgresEngine(server, clock=None)
    made = Recording(engine.create())
    yield made
    made.close()
    engine.close()
