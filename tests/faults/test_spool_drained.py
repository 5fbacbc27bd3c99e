"""Events whose app died while they waited in its spool: the worker stores them, an erasure reaches them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from affidavit.config import Settings
from affidavit.core.event import Actor
from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS, Row
from affidavit.embed import Audit, system
from affidavit.errors import Refused, StorageError
from affidavit.recorder.spool import Spool
from affidavit.storage.sqlite.database import migrate_file
from affidavit.supervisor import Supervisor
from affidavit.testing.postgres import PostgresEngine
from affidavit.wiring import engine_of
from affidavit.wiring.spools import Drain, OpenSpools, SpoolOfApp
from tests.e2e.program import Program
from tests.erased import ACME, House
from tests.faults.test_spool_kills import RECORD, killed_after
from tests.recorder.apps import App, app, postgres_engine
from tests.recorder.started import eventually

__all__ = ["app", "postgres_engine"]

SOAK_KILLS = int(os.environ.get("AFFIDAVIT_SOAK_KILLS", "50"))
"""Rounds of ``make soak``; ``make test`` has five."""
AWAY = "postgresql://nobody@127.0.0.1:1/nowhere"
"""A database that nobody reaches: what is recorded there goes to the spool."""
CANARY = "canary-s4u@example.org"
PERSON = Actor(type="user", id=CANARY)


def put(path: Path, *markers: str, organization: str = ACME, **fields: Any) -> None:
    """Record events that end in a spool, as an app does whose database is away."""
    audit = Audit(AWAY, organization=organization, spool=path)
    fields.setdefault("actor", system("app"))
    for marker in markers:
        audit.record_now("team.update", resource=("team", marker), **fields)
    audit.close()


def markers_of(app: App) -> Counter[str]:
    """How often each marker is among the events."""
    stored = app.events("resources")
    return Counter(msgspec.json.decode(text)["resources"][0]["id"] for (text,) in stored)


def settings_of(app: App, *spools: Path) -> Settings:
    """Of a worker."""
    return Settings(data_dir=app.folder / "keys", database=app.url, spools=spools)


@contextmanager
def drained(app: App, *spools: Path) -> Iterator[Callable[[], int]]:
    """Has the worker look at its spools once a second, and lets each second pass at once."""
    seconds = iter(range(10_000))
    opened = OpenSpools(engine_of(settings_of(app, *spools)))
    with closing(opened):
        yield Drain(opened, lambda: float(next(seconds))).step


def waiting(path: Path) -> int:
    """Entries in a spool."""
    with closing(Spool(path)) as spool:
        return spool.waiting()


def changed(row: Row, **columns: Any) -> bytes:
    """The entry of an event, tampered with."""
    values = dict(zip(COLUMNS, row.values, strict=False)) | columns
    return msgspec.msgpack.encode(msgspec.structs.replace(row, values=tuple(values.values())))


def test_what_an_app_left_is_stored_once(app: App) -> None:
    """More than one piece; what an app had stored when it died before it said so is no second event."""
    spool = app.folder / "left.db"
    markers = [f"m-{number}" for number in range(120)]
    put(spool, *markers)
    with closing(Spool(spool)) as opened:
        bodies = [entry.body for entry in opened.take(1_000)]
        with drained(app, spool) as step:
            step()
            assert app.count() == 0, "an app that lives has a moment to store them itself"
            while step():
                pass
            assert markers_of(app) == Counter(markers)
            assert opened.waiting() == 0
            opened.put(bodies[:70])
            for _ in range(3):
                step()
    assert waiting(spool) == 0
    assert markers_of(app) == Counter(markers)


@pytest.mark.timeout(40)  # five looks that waited for the database as everybody else does take longer
def test_a_database_that_is_held_is_not_waited_for(tmp_path: Path) -> None:
    """Nothing is lost or parked, the app's transaction is not disturbed; afterwards everything is stored."""
    migrate_file(tmp_path / "app.db")
    app = App("sqlite", f"sqlite:///{tmp_path}/app.db", tmp_path)
    put(tmp_path / "app-spool.db", "a", "b")
    holder = sqlite3.connect(app.file, isolation_level=None)
    with closing(holder), drained(app) as step:
        holder.execute("BEGIN IMMEDIATE")
        assert [step() for _ in range(5)] == [0] * 5
        assert waiting(tmp_path / "app-spool.db") == 2
        holder.execute("COMMIT")
        step()
    assert markers_of(app) == Counter("ab")


