"""An import as a whole: counts, rejects, repeats, batches."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from affidavit.core.event import Draft
from affidavit.core.row import Recorded
from affidavit.errors import FieldError, InvalidEvent, Refused, StorageFull, TooLarge
from affidavit.ingest.importers.ndjson import Ndjson
from affidavit.ingest.rejects import Reject, RejectFile
from affidavit.ingest.run import Counts, ImportRun
from tests.unit.ingest.memory import MemoryIntake


def event(number: int, **fields: Any) -> dict[str, Any]:
    """An event in our own shape."""
    return {
        "action": "thing.do",
        "occurred_at": f"2026-01-02T03:04:{number % 60:02}.{number:06}Z",
        "actor": {"type": "user", "id": "u1"},
        "metadata": {"n": number},
        **fields,
    }


def write(folder: Path, name: str, *lines: Any) -> str:
    """A file of JSON lines; texts stand as they are."""
    path = folder / name
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8"
    )
    return str(path)


def run(
    folder: Path, *files: str, batch: int = 1000, intake: Any = None
) -> tuple[Counts, list[Reject], MemoryIntake]:
    """Import into memory."""
    memory = MemoryIntake(Ndjson())
    rejects: list[Reject] = []
    importing = ImportRun(
        intake or memory.record, Ndjson(), batch=batch, rejects=RejectFile(folder, rejects.append)
    )
    return importing.run(files), rejects, memory


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_bad_events_do_not_stop_the_good(tmp_path: Path, batch: int) -> None:
    """Each event that breaks a rule is a reject with line, field and rule; all others go in."""
    lines: list[Any] = [event(number) for number in range(60)]
    lines[3] = event(3, action="no-dot")
    lines[17] = event(17, severity="loud")
    lines[18] = event(18, ip="not an address")
    lines[30] = '{"action": "thing.do", "occurred_at"'
    lines[31] = event(31, occurred_at=None)
    lines[40] = event(40, surprise=1)
    lines[50] = event(50, metadata={"text": "x" * 300 * 1024})
    lines[51] = event(51, action="audit.read")
    lines[59] = event(59, occurred_at="2036-01-01T00:00:00Z")
    counts, rejects, memory = run(tmp_path, write(tmp_path, "events.json", *lines), batch=batch)
    assert counts == Counts(read=60, recorded=51, duplicates=0, rejected=9, skipped=0)
    assert len(memory.rows) == 51
    found = {reject.line: (reject.field, reject.rule) for reject in rejects}
    assert found == {
        4: ("/action", "pattern"),
        18: ("severity", "type"),
        19: ("/ip", "address"),
        31: ("", "truncated"),
        32: ("occurred_at", "required"),
        41: ("", "unknown_field"),
        51: ("", "too_large"),
        52: ("/action", "reserved"),
        60: ("/occurred_at", "in_future"),
    }


def test_many_bad_events(tmp_path: Path) -> None:
    """A batch in which almost every event is bad still records the rest."""
    lines = [event(number, action="bad" if number % 10 else "thing.do") for number in range(500)]
    counts, rejects, _ = run(tmp_path, write(tmp_path, "events.json", *lines))
    assert counts == Counts(read=500, recorded=50, duplicates=0, rejected=450, skipped=0)
    assert sorted(reject.line for reject in rejects) == [number + 1 for number in range(500) if number % 10]


def test_twice_is_once(tmp_path: Path) -> None:
    """The second import of a file adds nothing; nor do repeats within it."""
    file = write(tmp_path, "events.json", event(1), event(2), event(1))
    memory = MemoryIntake(Ndjson())
    first = ImportRun(memory.record, Ndjson(), rejects=RejectFile(tmp_path)).run([file])
    second = ImportRun(memory.record, Ndjson(), rejects=RejectFile(tmp_path)).run([file])
    assert first == Counts(read=3, recorded=2, duplicates=1, rejected=0, skipped=0)
    assert second == Counts(read=3, recorded=0, duplicates=3, rejected=0, skipped=0)


def test_reject_file(tmp_path: Path) -> None:
    """The file has its six fields, is private, and is importable again once its records are mended."""
    file = write(tmp_path, "events.json", event(1, action="bad"), "{", event(3))
    run(tmp_path / "rejects", file)
    path = tmp_path / "rejects" / "events.json.rejects.ndjson"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first, second = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    assert list(first) == ["file", "line", "field", "rule", "error", "record"]
    assert (first["file"], first["line"], first["record"]["action"]) == (file, 1, "bad")
    assert second == {
        "file": file,
        "line": 2,
        "field": "",
        "rule": "truncated",
        "error": "ends in the middle of a JSON value",
        "record": "{",
    }


def test_reject_file_is_that_of_the_last_run(tmp_path: Path) -> None:
    """A run without rejects leaves no reject file of an earlier one behind."""
    file = write(tmp_path, "events.json", "{")
    run(tmp_path, file)
    path = tmp_path / "events.json.rejects.ndjson"
    assert len(path.read_text("utf-8").splitlines()) == 1
    run(tmp_path, file)
    assert len(path.read_text("utf-8").splitlines()) == 1
    write(tmp_path, "events.json", event(1))
    run(tmp_path, file)
    assert not path.exists()


def test_same_name_in_two_folders(tmp_path: Path) -> None:
    """Two sources of one name share a reject file; its lines say which is which."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    files = [write(tmp_path / "a", "x.json", "{"), write(tmp_path / "b", "x.json", event(1), "{")]
    counts, _, _ = run(tmp_path, *files)
    assert (counts.recorded, counts.rejected) == (1, 2)
    lines = (tmp_path / "x.json.rejects.ndjson").read_text("utf-8").splitlines()
    assert [json.loads(line)["file"] for line in lines] == files


def test_unwritable_reject_file(tmp_path: Path) -> None:
    """Rejects that cannot be kept stop the import: nothing is dropped in silence."""
    blocked = tmp_path / "blocked"
    blocked.write_text("a file and no folder")
    with pytest.raises(Refused, match="reject file"):
        run(blocked, write(tmp_path, "events.json", "{"))


def test_batches_reach_over_files(tmp_path: Path) -> None:
    """A thousand small files are not a thousand transactions, and no batch is above its limit."""
    files = [write(tmp_path, f"{number}.json", event(number), event(number + 100)) for number in range(20)]
    counts, _, memory = run(tmp_path, *files, batch=16)
    assert counts.recorded == 40
    assert memory.batches == [16, 16, 8]


def test_large_events_are_split_into_smaller_batches(tmp_path: Path) -> None:
    """A batch keeps within 16 MiB, whatever the size of its events."""
    lines = [event(number, metadata={"text": "x" * 200_000, "n": number}) for number in range(150)]
    counts, _, memory = run(tmp_path, write(tmp_path, "events.json", *lines))
    assert counts == Counts(read=150, recorded=150, duplicates=0, rejected=0, skipped=0)
    assert max(memory.batches) * 200_000 < 16 * 1024 * 1024


def test_refusals_without_a_pointer(tmp_path: Path) -> None:
    """Where an error does not say which event it means, halving finds it."""
    memory = MemoryIntake(Ndjson())

    def intake(drafts: Sequence[Draft]) -> list[Recorded]:
        numbers = [(draft.metadata or {})["n"] for draft in drafts]
        if 3 in numbers:
            raise InvalidEvent((FieldError("/somewhere", "odd", "is odd"),))
        if 5 in numbers:
            raise TooLarge
        return memory.record(drafts)

    counts, rejects, _ = run(tmp_path, write(tmp_path, "e.json", *map(event, range(9))), intake=intake)
    assert counts == Counts(read=9, recorded=7, duplicates=0, rejected=2, skipped=0)
    assert [(reject.line, reject.rule) for reject in rejects] == [(4, "odd"), (6, "too_large")]


def test_a_failing_database_stops_the_import(tmp_path: Path) -> None:
    """What was recorded stays, the error comes through, and the next run finishes without repeats."""
    memory = MemoryIntake(Ndjson())
    full = True

    def intake(drafts: Sequence[Draft]) -> list[Recorded]:
        if full and len(memory.rows) >= 10:
            raise StorageFull
        return memory.record(drafts)

    file = write(tmp_path, "e.json", *map(event, range(25)))
    with pytest.raises(StorageFull):
        run(tmp_path, file, batch=5, intake=intake)
    assert len(memory.rows) == 10
    full = False
    counts, _, _ = run(tmp_path, file, batch=5, intake=intake)
    assert (counts.recorded, counts.duplicates) == (15, 10)


def test_progress(tmp_path: Path) -> None:
    """Progress counts the bytes of all sources and ends at their sum."""
    files = [write(tmp_path, f"{number}.json", *map(event, range(30))) for number in range(3)]
    seen: list[tuple[int, int | None]] = []
    ImportRun(
        MemoryIntake(Ndjson()).record,
        Ndjson(),
        batch=10,
        rejects=RejectFile(tmp_path),
        progress=lambda read, total: seen.append((read, total)),
    ).run(files)
    total = sum(Path(file).stat().st_size for file in files)
    assert seen[0] == (0, total)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


def test_missing_and_damaged_sources(tmp_path: Path) -> None:
    """A pattern without a file stops the import before it begins; a damaged file is one reject."""
    good = write(tmp_path, "good.json", event(1))
    with pytest.raises(Refused, match=r"missing\.json"):
        run(tmp_path, good, str(tmp_path / "missing.json"))
    damaged = tmp_path / "damaged.json"
    damaged.write_bytes(b"\x1f\x8b\x08\x00broken")
    counts, rejects, _ = run(tmp_path, str(damaged), good)
    assert counts == Counts(read=2, recorded=1, duplicates=0, rejected=1, skipped=0)
    assert (rejects[0].file, rejects[0].rule) == (str(damaged), "damaged")
