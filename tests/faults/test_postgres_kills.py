"""SIGKILL of whoever records in PostgreSQL, and of PostgreSQL: what was acknowledged is there, once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from affidavit.testing.postgres import PostgresEngine
from tests.faults.postgres_load import Clients, check, prepare
from tests.postgres import Server, Version, server_on

KILLS = 5
SYNCING = {"recovery_init_sync_method": "syncfs"}
"""Everything is synced, as by default; what a crash left is synced as a whole and not file by file."""
SOAK_KILLS = int(os.environ.get("AFFIDAVIT_SOAK_KILLS", "50"))
"""How many times ``make soak`` kills each; ``make test`` kills it five times."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that syncs, as one in use does."""
    with server_on("18", **SYNCING) as made:
        yield made


def recording(server: Server) -> str:
    """The URL of a database to record in."""
    url = PostgresEngine(server, clock=None).create()
    prepare(url)
    return url


def kill_clients(server: Server, folder: Path, kills: int) -> None:
    """Record while servers and applications are killed in turn."""
    random = Random(kills)
    url = recording(server)
    with Clients(folder, url) as clients:
        for number in range(4 * kills):
            clients.more(random.randrange(1, 200))
            clients.kill(number)
        clients.more(200)
    check(url, clients.acknowledged)


def kill_database(server: Server, folder: Path, kills: int) -> None:
    """Record while the database is stopped at once and killed, in turn; clients wait and go on."""
    random = Random(kills)
    url = recording(server)
    with Clients(folder, url) as clients:
        for _ in range(kills):
            clients.more(random.randrange(100, 600))
            server.stop("immediate")
            server.start()
            clients.more(random.randrange(100, 600))
            server.kill()
            server.start()
        clients.more(200)
    check(url, clients.acknowledged)


@pytest.mark.slow
def test_a_killed_client_loses_nothing(server: Server, tmp_path: Path) -> None:
    """Two servers with group commit and two applications that call the function, five times each."""
    kill_clients(server, tmp_path, KILLS)


@pytest.mark.slow
def test_a_killed_database_loses_nothing(server: Server, tmp_path: Path) -> None:
    """An immediate stop and a SIGKILL of the postmaster, five times each."""
    kill_database(server, tmp_path, KILLS)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("version", ["15", "18"])
def test_many_kills_lose_nothing(version: Version, tmp_path: Path) -> None:
    """The same, as often as AFFIDAVIT_SOAK_KILLS says, on both versions."""
    with server_on(version, **SYNCING) as server:
        kill_clients(server, tmp_path, SOAK_KILLS)
        kill_database(server, tmp_path, SOAK_KILLS)