def test_a_spool_is_looked_at_once_a_second_and_never_made(tmp_path: Path) -> None:
    """Between two looks nothing is opened; where there is no file there is none afterwards."""
    migrate_file(tmp_path / "app.db")
    app = App("sqlite", f"sqlite:///{tmp_path}/app.db", tmp_path)
    spools = OpenSpools(engine_of(settings_of(app)))
    now = [0.0]
    drain = Drain(spools, lambda: now[0])
    with closing(spools):
        drain.step()
        assert not (tmp_path / "app-spool.db").exists()
        put(tmp_path / "app-spool.db", "a")
        for now[0] in (1.0, 1.5, 1.9):
            drain.step()
        assert waiting(tmp_path / "app-spool.db") == 1
        now[0] = 2.1
        drain.step()
    assert waiting(tmp_path / "app-spool.db") == 0


def test_a_spool_that_was_thrown_away_and_made_again_is_the_new_one(tmp_path: Path) -> None:
    """The worker, which has the old file open, looks into the one that stands there."""
    migrate_file(tmp_path / "app.db")
    app = App("sqlite", f"sqlite:///{tmp_path}/app.db", tmp_path)
    spool = tmp_path / "app-spool.db"
    with drained(app) as step:
        put(spool, "a")
        step()
        for each in tmp_path.glob("app-spool.db*"):
            each.unlink()
        put(spool, "b")
        for _ in range(3):
            step()
    assert markers_of(app) == Counter("b")


TAMPERED: dict[str, dict[str, Any]] = {
    "a reserved action": {"action": "audit.erasure.completed"},
    "no action": {"action": "Erase"},
    "facts": {"facts": '{"manifest":"00"}'},
    "imported": {"imported": True},
    "no secret": {"secret": b""},
    "a digest": {"secret": None, "remains": "{}"},
    "another version": {"version": 2},
    "an unknown outcome": {"outcome": "maybe"},
    "a group that is none": {"details": '{"reason":1}'},
    "a credential": {"actor": '{"recorded_by":{"id":"x","type":"operator"}}', "actor_id": None},
    "another actor": {"actor_id": "somebody else"},
    "another organization": {"organization": "other"},
    "the future": {"id": make_id(4_000_000_000_000_000, 1)},
}


def test_a_spool_has_no_more_rights_than_its_app(app: App) -> None:
    """Whoever can write the file cannot record through the worker what an app may not; the rest goes in."""
    spool = app.folder / "left.db"
    put(spool, "good")
    with closing(Spool(spool)) as opened:
        row = msgspec.msgpack.decode(opened.take(1)[0].body, type=Row)
        for columns in TAMPERED.values():
            named = msgspec.structs.replace(row, id=columns.get("id", row.id))
            opened.put([changed(named, **columns)])
        opened.put([b"\xc0", b""])
        with drained(app, spool) as step:
            for _ in range(3):
                step()
        assert opened.waiting() == 0
        assert len(opened.dead_letters()) == len(TAMPERED) + 2
        assert all(letter.error for letter in opened.dead_letters())
    assert markers_of(app) == Counter(["good"])


def test_an_event_that_is_refused_takes_no_other_along(tmp_path: Path) -> None:
    """It is parked with the database's words; an error of another kind leaves everything where it is."""
    spool = tmp_path / "left.db"
    put(spool, *"abc")
    stored: list[str] = []
    broken = [True]

    def store(rows: Sequence[Row]) -> None:
        if broken.pop() if broken else False:
            raise StorageError("The disk is on fire.")
        found = [msgspec.json.decode(row.values[13])["resources"][0]["id"] for row in rows]
        if "b" in found:
            raise Refused("This range is closed.")
        stored.extend(found)

    with closing(SpoolOfApp(spool, store)) as opened:
        with pytest.raises(StorageError):
            opened.drain(opened.last())
        assert waiting(spool) == 3
        assert opened.drain(opened.last())
        assert stored == ["a", "c"]
        assert [letter.error for letter in opened.dead_letters(0, 10)] == ["This range is closed."]


def test_the_spool_of_a_client_is_left_alone(app: App) -> None:
    """It sends by itself: whoever names it in the settings is told, and no entry of it is touched."""
    spool = app.folder / "client.db"
    with closing(Spool(spool)) as opened:
        opened.put([b'{"action":"team.update"}'])
    with drained(app, spool) as step:
        step()
        with pytest.raises(StorageError, match="AuditClient"):
            step()
    assert waiting(spool) == 1


