"""Witnesses beside an instance, all as real processes, some of them killed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from affidavit.config import Settings
from affidavit.core.checkpoint import Opened, open_checkpoint
from affidavit.core.note import Verifier, parse_verifier
from affidavit.core.policy import Policy, parse_policy
from affidavit.core.unsound import UnknownSigner
from affidavit.wiring.log import key_file
from tests.e2e.program import Program

PATIENCE = 60


def until(condition: Callable[[], bool], what: str) -> None:
    """Look again and again until it holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)


class Running(NamedTuple):
    """A witness that runs."""

    process: subprocess.Popen[str]
    url: str
    vkey: str


class Site:
    """One instance with a policy of two witnesses, both of whom must have seen a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.program = Program(folder)
        self.folder = folder
        self.program.environment["AFFIDAVIT_ORGANIZATION"] = "acme"
        self.log_file = folder / "affidavit-data" / "affidavit-log.db"

    def record(self, *actions: str) -> None:
        """Record events."""
        for action in actions:
            assert self.program.run("record", action, "--actor", "user:ana").code == 0

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[None]:
        """Let a worker run."""
        with self.program.start("worker", *arguments, stderr=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.terminate()
                process.wait(PATIENCE)
        assert process.returncode == 0

    @contextmanager
    def witness(self, name: str, listen: str = "127.0.0.1:0") -> Iterator[Running]:
        """Run a witness on a data directory named as it."""
        command = ("witness", "serve", "--listen", listen, "--data-dir", name, "--name", f"{name}.example")
        with self.program.start(*command, "--instance", self.vkey, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                first = process.stdout.readline().split()
                assert first[:3] == ["Witness", f"{name}.example", "serves"], first
                yield Running(process, first[3], process.stdout.readline().strip())
            finally:
                process.kill()
                process.stdout.read()

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        """Read the log file."""
        if not self.log_file.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.log_file}?mode=ro", uri=True)) as file:
            try:
                return file.execute(sql).fetchall()
            except sqlite3.OperationalError:
                return []  # it is being made

    def published(self) -> int:
        """The size of the newest checkpoint."""
        rows = self.ask("SELECT coalesce(max(size), 0) FROM affidavit_checkpoints")
        return int(str(rows[0][0])) if rows else 0

    def recorded(self) -> int:
        """How many events there are; reading evidence is one, too."""
        file = self.folder / "affidavit-data" / "affidavit.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            ((count,),) = database.execute(
                "SELECT count(*) FROM affidavit_events WHERE organization = 'acme'"
            )
        return int(count)

    def alarms(self) -> dict[str, str]:
        """Kind to text."""
        return {str(kind): str(text) for kind, text in self.ask("SELECT kind, text FROM affidavit_alarms")}

    @property
    def origin(self) -> str:
        """The origin of the only tree."""
        ((origin,),) = self.ask("SELECT host || '/' || hex || '/' || incarnation FROM affidavit_trees")
        return str(origin)

    @property
    def vkey(self) -> str:
        """The verifier key of the log."""
        settings = Settings(data_dir=self.folder / "affidavit-data")
        return key_file(settings).load().verifiers(self.origin)[0].vkey

    def opened(self, size: int, witnesses: list[Verifier]) -> Opened:
        """The stored checkpoint of a size, every signature checked."""
        ((note,),) = self.ask(f"SELECT note FROM affidavit_checkpoints WHERE size = {size}")
        assert isinstance(note, bytes)
        return open_checkpoint(note, [parse_verifier(self.vkey)], witnesses, origin=self.origin)

    def verdict(self, policy: Policy | None = None) -> dict[str, Any]:
        """What a stranger says of a bundle, with the log's key alone or with the policy of its witnesses."""
        bundle = self.folder / "bundle.zip"
        bundle.unlink(missing_ok=True)
        assert self.program.run("export", "--format", "bundle", "--output", bundle).code == 0
        if policy is None:
            trusted = ["--key", self.vkey]
        else:
            file = self.folder / "trusted"
            file.write_text(f"log {self.vkey}\n{(self.folder / 'policy').read_text()}")
            trusted = ["--policy", str(file)]
        ended = self.program.run("verify", bundle, *trusted, "--json")
        (verdict,) = ended.documents
        assert ended.code == (0 if verdict["sound"] else 1)
        assert isinstance(verdict, dict)
        return verdict

    def cosigned_by(self, size: int, running: Running) -> bool:
        """Whether a witness has cosigned this size."""
        return self.published() >= size and bool(self.opened(size, [parse_verifier(running.vkey)]).cosigned)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An instance with one published event."""
    made = Site(tmp_path)
    made.record("user.login")
    with made.worker():
        until(lambda: made.published() >= 1, "the first checkpoint")
    return made


def write_policy(site: Site, *running: Running) -> Path:
    """A policy that wants all of these."""
    lines = [f"witness w{number} {each.vkey} {each.url}" for number, each in enumerate(running, 1)]
    names = " ".join(f"w{number}" for number in range(1, len(running) + 1))
    path = site.folder / "policy"
    path.write_text("\n".join([*lines, f"group everybody all {names}", "quorum everybody", ""]))
    return path


def test_a_quorum_of_two_with_one_witness_killed(site: Site) -> None:
    """Both cosign; with one killed the other does, and the quorum is missed by name until it is back."""
    with site.witness("w1") as first, site.witness("w2") as second:
        policy = parse_policy(write_policy(site, first, second).read_text())
        with site.worker("--policy", "policy"):
            until(lambda: site.cosigned_by(1, first) and site.cosigned_by(1, second), "both cosignatures")
        opened = site.opened(1, list(policy.witness_keys))
        policy.check_quorum(witness for witness, _ in opened.cosigned)
        assert all(abs(seconds - time.time()) < PATIENCE for _, seconds in opened.cosigned)
        assert site.alarms() == {}
        assert site.verdict()["memory"] == "signed by the operator only"
        verdict = site.verdict(policy)
        assert (verdict["sound"], verdict["verified"]) == (True, 1)
        assert {each["name"] for each in verdict["witnesses"]} == {"w1.example", "w2.example"}

        first.process.kill()
        first.process.wait()
        site.record("user.logout")
        size = site.recorded()
        with site.worker("--policy", "policy"):
            until(lambda: site.cosigned_by(size, second), "the cosignature of the one that lives")
            until(lambda: len(site.alarms()) == 2, "both alarms")
        alarms = site.alarms()
        assert "does not answer" in alarms["witness_unreachable"]
        assert "missing of w1" in alarms["witness_quorum"]
        opened = site.opened(size, list(policy.witness_keys))
        with pytest.raises(UnknownSigner, match="missing of w1"):
            policy.check_quorum(witness for witness, _ in opened.cosigned)
        verdict = site.verdict(policy)
        assert verdict["sound"] is False
        assert "missing of w1" in str(verdict["failures"])
        assert site.verdict()["sound"] is True

        size = site.recorded()
        with site.witness("w1", first.url.removeprefix("http://")), site.worker("--policy", "policy"):
            until(lambda: site.cosigned_by(size, first), "the cosignature of the one that came back")
            until(lambda: site.alarms() == {}, "no alarm")


def test_a_rollback_behind_the_guard_is_named_by_the_witness(site: Site) -> None:
    """Database, log and guard of yesterday, and other events since: refused, named, kept as evidence there.

    Attack cases 9, 10, 12 and 13: whoever has the host and the key makes the guard forget, not the witness.
    """
    data = site.folder / "affidavit-data"
    with site.witness("w1") as running:
        write_policy(site, running)
        shutil.copytree(data, site.folder / "yesterday")
        site.record("user.delete", "user.delete")
        with site.worker("--policy", "policy"):
            until(lambda: site.cosigned_by(3, running), "the cosignature")
        shutil.rmtree(data)
        shutil.copytree(site.folder / "yesterday", data)
        site.record("user.view")
        with site.worker("--policy", "policy"):
            until(lambda: "witness_refused" in site.alarms(), "the alarm")
        assert "has cosigned size 3" in site.alarms()["witness_refused"]
        assert "this log was set back" in site.alarms()["witness_refused"]

        site.record("user.view", "user.view")
        with site.worker("--policy", "policy"):
            until(lambda: bool(refused(site.folder / "w1")), "the evidence")
        assert not site.cosigned_by(4, running)
    ((origin, size, note),) = refused(site.folder / "w1")
    assert (origin, size) == (site.origin, 4)
    opened = open_checkpoint(note, [parse_verifier(site.vkey)], origin=site.origin)
    assert opened.checkpoint.size == 4


def refused(folder: Path) -> list[tuple[str, int, bytes]]:
    """The evidence that a witness has kept."""
    with closing(sqlite3.connect(folder / "witness.db")) as file:
        return file.execute("SELECT origin, size, note FROM refused").fetchall()


def test_a_policy_that_cannot_be_read_stops_only_itself(site: Site) -> None:
    """Sequencing and signing go on; the alarm names the file and the line."""
    (site.folder / "policy").write_text("witness w1 nonsense http://127.0.0.1:1\nquorum w1\n")
    site.record("user.logout")
    with site.worker("--policy", "policy"):
        until(lambda: site.published() >= 2, "the checkpoint")
        until(lambda: "log_cosign" in site.alarms(), "the alarm")
    assert "line 1 of the policy" in site.alarms()["log_cosign"]


def test_the_key_of_a_witness_is_shown_and_made_once(tmp_path: Path) -> None:
    """One bare line: the verifier key; without a witness it says what to do; serve needs a log to watch."""
    program = Program(tmp_path)
    refusal = program.run("witness", "key", "show", "--data-dir", "d")
    assert (refusal.code, refusal.out) == (2, "")
    assert "--name" in refusal.err
    made = program.run("witness", "key", "show", "--data-dir", "d", "--name", "w.example/1")
    assert made.out == program.run("witness", "key", "show", "--data-dir", "d").out
    vkey = parse_verifier(made.out.removesuffix("\n"))
    assert (vkey.name, vkey.kind) == ("w.example/1", 4)
    seed = (tmp_path / "d" / "witness.key").read_text().rstrip("\n").split("+", 4)[4]
    assert len(b64decode(seed)) == 33
    assert seed not in made.out
    serve = program.run("witness", "serve", "--data-dir", "d")
    assert (serve.code, "at least one log" in serve.err) == (2, True)
    own = program.run("witness", "serve", "--data-dir", "d", "--log", made.out.strip())
    assert (own.code, "key of a witness, not of a log" in own.err) == (2, True)
