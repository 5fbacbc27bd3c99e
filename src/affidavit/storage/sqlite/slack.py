"""Overwriting what SQLite leaves behind in the slack of its pages.

``secure_delete`` overwrites rows and pages that are deleted. One thing it leaves: when SQLite balances a tree
it rebuilds pages, and the bytes between the cell pointers and the first cell keep pieces of cells that moved
elsewhere. No statement reaches them. They are overwritten in the file itself, which is safe under these
conditions, checked for every batch: the write-ahead log is empty and this process holds the write lock, so
that the file is the whole truth and nobody changes it; only bytes that SQLite never reads are touched; and a
commit follows, after which every connection throws its copies of pages away.

The file is read and written by a child process, which has no connection to it: closing a descriptor here
would drop the locks of this process. Run as a module, this file is that child.
"""

from __future__ import annotations

import json
import os
import select
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import IO

from affidavit.errors import Refused

__all__ = ["SlackWiper"]

BATCH = 200
"""Pages overwritten under one hold of the write lock."""
ROUNDS = 4
"""How often the whole file is looked through; what is recorded meanwhile leaves slack of its own."""
_MOST_PAGES = 1 << 25
"""Below this many pages no page of another kind can begin with the byte of a page of a tree (128 GiB)."""
_HEADER = {2: 12, 5: 12, 10: 8, 13: 8}
"""Kinds of pages of a tree, and the bytes of their headers."""


class SlackWiper:
    """Overwrites the slack of one file, in steps that never wait.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._child: subprocess.Popen[bytes] | None = None
        self._pages: list[int] | None = None
        self._rounds = 0

    def step(self, connection: sqlite3.Connection) -> bool:
        """Do a piece; call it right after the write-ahead log was emptied.

        Args:
            connection: to the file, in no transaction.

        Returns:
            Whether the whole file was looked through and nothing was left to be overwritten.

        Raises:
            Refused: the file has a layout or a size in which it cannot be done.
        """
        if self._child is None:
            self._ask("scan", [])
        if self._pages is None:
            if not self._answered():
                return False
            self._pages = self._answer()
            self._rounds += 1
        if not self._pages or self._rounds > ROUNDS:
            self.close()
            return True
        if self._wipe(connection, self._pages[:BATCH]):
            del self._pages[:BATCH]
            if not self._pages:
                self._pages = None
                self._ask("scan", [])
        return False

    def _wipe(self, connection: sqlite3.Connection, pages: list[int]) -> bool:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self._wal_is_empty():
                self._ask("wipe", pages)
                self._answer()
                # The same number again: a commit, so that every connection reads its pages anew.
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                connection.execute(f"PRAGMA user_version = {int(version)}")
                connection.execute("COMMIT")
                return True
            connection.execute("ROLLBACK")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return False

    def _wal_is_empty(self) -> bool:
        try:
            return Path(f"{self._path}-wal").stat().st_size == 0
        except FileNotFoundError:
            return True

    def _ask(self, what: str, pages: list[int]) -> None:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-I", __file__, str(self._path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        stdin = self._child.stdin
        assert stdin is not None
        stdin.write(json.dumps([what, pages]).encode() + b"\n")
        stdin.flush()

    def _answered(self) -> bool:
        return bool(select.select([self._stdout()], [], [], 0)[0])

    def _answer(self) -> list[int]:
        line = self._stdout().readline()
        if not line:
            self.close()
            raise sqlite3.OperationalError("the slack of its pages could not be overwritten")
        answer: list[int] | str = json.loads(line)
        if isinstance(answer, str):
            self.close()
            raise Refused(f"{self._path}: {answer}")
        return answer

    def _stdout(self) -> IO[bytes]:
        assert self._child is not None
        assert self._child.stdout is not None
        return self._child.stdout

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        self._pages, self._rounds = None, 0
        if child is not None:
            child.kill()
            child.communicate()


class _File:
    """The child's side: the file's pages."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def scan(self) -> list[int] | str:
        """The pages whose slack holds something, or why this cannot be found out."""
        header = os.pread(self._descriptor, 100, 0)
        self._size = int.from_bytes(header[16:18], "big")
        self._size = 65_536 if self._size == 1 else self._size
        self._usable = self._size - header[20]
        count = os.fstat(self._descriptor).st_size // self._size
        if count >= _MOST_PAGES or header[52:56] != bytes(4):
            return (
                "what is erased is gone, but pieces may stand in the slack of its pages, which cannot be"
                " overwritten in a file of this layout or size. Stop everything and run VACUUM on it."
            )
        return [number for number in range(1, count + 1) if self._slack(number) is not None]

    def wipe(self, pages: list[int]) -> list[int]:
        """Overwrite the slack of these pages; the answer is the pages that had any."""
        wiped = []
        for number in pages:
            slack = self._slack(number)
            if slack is not None:
                start, end = slack
                os.pwrite(self._descriptor, bytes(end - start), (number - 1) * self._size + start)
                wiped.append(number)
        return wiped

    def sync(self) -> None:
        """Bring it to the disk."""
        os.fdatasync(self._descriptor)

    def _slack(self, number: int) -> tuple[int, int] | None:
        """Where a page of a tree has slack that is not zero; ``None`` for every other page."""
        page = os.pread(self._descriptor, self._size, (number - 1) * self._size)
        at = 100 if number == 1 else 0
        length = _HEADER.get(page[at]) if len(page) == self._size else None
        if length is None:
            return None
        free, cells, first = (int.from_bytes(page[at + i : at + i + 2], "big") for i in (1, 3, 5))
        first = first or 65_536
        start = at + length + 2 * cells
        pointers = page[at + length : start]
        places = [int.from_bytes(pointers[i : i + 2], "big") for i in range(0, len(pointers), 2)]
        sound = start <= first <= self._usable and all(first <= place < self._usable for place in places)
        if not sound or (free and not first <= free < self._usable) or not any(page[start:first]):
            return None
        return start, first


def _serve(path: str, asked: IO[str], answers: IO[str]) -> None:
    file = _File(path)
    for line in asked:
        what, pages = json.loads(line)
        found = file.scan() if what == "scan" else file.wipe(pages)
        answers.write(json.dumps(found) + "\n")
        answers.flush()
        if what == "wipe":
            file.sync()  # after the answer: whoever holds the write lock does not wait for the disk


if __name__ == "__main__":
    _serve(sys.argv[1], sys.stdin, sys.stdout)
