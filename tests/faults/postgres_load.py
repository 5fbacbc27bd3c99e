"""Programs that record in PostgreSQL (``tests/faults/postgres_client.py``), and what must be there then."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Self

import psycopg

from tests.faults.load import eventually

__all__ = ["Clients", "check", "prepare"]


def prepare(url: str) -> None:
    """Make the table that the application changes."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE changed (marker text PRIMARY KEY)")


class Clients:
    """Two servers and two applications that record, and what was acknowledged to them.

    Args:
        folder: for the file that says where the database is.
        url: of the database, to begin with.

    Attributes:
        acknowledged: marker to id.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._file = folder / "url"
        self.moved(url)
        self.acknowledged: dict[str, str] = {}
        self._numbers = count(1)
        self._processes: list[tuple[str, subprocess.Popen[str], threading.Thread]] = []

    def __enter__(self) -> Self:
        for mode in ("group", "function", "group", "function"):
            self._start(mode)
        return self

    def __exit__(self, *_: object) -> None:
        while self._processes:
            self._end(0)

    def moved(self, url: str) -> None:
        """Say where the database is now."""
        draft = self._file.with_suffix(".new")
        draft.write_text(url)
        draft.replace(self._file)

    def kill(self, number: int) -> None:
        """SIGKILL to one of them; another one takes its place."""
        self._start(self._end(number % len(self._processes)))

    def more(self, events: int) -> None:
        """Wait until that many further events were acknowledged."""
        goal = len(self.acknowledged) + events
        eventually(lambda: len(self.acknowledged) >= goal, "the clients came to a stop")

    def _start(self, mode: str) -> None:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.faults.postgres_client",
                mode,
                self._file,
                f"{mode}-{next(self._numbers)}",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        reader = threading.Thread(target=self._read, args=(process,))
        reader.start()
        self._processes.append((mode, process, reader))

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            # The last line of one that was killed may be half.
            if line.endswith("\n"):
                marker, event_id = line.split()
                self.acknowledged[marker] = event_id

    def _end(self, number: int) -> str:
        mode, process, reader = self._processes.pop(number)
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()
        return mode


def check(url: str, acknowledged: dict[str, str]) -> None:
    """Nothing acknowledged is lost, nothing is doubled, and each waits for its leaf once.

    What an application recorded is there with its change, and no change without what was recorded.
    """
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT context::json #>> '{request,id}', id::text FROM affidavit_events"
        ).fetchall()
        queued = [name for (name,) in connection.execute("SELECT id::text FROM affidavit_pending")]
        changed = {marker for (marker,) in connection.execute("SELECT marker FROM changed")}
    stored: dict[str, str] = dict(rows)
    assert len(stored) == len(rows), "an event is there twice"
    lost = {marker for marker, event_id in acknowledged.items() if stored.get(marker) != event_id}
    assert lost == set(), "an acknowledged event is not there"
    assert sorted(queued) == sorted(stored.values())
    assert changed == {marker for marker in stored if marker.startswith("function")}
    assert {marker.partition("-")[0] for marker in acknowledged} == {"group", "function"}
