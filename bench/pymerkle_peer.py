"""Measures pymerkle, in an environment of its own: it is under the GPL, and nothing else imports it.

Run by :mod:`bench.peers` with the Python of ``.venv-bench``; imports nothing of this repository, and is in
neither wheel nor source archive.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from pymerkle import InmemoryTree, SqliteTree  # type: ignore[import-not-found]


def main(count: int, size: int, batch: int) -> None:
    """Append random entries in memory and to a file; print leaves per second of one core for both."""
    entries = [os.urandom(size) for _ in range(count)]
    tree = InmemoryTree(algorithm="sha256")
    begun = time.process_time()
    for entry in entries:
        tree.append_entry(entry)
    memory = count / (time.process_time() - begun)
    with tempfile.TemporaryDirectory() as folder:
        stored = SqliteTree(str(Path(folder) / "tree.db"), algorithm="sha256")
        begun = time.process_time()
        for start in range(0, count, batch):
            stored.append_entries(entries[start : start + batch], chunksize=batch)
        sqlite = count / (time.process_time() - begun)
    json.dump({"memory": memory, "sqlite": sqlite}, sys.stdout)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
