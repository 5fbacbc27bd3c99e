"""events, show, tail and export on a database of their own."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from affidavit.cli.exits import Exit
from affidavit.cli.tail import follow
from affidavit.core.credentials import ALL
from affidavit.core.filter import Filter
from affidavit.core.row import StoredEvent
from affidavit.log.reader import Reader

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Run


def test_events_are_one_json_object_a_line_newest_first(acme: Run) -> None:
    """The events of the API, in its order."""
    done = acme("events", "--organization", "acme")
    times = [event["occurred_at"] for event in done.documents]
    assert times == sorted(times, reverse=True)
    assert [event["actor"]["id"] for event in done.documents] == ["ana", "ben", "ana"]
    assert done.documents[0]["recorded_by"]["type"] == "local"


def test_the_only_organization_need_not_be_named(acme: Run) -> None:
    """With a second one it must, and the error names both."""
    assert len(acme("events").documents) == 3
    assert acme("org", "create", "zeta").code == 0
    done = acme("events")
    assert done.code == 2
    assert "acme, zeta" in done.err
    assert len(acme("events", "--start-date=2020-01-01", "--end-date=9999-12-31").documents) >= 4


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--actor", "ana"], 2),
        (["--actor", "ana", "--actor", "ben"], 3),
        (["--not-actor", "ana"], 1),
        (["--outcome", "failure", "--actor", "ana"], 0),
        (["-actor:ana"], 1),
        (["actor:ana", "--outcome", "success"], 2),
        (["actor:ana", "-resource:u0", "outcome:success"], 1),
        (["actor:ana -resource:u0"], 1),
        (["--resource", "u1"], 1),
        (["--action-group", "user", "--limit", "2"], 2),
        (["--end-date", "2020-01-01"], 0),
    ],
)
def test_filters_are_those_of_the_api(acme: Run, arguments: list[str], found: int) -> None:
    """Flags and search line together, OR within one and AND between."""
    done = acme("events", "--organization", "acme", *arguments)
    assert done.code == 0, done.err
    assert len(done.documents) == found


def test_a_limit_above_one_page_is_filled_from_several(acme: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command goes on by itself, in both orders, and stops at the end."""
    monkeypatch.setattr("affidavit.cli.events.PAGE", 2)
    assert len(acme("events", "--limit", "5000").documents) == 3
    ordered = acme("events", "--limit", "5000", "--order", "asc").documents
    assert [event["resources"][0]["id"] for event in ordered] == ["u0", "u1", "u2"]


def test_an_organization_that_does_not_exist_is_named(acme: Run) -> None:
    """With those that do."""
    done = acme("events", "--organization", "acne")
    assert done.code == Exit.REFUSED
    assert done.err == "error: There is no organization 'acne'. There are: acme\n"
    assert acme("events", "--organization", "../x").code == Exit.USAGE


def test_reading_never_makes_a_database(run: Run, tmp_path: Path) -> None:
    """A wrong path is an error that says what to do, and leaves no file behind."""
    done = run("events", "--database", f"sqlite:///{tmp_path}/none.db", "--organization", "acme")
    assert done.code == Exit.STORAGE
    assert "affidavit migrate" in done.err
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_database_is_named(run: Run, tmp_path: Path) -> None:
    """Text in place of SQLite is exit code 4 with the path, for readers and writers."""
    file = tmp_path / "text.db"
    file.write_text("no database at all\n" * 100)
    for command in (["events"], ["record", "a.b", "--actor=user:x", "--organization=a"]):
        done = run(*command, "--database", f"sqlite:///{file}")
        assert done.code == Exit.STORAGE
        assert str(file) in done.err
    assert file.read_text().startswith("no database")


def test_show_gives_one_event(acme: Run) -> None:
    """By id; an unknown one is refused, a malformed one is a usage error."""
    event = acme("events", "--limit", "1").documents[0]
    assert acme("show", event["id"]).documents == [event]
    other = event["id"][:-4] + ("0000" if event["id"][-4:] != "0000" else "1111")
    assert acme("show", other).code == Exit.REFUSED
    assert acme("show", "12").code == Exit.USAGE


