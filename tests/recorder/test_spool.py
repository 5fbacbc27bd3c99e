"""The spool: what was put there is there, once, whatever happens to the process."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from affidavit.errors import SpoolFull, StorageError, StorageFull
from affidavit.recorder.spool import Spool


def bodies(spool: Spool) -> list[bytes]:
    """Everything that waits."""
    return [entry.body for entry in spool.take(1_000_000)]


def in_child(work: Callable[[], object]) -> int:
    """Fork, work in the child, and end it without any clean-up; its exit code."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_entries_come_out_in_the_order_of_arrival_until_they_are_done(tmp_path: Path) -> None:
    """Taking leaves them there; done takes them away; a number is never used again."""
    spool = Spool(tmp_path / "spool.db")
    first = spool.put([b"a", b"b", b"c"])
    assert [entry.body for entry in spool.take(2)] == [b"a", b"b"]
    assert [entry.body for entry in spool.take(9, after=first[0])] == [b"b", b"c"]
    spool.done(first)
    assert not spool.has_entries()
    assert spool.put([b"d"])[0] > max(first)
    spool.close()
    assert bodies(Spool(tmp_path / "spool.db")) == [b"d"]


def test_dead_letters_are_kept_revived_and_discarded(tmp_path: Path) -> None:
    """A refused entry leaves the queue for a table; reviving makes it the newest entry."""
    spool = Spool(tmp_path / "spool.db")
    one, two, three = spool.put([b"1", b"2", b"3"])
    spool.park(one, "422 no actor", 77)
    spool.park(two, "409 conflict", 78)
    assert spool.dead_letters() == [(one, b"1", "422 no actor", 77), (two, b"2", "409 conflict", 78)]
    assert bodies(spool) == [b"3"]
    spool.revive([one])
    spool.discard([two])
    assert bodies(spool) == [b"3", b"1"]
    assert spool.dead_letters() == []
    assert spool.take(1)[0].number == three


def test_a_full_spool_raises_and_takes_nothing(tmp_path: Path) -> None:
    """Not one byte above the limit, and not one entry of a batch that does not fit."""
    spool = Spool(tmp_path / "spool.db", limit=10)
    kept = spool.put([b"12345", b"678"])
    with pytest.raises(SpoolFull, match="8 of 10 bytes"):
        spool.put([b"9", b"10"])
    assert bodies(spool) == [b"12345", b"678"]
    spool.put([b"90"])
    spool.done(kept[:1])
    spool.put([b"54321"])
    with pytest.raises(SpoolFull):
        spool.put([b"x"])


def test_a_full_spool_that_blocks_waits_for_room(tmp_path: Path) -> None:
    """The caller goes on when somebody has taken entries out, and is told at the end of its patience."""
    spool = Spool(tmp_path / "spool.db", limit=4, when_full="block")
    kept = spool.put([b"full"])
    began = threading.Event()
    stored: list[list[int]] = []

    def put() -> None:
        began.set()
        stored.append(spool.put([b"more"]))

    thread = threading.Thread(target=put)
    thread.start()
    began.wait()
    thread.join(0.2)
    assert thread.is_alive()
    assert bodies(spool) == [b"full"]
    spool.done(kept)
    thread.join(10)
    assert bodies(spool) == [b"more"]
    with pytest.raises(SpoolFull):  # can never fit: waiting would be for ever
        spool.put([b"12345"])
    with pytest.raises(SpoolFull):
        Spool(spool.path, limit=4, when_full="block", patience=0.1).put([b"z"])


def test_it_is_readable_by_its_own_account_alone(tmp_path: Path) -> None:
    """Events hold personal data: the file, its WAL and its index are 0600 under any umask."""
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "new" / "spool.db")
        spool.put([b"x"])
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    assert modes == {"spool.db": 0o600, "spool.db-wal": 0o600, "spool.db-shm": 0o600}


def test_what_is_done_is_overwritten(tmp_path: Path) -> None:
    """After done and a close the bytes are in no file any more."""
    spool = Spool(tmp_path / "spool.db")
    spool.put([b"kept"])
    spool.done(spool.put([b"ana@example.org" * 20]))
    spool.close()
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"kept" in left
    assert b"ana@example.org" not in left


def test_parent_and_child_both_record_after_a_fork(tmp_path: Path) -> None:
    """Also after one of them closed the file: nobody writes into a WAL that the other has deleted."""
    spool = Spool(tmp_path / "spool.db")
    spool.put([b"before"])
    ready, go = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        try:
            spool.put([b"child 1"])
            os.write(ready[1], b"!")
            os.read(go[0], 1)
            spool.put([b"child 2"])
            os._exit(0)
        finally:
            os._exit(1)
    os.read(ready[0], 1)
    spool.put([b"parent"])
    spool.close()
    os.write(go[1], b"!")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert bodies(spool) == [b"before", b"child 1", b"parent", b"child 2"]
    for descriptor in (*ready, *go):
        os.close(descriptor)


