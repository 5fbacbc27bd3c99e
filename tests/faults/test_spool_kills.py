"""SIGKILL of a program that fills and empties a spool: what put returned for is there, once."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from affidavit.embed import Audit
from affidavit.recorder.spool import Spool
from affidavit.storage.sqlite.database import migrate_file

SOAK_KILLS = int(os.environ.get("AFFIDAVIT_SOAK_KILLS", "50"))
"""Rounds of ``make soak``; ``make test`` has five."""

FILL = """
import itertools, sys
from pathlib import Path
from affidavit.recorder.spool import Spool
spool = Spool(Path(sys.argv[1]))
for number in itertools.count():
    spool.put([f"{sys.argv[2]}-{number}-{part}".encode() for part in range(3)])
    print(number, flush=True)
    if number % 4 == 3:
        entries = spool.take(2)
        print(*(entry.body.decode() for entry in entries), flush=True)
        spool.done([entry.number for entry in entries])
"""

RECORD = """
import itertools, sqlite3, sys
from affidavit.embed import Audit
from affidavit.recorder.fields import system
audit = Audit(sys.argv[1], organization="acme")
app = sqlite3.connect(sys.argv[1].removeprefix("sqlite:///"), isolation_level=None, timeout=30)
for number in itertools.count():
    if number % 6 == 2:
        app.execute("BEGIN IMMEDIATE")
    audit.record_now("team.update", actor=system("app"), resource=("team", f"{sys.argv[2]}-{number}"))
    print(f"{sys.argv[2]}-{number}", flush=True)
    if number % 6 == 4:
        app.execute("COMMIT")
"""


def killed_after(program: str, lines: int, *arguments: str) -> list[str]:
    """Run a program until it has printed so many lines, kill it; every whole line that it printed."""
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    said += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    return [line.strip() for line in said if line.endswith("\n")]


def spool_rounds(folder: Path, kills: int) -> None:
    """Fill and empty, die, and count: what was put and not taken out is there, in whole batches."""
    random = Random(kills)
    path = folder / "spool.db"
    put: set[str] = set()
    taken: set[str] = set()
    for life in range(kills):
        for line in killed_after(FILL, random.randrange(5, 60), str(path), str(life)):
            if line.isdigit():
                put |= {f"{life}-{line}-{part}" for part in range(3)}
            else:
                taken |= set(line.split())
    spool = Spool(path)
    waiting = Counter(entry.body.decode() for entry in spool.take(1_000_000))
    assert waiting.most_common(1)[0][1] == 1
    assert put - taken <= set(waiting), "an entry is lost"
    # What was taken last may have been put back by the death, and the last batch may be there unsaid.
    assert len(set(waiting) - put) <= 3 * kills
    assert len(set(waiting) & taken) <= 2 * kills
    for name in {marker.rpartition("-")[0] for marker in set(waiting) - put}:
        assert all(f"{name}-{part}" in waiting for part in range(3)), "half a batch"
    with closing(sqlite3.connect(path)) as beside:
        assert beside.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (size,) = beside.execute("SELECT bytes FROM size").fetchone()
    assert size == sum(map(len, waiting))


def recording_rounds(folder: Path, kills: int) -> None:
    """``record_now`` beside open transactions, killed again and again: every event is stored, once."""
    random = Random(kills)
    migrate_file(folder / "app.db")
    url = f"sqlite:///{folder}/app.db"
    said: list[str] = []
    for life in range(kills):
        said += killed_after(RECORD, random.randrange(4, 50), url, str(life))
    audit = Audit(url, organization="acme")
    audit.now.drain()
    audit.close()
    with closing(sqlite3.connect(folder / "app.db")) as beside:
        rows = beside.execute("SELECT resources FROM affidavit_events").fetchall()
    stored = Counter(marker for (text,) in rows for marker in _markers(text))
    assert stored.most_common(1)[0][1] == 1, "an event is there twice"
    assert set(said) <= set(stored), "an event is lost"
    assert len(stored) <= len(said) + kills


def _markers(text: str) -> list[str]:
    group = json.loads(text)
    return [entry["id"] for entry in (group["resources"] if isinstance(group, dict) else group)]


@pytest.mark.slow
def test_a_spool_survives_five_kills(tmp_path: Path) -> None:
    """No entry lost, none twice, no batch half there, the file whole and its size right."""
    spool_rounds(tmp_path, 5)


@pytest.mark.slow
def test_events_of_their_own_survive_five_kills(tmp_path: Path) -> None:
    """Whether they went into the database or into the spool, with transactions left open by the death."""
    recording_rounds(tmp_path, 5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_spool_survives_fifty_kills(tmp_path: Path) -> None:
    """The same, as often as AFFIDAVIT_SOAK_KILLS says."""
    spool_rounds(tmp_path, SOAK_KILLS)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_events_of_their_own_survive_fifty_kills(tmp_path: Path) -> None:
    """The same, as often as AFFIDAVIT_SOAK_KILLS says."""
    recording_rounds(tmp_path, SOAK_KILLS)