def test_an_export_is_whole_with_its_trailer_beside_it(acme: Run, tmp_path: Path) -> None:
    """The trailer has the number, the digest and the question; both files are for their owner alone."""
    target = tmp_path / "out.csv"
    done = acme("export", "--format=csv", f"--output={target}", "--actor=ana", "--organization=acme")
    assert done.code == 0, done.err
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert [row["User"] for row in rows] == ["ana", "ana"]
    trailer = json.loads((tmp_path / "out.csv.trailer.json").read_text())
    assert trailer["events"] == 2
    assert trailer["sha256"] == sha256(target.read_bytes()).hexdigest()
    assert trailer["bytes"] == target.stat().st_size
    assert trailer["filters"] == [["actor", "ana"]]
    assert done.documents == [{"output": str(target), **trailer}]
    assert target.stat().st_mode & 0o077 == 0


def test_every_line_of_an_exported_ndjson_file_is_an_event(acme: Run, tmp_path: Path) -> None:
    """The trailer is beside the file, and within what goes to standard output."""
    target = tmp_path / "out.ndjson"
    assert acme("export", "--format=ndjson", f"--output={target}").code == 0
    lines = target.read_text().splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["user.update"] * 3
    printed = acme("export", "--format=ndjson", "--output=-", "--action=user.update").documents
    assert printed[-1] == {"trailer": {"events": 3, "redacted": 0}}
    assert printed[:-1] == [json.loads(line) for line in lines]


def test_an_export_is_an_event(acme: Run, tmp_path: Path) -> None:
    """Recorded with its format and filters, and not part of what it exports."""
    target = tmp_path / "out.csv"
    assert acme("export", "--format=csv", f"--output={target}", "--outcome=success").code == 0
    assert "audit.export.requested" not in target.read_text()
    (noted,) = acme("events", "--action=audit.export.requested", "--json").documents
    assert noted["source"] == "cli"
    assert noted["metadata"] == {"format": "csv", "filters": [["outcome", "success"]]}


def test_an_interrupted_export_leaves_what_was_there(
    acme: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither half a file nor a trailer nor a draft; the earlier export stays."""
    target = tmp_path / "out.csv"
    target.write_text("earlier")
    whole = Reader.export

    def broken(self: Reader, *arguments: Any, **more: Any) -> Iterator[list[StoredEvent]]:
        yield from whole(self, *arguments, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(Reader, "export", broken)
    before = {path.name for path in tmp_path.iterdir()}
    done = acme("export", "--format=csv", f"--output={target}")
    assert done.code == Exit.INTERRUPTED
    assert target.read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == before


class Seen(NamedTuple):
    """An event that a fake reader gives; its place is its index in the log, from 1."""

    id: int
    organization: str = "acme"


class FakePage(NamedTuple):
    """A page of them."""

    events: list[Seen]
    continuation_token: str | None
    caught_up: bool = True


class FakeReader:
    """A log that grows while it is read; the newest event has no place yet."""

    def __init__(self) -> None:
        self.log = [1, 2, 3]
        self.without_place = [9]

    def end(self, *_: object) -> str:
        token = str(len(self.log))
        self.log.append(4)  # recorded between the place and the newest page
        return token

    def page(self, *_: object, limit: int, order: str = "desc", token: str | None = None) -> FakePage:
        if order == "desc":
            return FakePage([Seen(each) for each in reversed(self.log + self.without_place)][:limit], None)
        return FakePage([Seen(each) for each in self.log[int(token or 0) :]], str(len(self.log)))


class FakeInstance:
    """An instance with nothing but that reader."""

    def __init__(self) -> None:
        self.reader = FakeReader()


def test_tail_shows_each_event_once_and_misses_none() -> None:
    """Also what is recorded between the look at the newest events and the first look for new ones."""
    instance = FakeInstance()
    shown: list[int] = []

    def wait() -> None:
        reader = instance.reader
        if len(reader.log) > 7:
            raise KeyboardInterrupt
        reader.log.append(10 + len(reader.log))
        if len(reader.log) == 6:
            reader.log.append(reader.without_place.pop())

    with pytest.raises(KeyboardInterrupt):
        follow(instance, ALL, Filter(), 2, lambda event: shown.append(event.id), wait)  # type: ignore[arg-type]
    assert shown == [4, 9, 14, 15, 17]
