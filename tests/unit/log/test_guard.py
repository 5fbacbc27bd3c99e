"""The guard's file: it accepts what extends what it has seen, and computes that itself."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from affidavit.core.checkpoint import Checkpoint
from affidavit.core.merkle import consistency_ranges
from affidavit.errors import GuardRefused, StorageError
from affidavit.storage.guard import Head, Proposal
from affidavit.storage.log import Manifest
from affidavit.storage.sqlite.guard_file import SqliteGuard, open_guard
from tests.sealed import naive_root

HEX = "0" * 31 + "1"


def leaves(count: int, seed: str = "") -> list[bytes]:
    """Leaf hashes of a log; another seed is another history."""
    return [sha256(f"{seed}{number}".encode()).digest() for number in range(count)]


def origin(hex_digits: str = HEX, incarnation: int = 1) -> str:
    """The name of a log."""
    return f"log.example/{hex_digits}/{incarnation}"


def proposal(
    size: int, old: int = 0, *, seed: str = "", published: int = 0, name: str = "acme", log: str = ""
) -> Proposal:
    """A checkpoint of a log with a proof from an old size, both by the definition."""
    hashes = leaves(size, seed)
    proof = (
        [naive_root(hashes[start:end]) for start, end in consistency_ranges(old, size)]
        if 0 < old < size
        else []
    )
    return Proposal(name, Checkpoint(log or origin(), size, naive_root(hashes)), published, proof)


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[SqliteGuard]:
    """A new one."""
    made = open_guard(tmp_path / "guard.db", "db-1", make=True)
    yield made
    made.close()


def refused(guard: SqliteGuard, *proposals: Proposal) -> list[str | None]:
    """What it says to each."""
    return [answer.refused for answer in guard.accept(proposals)]


def size_of(guard: SqliteGuard, log: str = "") -> int:
    """What it remembers of a log."""
    return guard.heads([log or origin()])[log or origin()].size


class TestAccept:
    def test_a_log_grows(self, guard: SqliteGuard) -> None:
        """Every size to 70 from every one that came before by several steps."""
        old = 0
        for size in (1, 2, 3, 4, 7, 8, 9, 31, 64, 70):
            assert refused(guard, proposal(size, old)) == [None]
            assert guard.heads([origin()])[origin()].root == naive_root(leaves(size))
            old = size

    def test_the_same_again_is_accepted_again(self, guard: SqliteGuard) -> None:
        """After an answer that was lost the signer comes with the same checkpoint."""
        assert refused(guard, proposal(5)) == [None]
        assert refused(guard, proposal(5, published=5)) == [None]

    def test_another_root_of_the_same_size_is_refused(self, guard: SqliteGuard) -> None:
        """Attack case 11: a fork."""
        guard.accept([proposal(5)])
        (why,) = refused(guard, proposal(5, seed="other"))
        assert why is not None
        assert "does not extend" in why
        assert guard.heads([origin()])[origin()].root == naive_root(leaves(5))

    @pytest.mark.parametrize("size", [6, 8, 300])
    def test_another_history_is_refused_whatever_its_proof(self, guard: SqliteGuard, size: int) -> None:
        """Attack case 12: the proof is checked against the root that the guard keeps, not one it is told."""
        guard.accept([proposal(5)])
        honest = proposal(size, 5)
        for bad in (
            proposal(size, 5, seed="other"),
            honest._replace(proof=[]),
            honest._replace(proof=[*honest.proof, b"\0" * 32]),
            honest._replace(proof=[b"\1" * 32, *honest.proof[1:]]),
            honest._replace(proof=[b"short", *honest.proof[1:]]),
        ):
            (why,) = refused(guard, bad)
            assert why is not None
            assert size_of(guard) == 5
        assert refused(guard, honest) == [None]

    def test_a_smaller_size_is_refused(self, guard: SqliteGuard) -> None:
        """Attack case 13: a rollback; what to do is said."""
        guard.accept([proposal(9)])
        (why,) = refused(guard, proposal(5))
        assert why is not None
        assert "9 were signed" in why
        assert "log reopen" in why
        assert size_of(guard) == 9

    def test_a_log_that_was_signed_beyond_its_memory_is_refused(self, guard: SqliteGuard) -> None:
        """Attack case 16: a guard from before, or another one."""
        (why,) = refused(guard, proposal(9, published=7))
        assert why is not None
        assert "knows nothing" in why
        guard.accept([proposal(5)])
        (why,) = refused(guard, proposal(9, 5, published=7))
        assert why is not None
        assert "remembers only 5" in why
        assert "log guard accept" in why
        assert refused(guard, proposal(9, 5, published=5)) == [None]

    def test_one_that_is_refused_does_not_stop_the_others(self, guard: SqliteGuard) -> None:
        """Each log for itself, in one transaction."""
        others = [f"{number:032x}" for number in range(10, 1_210)]
        first = [proposal(2, log=origin(each), name=each) for each in others]
        assert refused(guard, *first) == [None] * len(others)
        second = [proposal(3, 2, log=origin(each), name=each) for each in others]
        second[600] = second[600]._replace(proof=[])
        answers = refused(guard, *second)
        assert [at for at, why in enumerate(answers) if why is not None] == [600]
        assert [size_of(guard, origin(each)) for each in others[599:602]] == [3, 2, 3]

    def test_a_second_log_of_an_organization_is_refused(self, guard: SqliteGuard) -> None:
        """A log file that was lost is named when another hex appears, until a person says so."""
        guard.accept([proposal(5)])
        for other in (origin("f" * 32), origin(HEX, 2)):
            (why,) = refused(guard, proposal(1, log=other))
            assert why is not None
            assert f"{origin()}, signed up to size 5" in why
        guard.begin([Head(origin(HEX, 2), "acme", 0, sha256(b"").digest())])
        assert refused(guard, proposal(1, log=origin(HEX, 2))) == [None]
        (why,) = refused(guard, proposal(6, 5))
        assert why is not None
        assert "was closed" in why

    def test_what_it_accepted_is_on_the_disk(self, guard: SqliteGuard, tmp_path: Path) -> None:
        """Another process reads it at once, and so does the next start."""
        guard.accept([proposal(5)])
        other = open_guard(tmp_path / "guard.db", "db-1", make=False)
        assert size_of(other) == 5
        other.close()
        connection = sqlite3.connect(tmp_path / "guard.db")
        assert connection.execute("SELECT size FROM affidavit_guard_heads").fetchall() == [(5,)]
        connection.close()

    def test_it_syncs_each_time(self, guard: SqliteGuard) -> None:
        """Acceptance must outlive a power cut, or the signer would sign what nobody remembers."""
        assert guard._connection.execute("PRAGMA synchronous").fetchone() == (2,)


class TestFile:
    def test_it_is_private(self, guard: SqliteGuard, tmp_path: Path) -> None:
        """Made whole, mode 0600, with nothing left beside it but its journal."""
        assert stat.S_IMODE((tmp_path / "guard.db").stat().st_mode) == 0o600
        assert {each.name.split("-")[0] for each in tmp_path.iterdir()} == {"guard.db"}

    def test_a_missing_one_is_not_made_on_the_way(self, tmp_path: Path) -> None:
        """Only while nothing was signed."""
        with pytest.raises(GuardRefused, match="log guard accept"):
            open_guard(tmp_path / "guard.db", "db-1", make=False)
        assert not (tmp_path / "guard.db").exists()

    def test_one_of_another_database_is_refused(self, guard: SqliteGuard, tmp_path: Path) -> None:
        """Until a person lets it guard this one."""
        with pytest.raises(GuardRefused, match="guards another database"):
            open_guard(tmp_path / "guard.db", "db-2", make=True)
        open_guard(tmp_path / "guard.db", "db-2", make=False, adopt=True).close()
        with pytest.raises(GuardRefused, match="guards another database"):
            open_guard(tmp_path / "guard.db", "db-1", make=False)

    @pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
    def test_a_file_that_is_no_guard_is_refused(self, tmp_path: Path, content: bytes) -> None:
        """Empty, or something else: nothing is made of it."""
        (tmp_path / "guard.db").write_bytes(content)
        with pytest.raises((GuardRefused, StorageError)):
            open_guard(tmp_path / "guard.db", "db-1", make=True)

    def test_one_that_is_taken_away_is_noticed(self, guard: SqliteGuard, tmp_path: Path) -> None:
        """What was deleted under an open connection is no memory."""
        (tmp_path / "guard.db").unlink()
        with pytest.raises(GuardRefused, match="deleted or replaced"):
            guard.accept([proposal(1)])

    def test_manifests_are_kept_in_order(self, guard: SqliteGuard) -> None:
        """The same again changes nothing; those of one organization or all."""
        made = [
            Manifest(bytes([number]) * 32, name, "erasure", b"body", b"note", number)
            for number, name in ((3, "acme"), (1, "beta"), (2, "acme"))
        ]
        for manifest in [*made, *made]:
            guard.add(manifest)
        assert guard.manifests() == [made[1], made[2], made[0]]
        assert guard.manifests("acme") == [made[2], made[0]]
