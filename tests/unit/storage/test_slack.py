"""Pieces of erased cells in the slack of pages are overwritten, beside a writer, and nothing else is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from affidavit.errors import Refused
from affidavit.storage.sqlite.connect import connect
from affidavit.storage.sqlite.redaction import empty_wal
from affidavit.storage.sqlite.slack import SlackWiper

CANARY = b"canary-q7x"

WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("PRAGMA synchronous = OFF")
number = 0
import select
for who, in connection.execute("SELECT who FROM e INDEXED BY i WHERE who > ''").fetchall():
    pass
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    who = f"canar{chr(97 + number % 26)}{number * 7919 % 50}"
    connection.execute("INSERT INTO e (who, pad) VALUES (?, 'x')", (who,))
    number += 1
print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with rows about the canary gone; while it was filled nothing was overwritten."""
    random = Random(5)
    made = tmp_path / "a.db"
    connection = connect(made, writer=True, create=True, synchronous="OFF")
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("CREATE TABLE e (n INTEGER PRIMARY KEY, who TEXT, pad TEXT)")
    connection.execute("CREATE INDEX i ON e (who, n)")
    connection.execute("BEGIN")
    for number in range(20_000):
        who = CANARY.decode() if number % 10 == 0 else f"u{random.randrange(3000)}"
        connection.execute("INSERT INTO e (who, pad) VALUES (?, ?)", (who, "p" * random.randrange(90)))
    connection.execute("COMMIT")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("UPDATE e SET who = NULL WHERE who = ?", (CANARY.decode(),))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
    return made


def wipe(path: Path, steps: int = 100_000) -> None:
    """Scrub until it is done."""
    connection = connect(path, writer=True)
    wiper = SlackWiper(path)
    try:
        for _ in range(steps):
            if empty_wal(path, connection) and wiper.step(connection):
                return
        raise AssertionError("it does not end")
    finally:
        wiper.close()
        connection.close()


def content(path: Path) -> list[tuple[object, ...]]:
    """All rows, after SQLite has checked the whole file."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    rows = connection.execute("SELECT n, who, pad FROM e ORDER BY n").fetchall()
    by_index = connection.execute("SELECT n, who FROM e INDEXED BY i WHERE who >= '' ORDER BY n").fetchall()
    assert by_index == [row[:2] for row in rows if row[1] is not None]
    connection.close()
    return rows


def test_what_balancing_left_is_gone_and_the_rows_are_not(path: Path) -> None:
    """The file holds pieces of deleted cells before, none after; rows, index and size are the same."""
    before, size = content(path), path.stat().st_size
    assert CANARY in path.read_bytes()
    wipe(path)
    assert CANARY not in path.read_bytes()
    assert content(path) == before
    assert path.stat().st_size == size


@pytest.fixture
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes without pause, its cache full of old pages."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_beside_a_writer_nothing_is_lost_and_nothing_comes_back(
    path: Path, writer: subprocess.Popen[str]
) -> None:
    """While another process writes into the same trees: every row of both is there, and no piece is left."""
    before = content(path)
    wipe(path)
    assert CANARY not in path.read_bytes()
    out, _ = writer.communicate("stop\n")
    written = int(out)
    assert written > 100
    after = content(path)
    assert after[: len(before)] == before
    assert len(after) == 20_000 + written
    assert CANARY not in path.read_bytes()
    assert not Path(f"{path}-wal").exists() or CANARY not in Path(f"{path}-wal").read_bytes()


def test_a_file_of_another_layout_is_refused(tmp_path: Path) -> None:
    """Where pages of another kind could be mistaken for pages of a tree, nothing is touched."""
    path = tmp_path / "b.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA auto_vacuum = FULL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE e (n INTEGER PRIMARY KEY)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(Refused, match="VACUUM"):
        wipe(path)
    assert path.read_bytes() == before
