"""The page that sets us beside other recorders says what was measured, and of us what is still true."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import recorders, recorders_page, recorders_places, recorders_seen
from bench.recorders_operations import OF_SESSIONS
from bench.recorders_places import OnPostgres, OnSqlite
from bench.recorders_queries import OF_QUERYSETS
from bench.recorders_record import Cell, Recorder, read
from bench.recorders_seen import NAMES, SEEN, WITHOUT
from tests.postgres import Server

ROOT = Path(__file__).resolve().parent.parent
OURS = ("ours", "capture", "triggers")
ONLY_OF_ONE = {"`bulk_create_with_history()` of 6", "`bulk_update_with_history()` of 6"}
GPL = re.compile(r"(?:import|from) (?:easyaudit|pymerkle)\b|[\"'](?:easyaudit|pymerkle)\.[a-z]")
"""An import, or a dotted name that Django imports."""
FOUND = {(each.stack, each.engine, each.name): each for each in read().recorders}


@pytest.mark.parametrize("page", recorders_page.PAGES, ids=lambda page: page.name)
def test_a_page_says_what_the_bench_found(page: Path) -> None:
    """Nobody typed its tables: made again from the committed results they are the same."""
    text = page.read_text(encoding="utf-8")
    assert recorders_page.filled(text) == text


def test_a_table_that_somebody_edited_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check names the page, and writing it anew takes the edit back."""
    page = tmp_path / "comparison.md"
    text = recorders_page.PAGES[0].read_text(encoding="utf-8")
    assert "**0 of 6**" in text
    page.write_text(text.replace("**0 of 6**", "6 of 6", 1), encoding="utf-8")
    monkeypatch.setattr(recorders_page, "PAGES", (page,))
    assert recorders_page.main(["--check"]) == 1
    assert "docs/comparison.md" in capsys.readouterr().err
    assert recorders_page.main([]) == 0
    assert page.read_text(encoding="utf-8") == text
    assert recorders_page.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (None, "-"),
        (Cell(1, 1), "yes"),
        (Cell(1, 2), "yes, in 2"),
        (Cell(1, 0), "**no**"),
        (Cell(6, 6), "6 of 6"),
        (Cell(6, 5), "5 of 6"),
        (Cell(6, 1), "one event for 6"),
        (Cell(6, 0), "**0 of 6**"),
        (Cell(6, 0, ("UncapturedChange",)), "**0 of 6**, warned (UncapturedChange)"),
        (Cell(0, 0), "nothing, right"),
        (Cell(0, 1), "**recorded, wrong**"),
        (Cell(error="TypeError: no"), "fails: TypeError"),
    ],
)
def test_what_became_of_an_operation_in_words(cell: Cell | None, words: str) -> None:
    """A miss stands out, a warning is named, and an event of what was undone is called wrong."""
    assert recorders_page.words("an operation", cell) == words


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (Cell(0, error="E: x"), "refused, right"),
        (Cell(1), "**kept without it**"),
        (Cell(1, error="E: x"), "**kept without it**, then an error"),
    ],
)
def test_a_change_that_stays_without_its_event_in_words(cell: Cell, words: str) -> None:
    """Whether the change was kept decides, not whether somebody complained."""
    assert recorders_page.words(WITHOUT, cell) == words


def test_every_recorder_was_asked_for_everything() -> None:
    """No cell of the table is left out, none failed, and each peer has its version."""
    wanted = {(*place, NAMES[side]) for place, sides in SEEN.items() for side in sides}
    assert set(FOUND) == wanted
    for each in FOUND.values():
        operations = {*(OF_QUERYSETS if each.stack == "Django" else OF_SESSIONS), WITHOUT}
        assert set(each.cells) in (operations, operations - ONLY_OF_ONE)
        assert [name for name, cell in each.cells.items() if cell.error and name != WITHOUT] == []
        assert each.setup
        assert each.name.startswith("Affidavit") or len(each.versions) == 2


@pytest.mark.parametrize("place", [key for key in FOUND if key[2].startswith("Affidavit")], ids="-".join)
def test_we_miss_nothing_without_a_word(place: tuple[str, str, str]) -> None:
    """What makes no event is warned about; a change whose event cannot be stored is refused."""
    for name, cell in FOUND[place].cells.items():
        if name == WITHOUT or not cell.rows:
            assert (cell.rows, cell.events) == (0, 0), name
        else:
            assert cell.events or cell.warned == ("UncapturedChange",), name


def still(makers: OnSqlite | OnPostgres, stack: str, side: str) -> None:
    """Ask us again, and compare with what stands on the page."""
    now = recorders_seen.look_at(makers, stack, side)
    then = FOUND[stack, makers.label, NAMES[side]]

    def shown(of: Recorder) -> dict[str, Any]:
        return {name: recorders_page.words(name, cell) for name, cell in of.cells.items()}

    assert shown(now) == shown(then)


@pytest.fixture
def own_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """We run in any environment; only the peers need that of the bench."""
    monkeypatch.setattr(recorders_places, "PYTHON", Path(sys.executable))


@pytest.mark.usefixtures("own_python")
@pytest.mark.parametrize(
    ("stack", "side"),
    [
        (stack, side)
        for (stack, engine), sides in SEEN.items()
        if engine == "SQLite"
        for side in OURS
        if side in sides
    ],
)
def test_what_the_page_says_of_us_on_sqlite_is_still_so(stack: str, side: str, tmp_path: Path) -> None:
    """Every operation, done again."""
    still(OnSqlite(tmp_path), stack, side)


@pytest.mark.usefixtures("own_python")
@pytest.mark.parametrize("stack", ["Django", "SQLAlchemy"])
def test_what_the_page_says_of_our_triggers_is_still_so(stack: str, postgres: Server, tmp_path: Path) -> None:
    """Every operation, done again."""
    makers = OnPostgres(postgres, tmp_path)
    try:
        still(makers, stack, "triggers")
    finally:
        makers.close()


class Liar:
    """Says that it worked, and recorded one event too few."""

    stack, side = "sqlite3", "ours"

    place = SimpleNamespace(label="SQLite")

    def ask(self, **what: Any) -> tuple[dict[str, Any], int]:
        """Did nothing of the kind."""
        return {"seconds": 1.0, "cpu": 1.0}, what["times"] - 1


def test_a_number_whose_audit_rows_are_missing_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that is fast because it records nothing has no number."""
    liar: Any = Liar()
    monkeypatch.setattr(recorders, "TIMES", {"one": 100})
    with pytest.raises(RuntimeError, match=r"ours, one: 99 audit rows, not 100"):
        recorders.take(liar, "one")


def test_what_is_under_the_gpl_stays_in_the_bench() -> None:
    """Two files name a module of it; no test runs them, and the source archive is without them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    excluded = set(project["tool"]["hatch"]["build"]["targets"]["sdist"]["exclude"])
    naming = {
        f"/{path.relative_to(ROOT).as_posix()}"
        for folder in ("src", "tests", "bench", "tools", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if GPL.search(path.read_text(encoding="utf-8"))
    }
    assert naming == {"/bench/pymerkle_peer.py", "/bench/recorders_easyaudit.py"}
    assert naming <= excluded


def test_both_sides_stand_on_the_same_versions() -> None:
    """What the bench measures with is what the product is tested with."""
    texts = [(ROOT / "requirements" / name).read_text(encoding="utf-8") for name in ("bench.txt", "dev.txt")]
    bench, dev = (dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE)) for text in texts)
    shared = ("aiosqlite", "django", "msgspec", "psycopg", "psycopg-binary", "sqlalchemy")
    assert [bench[name] for name in shared] == [dev[name] for name in shared]
