"""PgBouncer in transaction mode before one of the tests' servers."""

from __future__ import annotations

import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.postgres import Server, free_port
from tools import postgres

__all__ = ["bouncer_on"]

PATIENCE = 30.0
SETTINGS = """\
[databases]
* = host=127.0.0.1 port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 500
server_check_delay = 0
admin_users = postgres
logfile = log
pidfile = pid
"""


@contextmanager
def bouncer_on(server: Server, *, size: int = 4, users: Sequence[str] = ("postgres",)) -> Iterator[int]:
    """PgBouncer for the length of the block.

    Args:
        server: behind it.
        size: connections to the server at most, for each database and user.
        users: who may log in.

    Yields:
        The port on 127.0.0.1.
    """
    program = postgres.pgbouncer()
    if program is None:
        pytest.fail("no PgBouncer: tools/postgres.py says how it gets here")
    folder = Path(mkdtemp(prefix="affidavit-bouncer-", dir="/tmp"))
    port = free_port()
    (folder / "settings.ini").write_text(SETTINGS.format(server=server.port, port=port, size=size))
    (folder / "users").write_text("".join(f'"{user}" ""\n' for user in users))
    if server.user is not None:
        for each in (folder, *folder.iterdir()):
            shutil.chown(each, server.user)
    process = subprocess.Popen(
        [program, "-q", "settings.ini"],
        cwd=folder,
        user=server.user,
        group=None if server.user is None else pwd.getpwnam(server.user).pw_gid,
        extra_groups=None if server.user is None else [],
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "PgBouncer does not start"
            assert time.monotonic() < until, "PgBouncer does not listen"
            time.sleep(0.02)
        else:
            return
