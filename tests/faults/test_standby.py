"""A synchronous standby takes over from a primary that was killed: what was acknowledged is there, once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

from affidavit.testing.postgres import PostgresEngine
from tests.faults.load import eventually
from tests.faults.postgres_load import Clients, check, prepare
from tests.postgres import VERSIONS, Server, Version, server_on

SOAK_KILLS = int(os.environ.get("AFFIDAVIT_SOAK_KILLS", "50"))
"""How many primaries ``make soak`` kills; ``make test`` kills one of each version."""
QUICK = {"fsync": "off"}
"""SIGKILL takes nothing from a disk; what counts is that no commit is answered before the standby has it."""


@contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """A standby that every commit of the primary waits for, for the length of the block."""
    folder = Path(mkdtemp(prefix="affidavit-standby-", dir="/tmp"))
    standby = Server(primary.version, folder, dict(primary.settings))
    try:
        standby.run(
            "pg_basebackup",
            "--pgdata=data",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            f"--dbname={primary.url()}",
        )
        standby.start()
        with primary.connect() as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
            waited_for = "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'"
            eventually(lambda: connection.execute(waited_for).fetchone() is not None, "no standby followed")
        yield standby
    finally:
        standby.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def take_over(version: Version, folder: Path) -> None:
    """Record, kill the primary, promote the standby, and let the same clients go on there."""
    with server_on(version, **QUICK) as primary:
        url = PostgresEngine(primary, clock=None).create()
        prepare(url)
        name = url.rpartition("/")[2]
        with standby_of(primary) as standby, Clients(folder, url) as clients:
            clients.more(500)
            primary.kill()
            with standby.connect() as connection:
                assert connection.execute("SELECT pg_promote()").fetchone() == (True,)
            before = len(clients.acknowledged)
            clients.moved(standby.url(name))
            clients.more(200)
            assert before >= 500
            clients.__exit__()
            check(standby.url(name), clients.acknowledged)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_a_promoted_standby_has_what_was_acknowledged(version: Version, tmp_path: Path) -> None:
    """Servers and applications send what was not answered again, and nothing is doubled."""
    take_over(version, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_many_promoted_standbys_have_what_was_acknowledged(tmp_path: Path) -> None:
    """The same, a fifth as often as AFFIDAVIT_SOAK_KILLS says, on both versions."""
    for number in range(max(1, SOAK_KILLS // 5)):
        take_over(VERSIONS[number % 2], tmp_path)
