"""The real program, ``affidavit``, as a subprocess in a folder of its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Ended", "Program", "Serving"]

COMMAND = str(Path(sys.executable).parent / "affidavit")
TIMEOUT = 120


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """The JSON lines that it printed."""
        return [json.loads(line) for line in self.out.splitlines()]


class Serving(NamedTuple):
    """A server that runs.

    Attributes:
        address: ``http://127.0.0.1:PORT``.
        said: the lines that it printed before it was ready.
    """

    process: subprocess.Popen[str]
    address: str
    said: list[str]


class Program:
    """Runs commands in one folder, without any setting of the machine's own.

    Args:
        folder: exists; where the files are.
        database: URL; ``None`` leaves it at a file in the folder.
    """

    def __init__(self, folder: Path, *, database: str | None = None) -> None:
        self.folder = folder
        self.database = database
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AFFIDAVIT_")}
        self.environment = kept | {"HOME": str(folder), "NO_PROXY": "*"}
        if database is not None:
            self.environment["AFFIDAVIT_DATABASE"] = database

    def run(self, *arguments: object, stdin: str | bytes = b"") -> Ended:
        """Run a command to its end."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    def json(self, *arguments: object, stdin: str | bytes = b"") -> list[Any]:
        """Run a command that must succeed, and return the JSON lines that it printed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done.documents

    def start(self, *arguments: object, **more: Any) -> subprocess.Popen[str]:
        """Start a command; the caller ends it."""
        command = [COMMAND, *map(str, arguments)]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, text=True, **more)

    def on_terminal(self, *arguments: object, columns: int = 160) -> tuple[int, bytes]:
        """Run a command whose standard streams are a terminal; its exit code and what it wrote."""
        process, terminal = pty.fork()
        if process == 0:  # the child; nothing but exec may happen here
            os.chdir(self.folder)
            environment = self.environment | {"COLUMNS": str(columns), "TERM": "xterm-256color"}
            os.execve(COMMAND, [COMMAND, *map(str, arguments)], environment)
        written = b""
        while True:
            try:
                piece = os.read(terminal, 65_536)
            except OSError:  # Linux's way to say that the other side closed a terminal
                break
            if not piece:
                break
            written += piece
        os.close(terminal)
        _, status = os.waitpid(process, 0)
        return os.waitstatus_to_exitcode(status), written

    @contextmanager
    def serving(self, *arguments: object, lines: int = 2) -> Iterator[Serving]:
        """Serve on a free port; ended by SIGTERM, which must end it well."""
        command = ("serve", "--listen", "127.0.0.1:0", *arguments)
        with self.start(*command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                said = [process.stdout.readline().rstrip("\n") for _ in range(lines)]
                assert "serves http" in said[0], said
                yield Serving(process, said[0].split()[-1].removesuffix("/audit"), said)
            finally:
                process.send_signal(signal.SIGTERM)
                process.stdout.read()
        assert process.returncode == 0


def children(process: int) -> Sequence[int]:
    """The child processes of a process (Linux), whichever of its threads started them."""
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return [int(number) for file in lists for number in file.read_text(encoding="ascii").split()]