class Home(House):
    """An instance beside an app with a spool."""

    @property
    def spool(self) -> Path:
        """The file."""
        return self.folder / "left.db"

    def open(self, *, migrate: bool = False) -> None:
        """See the base."""
        self.settings = msgspec.structs.replace(self.settings, spools=(self.spool,))
        super().open(migrate=migrate)


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """On each engine; its worker claims and signs whenever it can."""
    monkeypatch.setattr("affidavit.log.signer.EVERY", 0.0)
    monkeypatch.setattr("affidavit.log.upkeep.AGE", 0.0)
    database = None
    if request.param == "postgresql":
        engine: PostgresEngine = request.getfixturevalue("postgres_engine")
        database = engine.create()
    with closing(Home(tmp_path / "data", database)) as made:
        yield made


def test_an_erasure_reaches_what_waits_in_a_spool(home: Home) -> None:
    """What waited is an event with a manifest for what it lost; no file and no table holds the person."""
    home.record("team.create")
    put(home.spool, "waits", actor=PERSON, reason="asked by mail")
    put(home.spool, "refused", actor=PERSON, ip="192.0.2.7", changes={"owner": ("bob", CANARY)})
    put(home.spool, "foreign", "other's", organization="other", actor=PERSON)
    with closing(Spool(home.spool)) as spool:
        _, refused, _, others = spool.take(10)
        spool.park(refused.number, f"{CANARY} is a duplicate", 1)
        spool.park(others.number, "refused", 1)
        spool.put([CANARY.encode()])
        spool.park(spool.newest(), "it is no event", 1)
        assert home.leaks(CANARY) != []
        assert home.erase("canary-s4u@EXAMPLE.org", include_substrings=True).state == "done"
        (event,) = home.of("team.update")[:1]
        letter, foreign = spool.dead_letters()
        kept = dict(zip(COLUMNS, msgspec.msgpack.decode(letter.body, type=Row).values, strict=False))
    assert event.redacted == ("actor",)
    assert event.groups()["reason"] == "asked by mail"
    assert (letter.number, letter.error) == (refused.number, "[erased]")
    assert (kept["actor"], kept["actor_id"], kept["changes"]) == ("{}", None, "{}")
    assert kept["context"] == '{"ip":"192.0.2.7"}'
    assert '"refused"' in kept["resources"]
    assert foreign.body == others.body, "an erasure concerns one organization"
    stored = [each for each in home.events() if each.organization == "other"]
    assert [each.actor_id for each in stored] == [CANARY]
    home.seal()
    assert home.fsck().total().exit_code == 0


def test_no_byte_of_the_person_is_left_in_the_spool(home: Home) -> None:
    """Not in the file, not in its write-ahead log: deleted entries are overwritten."""
    put(home.spool, *"abc", actor=PERSON)
    with closing(Spool(home.spool)) as spool:
        first = spool.take(1)[0]
        spool.park(first.number, f"refused: {CANARY}", 1)
        home.erase(CANARY)
        assert home.leaks(CANARY) == []
        assert home.leaks("team.update") != [], "the look at the files can find something"


def test_what_is_put_into_a_spool_after_the_erasure_is_a_new_event(home: Home) -> None:
    """It comes whole, as the page on erasure says, and the next one takes it; what was erased stays so."""
    put(home.spool, "a", actor=PERSON)
    with closing(Spool(home.spool)) as spool:
        bodies = [entry.body for entry in spool.take(10)]
        home.erase(CANARY)
        put(home.spool, "b", actor=PERSON)
        spool.put(bodies)
        first, second = (home.erase(CANARY, dry_run=dry) for dry in (True, False))
    assert first.outcome is not None
    assert second.outcome is not None
    assert first.outcome["events"] == second.outcome["events"] == 1
    assert [each.redacted for each in home.of("team.update")] == [("actor",)] * 2
    assert home.leaks(CANARY) == []


