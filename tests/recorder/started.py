"""Apps that call ``audit.start()`` under real servers, and a look at the worker processes that come of it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from affidavit.config import Settings
from affidavit.supervisor import PARENT_VARIABLE
from affidavit.wiring import open_store
from tests.recorder.apps import App

__all__ = ["MODULE", "Served", "eventually", "parent_of", "served", "workers_of"]

PATIENCE = 60.0

MODULE = """
import os, time
from affidavit import Audit, system

audit = Audit(os.environ["APP_DATABASE"], organization="acme", data_dir=os.environ["APP_KEYS"])
started = audit.start()
while "APP_WAITS" in os.environ and started.pid is None:
    time.sleep(0.05)


def recorded(path):
    audit.record_now("team.update", actor=system("app"), resource=("team", path.strip("/")))
    return str(os.getpid()).encode()


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    await audit.aio.record_now(
        "team.update", actor=system("app"), resource=("team", scope["path"].strip("/"))
    )
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def wsgi(environ, start_response):
    body = recorded(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def eventually(condition: Callable[[], Any], what: Callable[[], str] | str) -> Any:
    """Wait for a condition of other processes; what it gave."""
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < until, what if isinstance(what, str) else what()
        time.sleep(0.05)
    return found


def workers_of(folder: Path) -> list[int]:
    """The worker processes that were started with this folder's keys, by number (Linux)."""
    found = []
    for each in Path("/proc").iterdir():
        if not each.name.isdigit():
            continue
        try:
            ours = str(folder).encode() in (each / "environ").read_bytes()
            words = (each / "cmdline").read_bytes().split(b"\0")
            ended = (each / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:  # it has ended, or is somebody else's
            continue
        if ours and not ended and b"affidavit.worker" in words:
            found.append(int(each.name))
    return found


def parent_of(worker: int) -> int | None:
    """The process that a worker belongs to; ``None`` where it has ended."""
    try:
        variables = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    found = [each.partition(b"=")[2] for each in variables if each.startswith(PARENT_VARIABLE.encode())]
    return int(found[0]) if found else None


class Unix(http.client.HTTPConnection):
    """HTTP over a socket that is a file: no port to collide on."""

    def __init__(self, path: Path) -> None:
        super().__init__("app", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Served:
    """An app under a server.

    Args:
        app: its database.
        command: of the server, after ``python -m``; ``{socket}`` is where it listens.
        environment: variables beside the usual.
    """

    def __init__(self, app: App, command: str, **environment: str) -> None:
        self.app = app
        self.keys = app.folder / "keys"
        self.socket = app.folder / "s"
        (app.folder / "served.py").write_text(MODULE)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AFFIDAVIT_")}
        path = os.pathsep.join(filter(None, (str(app.folder), os.environ.get("PYTHONPATH"))))
        variables = {"APP_DATABASE": app.url, "APP_KEYS": str(self.keys), "PYTHONPATH": path}
        words = [word.format(socket=self.socket) for word in command.split()]
        self.log = app.folder / "server.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=app.folder,
                env=kept | variables | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask(self, marker: str) -> int | None:
        """Record something; the process that did it, ``None`` where nobody answered."""
        with closing(Unix(self.socket)) as connection:
            try:
                connection.request("GET", f"/{marker}")
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                return None
            return int(body) if answer.status == 200 else None

    def recorded(self, marker: str) -> int:
        """The same, as soon as somebody answers."""
        return int(eventually(lambda: self.ask(marker), lambda: f"nobody answers: {self.log.read_text()}"))

    def workers(self) -> list[int]:
        """The worker processes of this app."""
        return workers_of(self.keys)

    def one_worker(self, beside: int | None = None) -> int:
        """Wait until there is one worker and no other; another one than ``beside``."""

        def one() -> int | None:
            found = self.workers()
            return found[0] if len(found) == 1 and found[0] != beside else None

        return int(eventually(one, lambda: f"{self.workers()}: {self.log.read_text()}"))

    def reloaded(self, module: str, worker: int) -> int:
        """Change a module until the server has seen it and the worker is gone; the next worker.

        Whoever watches files may look for the first time after the first change.
        """
        path = self.app.folder / module
        text = path.read_text()

        def gone() -> bool:
            path.with_suffix(".new").write_text(f"{text}\n# changed at {time.monotonic()}\n")
            path.with_suffix(".new").replace(path)
            return worker not in self.workers()

        eventually(gone, lambda: f"no reload: {self.log.read_text()}")
        return self.one_worker(beside=worker)

    def sealed(self, events: int) -> None:
        """Wait until that many events are recorded, and each has its leaf."""
        settings = Settings(data_dir=self.keys, database=self.app.url)
        with closing(open_store(settings)) as instance:

            def done() -> bool:
                health = instance.health()
                return bool(health["events"] >= events and health["queue_events"] == 0)

            eventually(done, lambda: f"{instance.health()}: {self.log.read_text()}")

    def end(self) -> int:
        """SIGTERM; how the server ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL of each process of the server, and of no worker."""
        keep = set(self.workers())
        for each in sorted(_session(self.process.pid) - keep):
            os.kill(each, signal.SIGKILL)
        self.process.wait()


def _session(leader: int) -> set[int]:
    """The processes of a session."""
    found = set()
    for each in Path("/proc").iterdir():
        try:
            fields = (each / "stat").read_text().rpartition(")")[2].split() if each.name.isdigit() else []
        except OSError:
            continue
        if fields and int(fields[3]) == leader and fields[0] != "Z":
            found.add(int(each.name))
    return found


@contextmanager
def served(app: App, command: str, **environment: str) -> Iterator[Served]:
    """An app under a server; nothing of it is left afterwards."""
    running = Served(app, command, **environment)
    try:
        yield running
    finally:
        for each in _session(running.process.pid):
            os.kill(each, signal.SIGKILL)
        running.process.wait()
