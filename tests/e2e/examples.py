"""The products in ``examples/``, each started as its README says, as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.program import children

__all__ = ["EXAMPLES", "Running", "running"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECONDS = 60


class Running(NamedTuple):
    """An example that runs.

    Attributes:
        address: ``http://127.0.0.1:PORT``.
        log: file with what it said on its standard error.
    """

    process: subprocess.Popen[str]
    address: str
    log: Path


@contextmanager
def running(
    folder: Path, *command: str, log: Path, environment: Mapping[str, str], ended: int = -signal.SIGTERM
) -> Iterator[Running]:
    """Start an example; it is ended by SIGTERM and must leave no process behind.

    Args:
        folder: to start it in.
        command: arguments for Python.
        log: file to write its standard error to.
        environment: beside the one of the tests, without any setting of ours.
        ended: with which exit code it ends.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AFFIDAVIT_")}
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=kept | {"NO_PROXY": "*", "PYTHONDONTWRITEBYTECODE": "1"} | dict(environment),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        said: list[str] = []
        found = None
        while found is None and (line := process.stdout.readline()):
            said.append(line)
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None, (said, log.read_text(encoding="utf-8"))
        yield Running(process, found[0], log)
    finally:
        family = [process.pid, *children(process.pid)]
        process.terminate()
        try:
            assert process.wait(SECONDS) == ended, log.read_text(encoding="utf-8")
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "processes left behind")
        finally:
            process.kill()
            process.communicate()


def until(condition: object, otherwise: str) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it did not within a minute.
    """
    assert callable(condition)
    ends = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ends, otherwise
        threading.Event().wait(0.05)
