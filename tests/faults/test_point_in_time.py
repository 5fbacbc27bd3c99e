"""What docs/howto/postgresql-backup.md tells an operator to run does what it says, on a real server."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e.program import Program
from tests.e2e.test_documents import QUICKSTART, blocks
from tests.faults.load import eventually
from tests.postgres import Server, Version, binaries, free_port, server_on

PAGE = QUICKSTART.parent / "howto" / "postgresql-backup.md"
VERSION: Version = "15"


class Host:
    """The machine of the page: the server of today, the one that is restored, and the data directory.

    Args:
        folder: of the data directory.
        server: of today.
    """

    def __init__(self, folder: Path, server: Server) -> None:
        self.server = server
        self.restored = free_port()
        self.program = Program(folder, database=server.url("app"))
        self.moment = ""

    def real(self, script: str) -> str:
        """A block of the page with the places of this machine."""
        for written, here in {
            ":5432/": f":{self.server.port}/",
            ":5433/": f":{self.restored}/",
            "'-p 5433'": f"'-p {self.restored} -k {self.server.folder}'",
            "/backups": f"{self.server.folder}/backups",
            "/srv": f"{self.server.folder}/srv",
            "2026-11-21 15:00:00+00": self.moment,
        }.items():
            script = script.replace(written, here)
        return script

    def run(self, script: str, *, code: int = 0, operator: bool = False) -> str:
        """Run a block of the page, as the account of PostgreSQL or as the operator; what it printed."""
        user = None if operator else self.server.user
        path = f"{Path(sys.executable).parent}:{binaries(VERSION)}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.real(script)],
            cwd=self.program.folder if operator else self.server.folder,
            env={**self.program.environment, "PATH": path},
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"{done.returncode}: {done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def working(self) -> Iterator[None]:
        """A worker beside the block, which ends when everything has its leaf and its signature."""
        with self.program.start("worker", stderr=subprocess.DEVNULL) as process:
            try:
                yield
                eventually(self._settled, "nobody gave the events their leaves")
            finally:
                process.send_signal(signal.SIGTERM)

    def _settled(self) -> bool:
        ((waiting, behind),) = self.ask(
            "SELECT (SELECT count(*) FROM affidavit_pending), (SELECT count(*) FROM affidavit_trees"
            " WHERE published <> size)"
        )
        return (waiting, behind) == (0, 0)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database of today in SQL."""
        with psycopg.connect(self.server.url("app"), autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def record(self, organization: str, actor: str, reason: str) -> None:
        """One event."""
        flags = ("--organization", organization, "--actor", f"user:{actor}", "--reason", reason)
        assert self.program.run("record", "invoice.refund", *flags).code == 0


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A server that archives as the page says."""
    settings = dict(
        line.split(" = ", 1) for line in blocks(PAGE, "ini")[0].splitlines() if "timeout" not in line
    )
    command = settings["archive_command"].strip("'")
    with server_on(
        VERSION, fsync="off", archive_mode=settings["archive_mode"], archive_command="true"
    ) as server:
        made = Host(tmp_path_factory.mktemp("host"), server)
        made.run("mkdir -p /backups/wal /srv")
        with server.connect() as connection:
            connection.execute("CREATE DATABASE app")
        server.stop()
        server.settings["archive_command"] = made.real(command)
        server.start()
        yield made
        made.run("pg_ctl --pgdata /srv/restored --mode immediate stop || true")


def archive(server: Server) -> None:
    """Everything that was written so far is in the archive."""
    with server.connect() as connection:
        (name,) = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone() or ("",)
    eventually((server.folder / "backups" / "wal" / name).exists, "nothing was archived")


def test_the_page_restores_to_a_moment_and_the_guard_says_so_first(host: Host) -> None:
    """Every block in order: what was lost is named, then on record, and what was erased is gone again."""
    base, restore, status, reopen, erase_again, dump = blocks(PAGE, "sh")
    program = host.program
    assert program.run("migrate").code == 0
    host.record("acme", "ana", "stood with its leaf")
    host.record("beta", "ben", "of the other log")
    with host.working():
        pass
    host.run(base)
    host.record("acme", "ana", "waited for its leaf")
    ((host.moment,),) = host.ask("SELECT clock_timestamp()::text")
    with host.working():
        host.record("acme", "cleo", "came later")
        (erased,) = program.json("erase", "--organization=acme", "--subject=ana", "--basis=art. 17", "--json")
        assert erased["events"] == 2
    ((signed,),) = host.ask("SELECT size FROM affidavit_trees WHERE organization = 'acme'")
    archive(host.server)
    host.server.stop()

    host.run(restore)
    address, _ = status.splitlines()
    said = json.loads(host.run(status, code=1, operator=True))
    assert [each["kind"] for each in said["alarms"]] == ["guard_refused"]
    assert f"{signed} were signed" in said["alarms"][0]["text"]
    program.environment["AFFIDAVIT_DATABASE"] = host.real(address.partition("=")[2])
    assert kept(program) == {"stood with its leaf": "ana", "waited for its leaf": "ana"}

    printed = host.run(f"{address}\n{reopen.rstrip()} --json", operator=True).splitlines()
    (reopened,) = json.loads(printed[0])["reopened"]
    assert reopened["organization"] == "acme"
    assert reopened["checkpoint"].splitlines()[1] == str(signed)
    assert json.loads(printed[-1])["sound"]
    assert kept(program) == {"stood with its leaf": None, "waited for its leaf": "ana"}

    printed = host.run(f"{address}\n{erase_again.rstrip()} --json", operator=True).splitlines()
    assert json.loads(printed[-1])["sound"]
    assert kept(program) == {"stood with its leaf": None, "waited for its leaf": None}

    host.server.start()
    host.run(dump, operator=True)
    with psycopg.connect(host.real("postgresql://postgres@127.0.0.1:5433/again")) as connection:
        found = connection.execute("SELECT count(*) FROM affidavit_events").fetchall()
    assert found == host.ask("SELECT count(*) FROM affidavit_events")


def kept(program: Program) -> dict[str, str | None]:
    """Who did what, of the events that people recorded."""
    events = program.json("events", "--organization=acme", "action:invoice.refund", "--json")
    return {event["reason"]: event["actor"]["id"] if "actor" in event else None for event in events}
