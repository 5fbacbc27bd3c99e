"""The mutation run: one random change at a time, which somebody must notice.

``python -m tests.mutation.run --changes 10000`` makes a database of real events with its files and a bundle
of each organization, and changes one value after another: any table, any column, any row, any bit of a
bundle. Each change must be found by ``fsck`` or ``verify``, or leave every reader's output as it was, byte
for byte; the latter are listed and may be one in a hundred.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from affidavit.config import Settings
from affidavit.core.filter import Filter
from affidavit.core.members import Stream
from affidavit.export.bundle import Bundles
from affidavit.log.fsck import Findings
from affidavit.storage.evidence import Fault
from affidavit.verifier.archive import Archive
from affidavit.verifier.command import Asked, verdict_of
from affidavit.wiring.fsck import check_everything
from affidavit.wiring.log import key_file
from tests.mutation import change, readers, world
from tests.mutation.operational import operational_columns

__all__ = ["FILES", "Laboratory", "Making", "Outcome", "Summary", "build", "place_of", "run"]

FILES = ("app.db", "app-log.db", "app-index.db", "guard.db")
BUNDLES = tuple(f"{organization}.zip" for organization in world.ORGANIZATIONS)
BUNDLE_SHARE = 8
"""One change in so many is one of a bundle."""
MOST_BENIGN = 0.01
LOOKS = 3
"""How often outputs that differ are read again: a page may come short on a busy machine, an edit stays."""


class Outcome(NamedTuple):
    """What became of one change.

    Attributes:
        number: of the change; with the seed it says all about it.
        change: what was done.
        verdict: ``detected``; ``warned``: named, while the log is sound; ``benign``; ``missed``.
        by: what found it, or which reader shows something else.
    """

    number: int
    change: change.Change
    verdict: str
    by: str


class Summary(NamedTuple):
    """All outcomes of a run."""

    outcomes: list[Outcome]

    def of(self, verdict: str) -> list[Outcome]:
        """Those with one verdict."""
        return [outcome for outcome in self.outcomes if outcome.verdict == verdict]

    @property
    def passed(self) -> bool:
        """Whether nothing was missed and little was benign."""
        return not self.of("missed") and len(self.of("benign")) <= MOST_BENIGN * len(self.outcomes)


class _FirstFault(Exception):
    """Carries what was found first."""


class _First(Findings):
    """Ends the check at the first fault: for a mutation one is enough."""

    def fault(self, fault: Fault, tree: int | None = None, *, entries: int = 1) -> None:
        raise _FirstFault(f"{fault.table}.{fault.column}: {fault.rule}"[:120])


def build(settings: Settings, data: Path, events: int) -> str:
    """Make the database and its bundles in a folder.

    Args:
        settings: of a database that is not there, and of an empty folder.
        data: real audit logs.
        events: how many at least.

    Returns:
        The value of the cookie of a session.
    """
    folder = settings.data_dir
    world.populate(settings)
    cookie = readers.session_of(settings)
    sources = (
        ("acme", "cloudtrail", sorted((data / "cloudtrail" / "invictus").glob("*.json"))),
        ("globex", "cloudtrail", [data / "panther" / "AWS.CloudTrail.jsonl"]),
        ("globex", "kubernetes", [data / "panther" / "Amazon.EKS.Audit.jsonl"]),
        ("globex", "github", [data / "panther" / "GitHub.Audit.jsonl"]),
        ("globex", "okta", [data / "panther" / "Okta.SystemLog.jsonl"]),
        ("globex", "kubernetes", [data / "k8s" / "audit2rbac-demo.log"]),
        ("globex", "cloudtrail", sorted((data / "cloudtrail").glob("*/*.json"))),
    )
    recorded = 0
    with world.opened(settings) as instance:
        instance.authentication  # noqa: B018 - makes the operator's token
        for organization, format_, files in sources:
            for file in files:
                if recorded < events:
                    recorded += world.import_real(instance, folder, organization, format_, [file])
    assert recorded >= events, recorded
    world.work(settings)
    write_bundles(settings)
    return cookie


def write_bundles(settings: Settings) -> None:
    """One bundle of each organization, beside the database."""
    with world.opened(settings) as instance:
        bundles = Bundles(instance.log, instance.log, instance.entries, instance.reader)
        for organization in world.ORGANIZATIONS:
            content = b"".join(bundles.open(organization, Filter()).chunks())
            (settings.data_dir / f"{organization}.zip").write_bytes(content)


class Laboratory:
    """A copy of everything, on which one process tries its changes.

    Args:
        original: the folder that :func:`build` has filled.
        folder: empty, for the copy.
        cookie: of a session.
        seed: of all dice.
    """

    def __init__(self, original: Path, folder: Path, cookie: str, seed: str) -> None:
        self._original = original
        self._folder = folder
        self._cookie = cookie
        self._seed = seed
        shutil.copytree(original, folder, dirs_exist_ok=True)
        self._settings = self.open()
        self._choice = change.Choice(self.cells(), operational_columns())
        keys = key_file(self._settings).load()
        with world.opened(self._settings) as instance:
            self._vkeys = {
                f"{organization}.zip": [
                    key.vkey
                    for tree in instance.log.trees(organization)
                    for key in keys.verifiers(tree.origin)
                ]
                for organization in world.ORGANIZATIONS
            }
        self.restore("")
        self._warned = check_everything(self._settings).total().warnings

    def open(self) -> Settings:
        """The settings of the copy."""
        return world.settings_in(self._folder)

    def cells(self) -> list[change.Cell]:
        """Every column that can be changed."""
        return change.cells_of(self._original, FILES)

    def apply(self, cell: change.Cell, dice: random.Random) -> change.Change:
        """Change one value, or a row."""
        return change.apply(self._folder, cell, dice)

    def restore(self, table: str) -> None:
        """Put the copy back as it was where a table, or everything, was changed."""
        for name in FILES:
            path = self._folder / name
            for companion in ("-wal", "-shm"):
                path.with_name(name + companion).unlink(missing_ok=True)
            shutil.copyfile(self._original / name, path)

    @contextmanager
    def reading(self, *, original: bool) -> Iterator[Settings]:
        """Another copy of the original or the changed database, which may be written while it is read."""
        with tempfile.TemporaryDirectory(dir=self._folder.parent) as folder:
            source = self._original if original else self._folder
            shutil.copytree(source, folder, dirs_exist_ok=True)
            yield world.settings_in(Path(folder))

    def attempt(self, number: int) -> Outcome:
        """Make one change, see who notices, and take it back."""
        dice = random.Random(f"{self._seed}/{number}")
        if dice.randrange(BUNDLE_SHARE) == 0:
            return self._bundle(number, dice)
        done = self.apply(self._choice.draw(dice), dice)
        try:
            warnings = check_everything(self._settings, (), _First()).total().warnings
        except _FirstFault as found:
            outcome = Outcome(number, done, "detected", str(found))
        else:
            new = [text for text in warnings if text not in self._warned]
            outcome = Outcome(number, done, "warned", new[0][:120]) if new else self._read(number, done)
        self.restore(done.table)
        return outcome

    def _read(self, number: int, done: change.Change) -> Outcome:
        different: set[str] | None = None
        for _ in range(LOOKS):
            seen, total = self._differences()
            different = seen if different is None else different & seen
            if not different:
                return Outcome(number, done, "benign", f"{total} outputs are the same")
        first = min(different or ("",))
        return Outcome(number, done, "missed", f"{len(different or ())} outputs differ: {first}")

    def _differences(self) -> tuple[set[str], int]:
        """The outputs that differ, and how many there are; pages name hours, so both are read at one time."""
        with self.reading(original=True) as settings:
            before = readers.outputs(settings, self._cookie)
        with self.reading(original=False) as settings:
            after = readers.outputs(settings, self._cookie)
        names = before.keys() | after.keys()
        return {name for name in names if before.get(name) != after.get(name)}, len(names)

    def _bundle(self, number: int, dice: random.Random) -> Outcome:
        name = dice.choice(BUNDLES)
        path = self._folder / name
        done = change.flip(path, dice)
        verdict = verdict_of(Asked(str(path), keys=tuple(self._vkeys[name])), int(time.time()))
        if not verdict.sound:
            by = verdict.failures[0].rule if verdict.failures else str(verdict.not_checked)
            outcome = Outcome(number, done, "detected", f"verify: {by}"[:120])
        elif _members(path) == _members(self._original / name):
            outcome = Outcome(number, done, "benign", "every member but the README is the same")
        else:
            outcome = Outcome(number, done, "missed", "a member reads otherwise")
        shutil.copyfile(self._original / name, path)
        return outcome


def _members(path: Path) -> dict[str, bytes]:
    with Archive(path) as archive:
        return {name: _whole(archive.stream(name)) for name in archive.names if name != "README"}


def _whole(stream: Stream) -> bytes:
    return b"".join(iter(lambda: stream.read(1 << 20), b""))


class Making(Protocol):
    """Makes a laboratory in an empty folder."""

    def __call__(self, original: Path, folder: Path, cookie: str, seed: str) -> Laboratory:
        """See :class:`Laboratory`."""
        ...


def _work(
    making: Making, original: Path, cookie: str, seed: str, numbers: Sequence[int], answers: object
) -> None:
    with tempfile.TemporaryDirectory(dir=original.parent) as folder:
        laboratory = making(original, Path(folder) / "copy", cookie, seed)
        for number in numbers:
            answers.put(laboratory.attempt(number))  # type: ignore[attr-defined]


def run(
    original: Path, cookie: str, seed: str, changes: int, processes: int, making: Making = Laboratory
) -> Iterator[Outcome]:
    """Try so many changes.

    Args:
        original: the folder that :func:`build` has filled.
        cookie: of a session.
        seed: of all dice.
        changes: how many.
        processes: that work at the same time, 1 for this one alone.
        making: makes what they work on.
    """
    if processes == 1:
        with tempfile.TemporaryDirectory(dir=original.parent) as folder:
            laboratory = making(original, Path(folder) / "copy", cookie, seed)
            yield from map(laboratory.attempt, range(changes))
        return
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [
        context.Process(
            target=_work,
            args=(making, original, cookie, seed, range(at, changes, processes), answers),
            daemon=True,
        )
        for at in range(processes)
    ]
    for worker in workers:
        worker.start()
    for _ in range(changes):
        yield answers.get(timeout=600)
    for worker in workers:
        worker.join()


@contextmanager
def place_of(engine: str, folder: Path) -> Iterator[tuple[Settings, Making]]:
    """Settings of a database to be made in a folder, and what makes copies of it."""
    if engine == "sqlite":
        yield world.settings_in(folder), Laboratory
        return
    from tests.mutation.postgres_run import PostgresMaking
    from tests.postgres import FAST, server_on

    with server_on("18", **FAST) as server:
        making = PostgresMaking(server.url())
        yield world.settings_in(folder, making.make()), making


def main() -> int:
    """Run, print each change that nothing detected and the sums; 0 where the promise holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--only", type=int, nargs="*", help="these changes of the seed alone")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    given = parser.parse_args()
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=place) as folder,
        place_of(given.engine, Path(folder) / "original") as (settings, making),
    ):
        original = settings.data_dir
        original.mkdir()
        cookie = build(settings, given.data, given.events)
        files = [path for path in sorted(original.iterdir()) if path.suffix in (".db", ".zip")]
        sizes = ", ".join(f"{path.name} {path.stat().st_size:,}" for path in files)
        print(f"{given.engine}, seed {given.seed}, {given.changes:,} changes; bytes: {sizes}", flush=True)
        begun = time.monotonic()
        outcomes = []
        for outcome in _outcomes(original, cookie, given, making):
            outcomes.append(outcome)
            if outcome.verdict in ("missed", "benign") or given.only:
                print(_line(outcome), flush=True)
            if len(outcomes) % 1_000 == 0:
                print(f"{len(outcomes):,} after {time.monotonic() - begun:.0f} s", flush=True)
    summary = Summary(outcomes)
    for text in report(summary, time.monotonic() - begun):
        print(text)
    return 0 if summary.passed else 1