def test_a_spool_that_cannot_be_read_holds_an_erasure_up(
    home: Home, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold the person: nothing is completed, the log names the file, and it goes on by itself."""
    monkeypatch.setattr("affidavit.log.tasks.RETRY", 0.0)
    home.record(actor=PERSON)
    home.spool.write_bytes(b"no spool" * 1_000)
    task = home.order(CANARY)
    for _ in range(20):
        home.work()
    standing = home.instance.tasks.get(task.id)
    assert standing is not None
    assert not standing.ended
    assert any(str(home.spool) in message for message in caplog.messages)
    assert home.leaks(CANARY) != []
    home.spool.unlink()
    assert home.finish(task).state == "done"


def test_a_dead_letter_that_is_left_keeps_an_erasure_from_being_completed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is searched afterwards: what still stands there is named, by number and file."""
    put(home.spool, "a", actor=PERSON)
    with closing(Spool(home.spool)) as spool:
        spool.park(spool.take(1)[0].number, "refused", 1)
        monkeypatch.setattr(SpoolOfApp, "rewrite", lambda *_: None)
        done = home.finish(home.order(CANARY))
    assert done.state == "failed"
    assert f"spool (dead letter 1 of {home.spool})" in str(done.outcome)
    assert not home.of("audit.erasure.completed")


def test_a_spool_that_ages_is_shown(tmp_path: Path) -> None:
    """Doctor and fsck say what waits and what was refused, and warn of what waits for long."""
    program = Program(tmp_path)
    program.json("org", "create", ACME)
    spool = tmp_path / "affidavit-data" / "affidavit-spool.db"

    def told() -> list[tuple[str, str]]:
        found = program.json("doctor", "--json")
        return [(each["state"], each["found"]) for each in found if each["check"] == "spool"]

    assert told() == []
    put(spool, "fresh", "refused")
    with closing(Spool(spool)) as opened:
        opened.park(opened.newest(), "refused", 1)
    (first,) = told()
    assert first == ("warn", f"1 events of the spool {spool} were refused for good")
    hours = time.time_ns() // 1_000 - 3 * 3_600_000_000
    with closing(Spool(spool)) as opened:
        row = msgspec.msgpack.decode(opened.take(1)[0].body, type=Row)
        opened.done([opened.newest()])
        opened.put([changed(msgspec.structs.replace(row, id=make_id(hours, 1)), id=make_id(hours, 1))])
        opened.discard([2])
    ((state, found),) = told()
    assert (state, found.rpartition(" for ")[0]) == (
        "warn",
        f"1 events wait in the spool {spool}, the oldest",
    )
    assert found.endswith(" s")
    assert int(found.split()[-2].replace(",", "")) >= 10_800
    assert program.json("fsck", "--json")[0]["spooled"] == 1
    with closing(Spool(spool)) as opened:
        opened.done([opened.newest()])
    assert told() == [("ok", f"0 events wait in the spool {spool}")]
    spool.with_name(f"{spool.name}-wal").unlink(missing_ok=True)
    spool.write_bytes(b"no spool" * 1_000)
    ((state, found),) = told()
    assert state == "warn"
    assert found.startswith(f"The spool {spool} cannot be read")


BESIDE = """
import itertools, sys
from affidavit.embed import Audit
from affidavit.recorder.fields import system
audit = Audit(sys.argv[1], organization="acme")
for number in itertools.count():
    audit.record_now("team.update", actor=system("app"), resource=("team", f"{sys.argv[2]}-{number}"))
    print(f"{sys.argv[2]}-{number}", flush=True)
"""


def kill_rounds(folder: Path, kills: int) -> None:
    """Apps die with events in their spool while a worker and another app drain it; each is there once."""
    random = Random(kills)
    migrate_file(folder / "app.db")
    app = App("sqlite", f"sqlite:///{folder}/app.db", folder)
    said: list[str] = []
    with Supervisor(settings_of(app)):
        for life in range(kills):
            beside = subprocess.Popen(
                [sys.executable, "-c", BESIDE, app.url, f"beside-{life}"], stdout=subprocess.PIPE, text=True
            )
            try:
                said += killed_after(RECORD, random.randrange(4, 20), app.url, str(life))
            finally:
                beside.kill()
                assert beside.stdout is not None
                said += [line.strip() for line in beside.stdout.readlines() if line.endswith("\n")]
                beside.stdout.close()
                beside.wait()
        eventually(lambda: waiting(folder / "app-spool.db") == 0, "the worker does not drain the spool")
    stored = markers_of(app)
    assert stored.most_common(1)[0][1] == 1, "an event is there twice"
    assert set(said) <= set(stored), "an event is lost"
    with closing(Spool(folder / "app-spool.db")) as spool:
        assert spool.dead_letters() == []


@pytest.mark.slow
def test_what_five_killed_apps_left_is_stored_by_the_worker(tmp_path: Path) -> None:
    """While they die, and another app drains the same spool, each event is stored once and none refused."""
    kill_rounds(tmp_path, 5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_what_fifty_killed_apps_left_is_stored_by_the_worker(tmp_path: Path) -> None:
    """The same, as often as AFFIDAVIT_SOAK_KILLS says."""
    kill_rounds(tmp_path, SOAK_KILLS)