def test_a_fork_waits_for_a_thread_that_writes(tmp_path: Path) -> None:
    """Forks in the middle of another thread's writes lose nothing and stop nobody."""
    spool = Spool(tmp_path / "spool.db")
    ended = threading.Event()
    written: list[bytes] = []

    def write() -> None:
        while not ended.wait(0.001):
            body = f"t{len(written)}".encode()
            spool.put([body])
            written.append(body)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            assert in_child(partial(spool.put, [f"c{number}".encode()])) == 0
    finally:
        ended.set()
        thread.join()
    assert sorted(bodies(spool)) == sorted([*written, *(f"c{number}".encode() for number in range(5))])


def test_a_spool_that_is_gone_is_not_told_of_forks(tmp_path: Path) -> None:
    """Nothing keeps a spool alive for the sake of a fork that may come."""
    from affidavit.recorder import forks

    spool = Spool(tmp_path / "spool.db")
    assert id(spool) in forks._known
    known = len(forks._known)
    del spool
    gc.collect()
    assert len(forks._known) < known


FILL = """
import sys
from pathlib import Path
from affidavit.recorder.spool import Spool
spool = Spool(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    spool.put([f"{sys.argv[2]}-{number}".encode()])
    print(number, flush=True)
"""


def test_several_processes_share_one_spool(tmp_path: Path) -> None:
    """Six processes make the file at the same time and write; every entry is there, once."""
    path = tmp_path / "spool.db"
    running = [
        subprocess.Popen([sys.executable, "-c", FILL, str(path), str(number), "15"], stdout=subprocess.PIPE)
        for number in range(6)
    ]
    for process in running:
        process.communicate(timeout=60)
        assert process.returncode == 0
    expected = sorted(f"{number}-{each}".encode() for number in range(6) for each in range(15))
    assert sorted(bodies(Spool(path))) == expected


def test_a_file_that_is_no_spool_is_named(tmp_path: Path) -> None:
    """A damaged file, a folder in its place and a folder that cannot be made: the error says which."""
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database" * 200)
    with pytest.raises(StorageError, match=r"broken\.db failed: file is not a database"):
        Spool(broken).put([b"x"])
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(StorageError, match=r"folder\.db"):
        Spool(tmp_path / "folder.db").put([b"x"])
    with pytest.raises(StorageError, match=r"broken\.db"):
        Spool(broken / "below" / "spool.db").put([b"x"])


def _fill_disk(path: str, result: multiprocessing.Queue[tuple[int, str]]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    spool = Spool(Path(path))
    spool.put([b"first"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    taken = 1
    try:
        while taken < 100:
            spool.put([bytes(20_000)])
            taken += 1
    except StorageError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        spool.put([b"last"])
        result.put((taken, str(error)))


def test_a_file_that_cannot_grow_refuses_what_does_not_fit(tmp_path: Path) -> None:
    """A clear error, exactly the entries that were taken, and the same spool works again with space."""
    context = multiprocessing.get_context("spawn")
    result: multiprocessing.Queue[tuple[int, str]] = context.Queue()
    process = context.Process(target=_fill_disk, args=(str(tmp_path / "spool.db"), result))
    process.start()
    taken, message = result.get(timeout=60)
    process.join(30)
    assert "spool.db failed" in message
    assert 1 < taken < 100
    kept = bodies(Spool(tmp_path / "spool.db"))
    assert (len(kept), kept[0], kept[-1]) == (taken + 1, b"first", b"last")


def test_a_full_disk_is_called_one(tmp_path: Path) -> None:
    """SQLite's word for no space left becomes ours."""
    spool = Spool(tmp_path / "spool.db")
    spool.put([b"x"])
    assert spool._connection is not None
    (pages,) = spool._connection.execute("PRAGMA page_count").fetchone()
    spool._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull, match="full"):
        spool.put([bytes(50_000)])
    assert bodies(spool) == [b"x"]


def test_the_size_is_that_of_what_waits(tmp_path: Path) -> None:
    """Counted by triggers, and by hand here: after puts, parks, revivals and removals."""
    spool = Spool(tmp_path / "spool.db")
    numbers = spool.put([b"a" * 10, b"b" * 20, b"c" * 30, b"d" * 40])
    spool.park(numbers[0], "no", 1)
    spool.park(numbers[1], "no", 1)
    spool.revive([numbers[0]])
    spool.done([numbers[3]])
    with sqlite3.connect(spool.path) as beside:
        (held,) = beside.execute("SELECT bytes FROM size").fetchone()
    beside.close()
    assert held == 30 + 10