def _outcomes(original: Path, cookie: str, given: argparse.Namespace, making: Making) -> Iterator[Outcome]:
    if not given.only:
        yield from run(original, cookie, given.seed, given.changes, given.processes, making)
        return
    with tempfile.TemporaryDirectory(dir=original.parent) as folder:
        laboratory = making(original, Path(folder) / "copy", cookie, given.seed)
        yield from map(laboratory.attempt, given.only)


def _line(outcome: Outcome) -> str:
    made = outcome.change
    place = f"{made.file} {made.table}.{made.column}" if made.table else made.file
    return f"{outcome.verdict} #{outcome.number}: {place} ({made.what}): {outcome.by}"


def report(summary: Summary, seconds: float) -> Iterator[str]:
    """The sums: by file, and what was not detected by column."""
    total = len(summary.outcomes)
    for name in sorted({outcome.change.file for outcome in summary.outcomes}):
        of = [outcome for outcome in summary.outcomes if outcome.change.file == name]
        counts = Counter(outcome.verdict for outcome in of)
        yield f"{name}: {len(of):,} changes, " + ", ".join(f"{counts[v]:,} {v}" for v in _VERDICTS)
    for verdict in ("missed", "benign"):
        columns = Counter(f"{o.change.table}.{o.change.column}" for o in summary.of(verdict))
        for column, count in columns.most_common():
            yield f"{verdict}: {count} x {column}"
    detected, warned = len(summary.of("detected")), len(summary.of("warned"))
    benign = len(summary.of("benign"))
    yield (
        f"{total:,} changes in {seconds:.0f} s: {detected:,} detected, {warned:,} warned of, "
        f"{benign:,} benign"
        f" ({benign / max(1, total):.2%}), {len(summary.of('missed')):,} missed"
    )


_VERDICTS = ("detected", "warned", "benign", "missed")


if __name__ == "__main__":
    sys.exit(main())
