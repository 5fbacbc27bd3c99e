"""The tree is fit to be read by strangers: nothing of one machine in it, nothing out of date."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tools import requirements

ROOT = Path(__file__).resolve().parent.parent

LEFTOVERS = {
    "a path of one machine": r"(?<![\w./~-])/(?:work|farm|home/\w+|root|Users/\w+|tmp/\w+)/",
    "the host of a package registry": (
        r"pypi\.org|pythonhosted\.org|registry\.(?:npmjs|yarnpkg)|deb\.debian\.org"
    ),
    "a document that is not in the tree": r"\b(?:DESIGN|FORMATS|STYLE|CONTRACT)(?:\.md|,? (?:section )?\d)",
    "a promise instead of work": r"\b(?:TOD[O]|FIXM[E]|XX[X])\b",
}
"""What must stand in no file, by what to call it."""

BINARY = (".png", ".ico", ".gz", ".zip", ".db", ".mmdb", ".woff2", ".parquet")


def tracked() -> list[Path]:
    """Every file that is committed, or would be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = (ROOT / name for name in listed.split("\0") if name)
    return [path for path in paths if path.is_file() and path.suffix not in BINARY]


def leftovers(name: str, text: str) -> list[str]:
    """Name what a text holds that must stand in no file."""
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match[0]}"
        for what, pattern in LEFTOVERS.items()
        for match in re.finditer(pattern, text)
    ]


def test_no_file_holds_what_only_one_machine_knows() -> None:
    """No path, registry host or missing document is named anywhere in the tree."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(errors="replace") for path in tracked()}
    found = [line for name, text in texts.items() for line in leftovers(name, text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "see /wo~rk/main/x",
        "open('/ro~ot/.cache')",
        "--index-url https://py~pi.org/",
        "as DES~IGN.md says",
        "as in DES~IGN 7.2",
        "# TO~DO: later",
    ],
)
def test_a_leftover_is_noticed(text: str) -> None:
    """The check can fail: each kind of leftover is found (a tilde keeps it out of this file)."""
    assert leftovers("x", "first line\n" + text.replace("~", ""))[0].startswith("x:2: ")


@pytest.mark.parametrize("text", ["GET /api/v1/work/items", "docs/root/index.md", "the DESIGN of it"])
def test_what_only_looks_like_a_leftover_passes(text: str) -> None:
    """Routes, relative paths and words are no leftovers."""
    assert leftovers("x", text) == []


@pytest.mark.parametrize("name", ["bench.txt", "dev.txt", "interop.txt", "server.txt"])
def test_the_lock_files_pin_every_package_by_hash(name: str) -> None:
    """A lock file has exact versions, a hash for each, and no option that names a place."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith((" ", "#"))]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[\w.]+(?: ; .+)? \\", pin) for pin in pins), pins
    assert all(
        re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}(?: \\)?", line) for line in lines if line[0] == " "
    )


def test_the_lock_files_agree_and_cover_what_the_package_needs() -> None:
    """Server and development pin the same versions, and every dependency of an extra is pinned."""
    server, dev = (_pins(ROOT / "requirements" / name) for name in ("server.txt", "dev.txt"))
    assert server.items() <= dev.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [
        need for extra in project["optional-dependencies"].values() for need in extra
    ]
    names = {re.split(r"[\[<>=;~! ]", need)[0] for need in wanted} - {"affidavit"}
    assert names <= dev.keys()


def test_documents_outside_the_site_link_to_what_exists() -> None:
    """Every relative link of the Markdown files that make docs does not check leads somewhere."""
    pages = [path for path in tracked() if path.suffix == ".md" and ROOT / "docs" not in path.parents]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_page_of_the_site_can_be_reached() -> None:
    """Whoever starts at docs/index.md and follows links can read every page."""
    start = ROOT / "docs" / "index.md"
    waiting, reached = [start], {start}
    while waiting:
        page = waiting.pop()
        targets = re.findall(r"\]\(([\w./-]+\.md)[)#]", page.read_text(encoding="utf-8"))
        new = {(page.parent / target).resolve() for target in targets} - reached
        reached |= new
        waiting += new
    pages = {path for path in tracked() if path.suffix == ".md" and ROOT / "docs" in path.parents}
    assert sorted(path.relative_to(ROOT).as_posix() for path in pages - reached) == []


def test_every_decision_is_in_the_list() -> None:
    """docs/design/index.md names every dated page beside it, with its date, oldest first."""
    folder = ROOT / "docs" / "design"
    listed = re.findall(
        r"^\| ([\d-]+) \| .*\(([\w.-]+)\) \|$", (folder / "index.md").read_text(), re.MULTILINE
    )
    assert sorted(name for _, name in listed) == sorted(path.name for path in folder.glob("2*.md"))
    assert all(name.startswith(f"{date}-") for date, name in listed)
    assert [date for date, _ in listed] == sorted(date for date, _ in listed)


def test_the_page_of_requirements_is_what_the_tests_say() -> None:
    """docs/requirements.md is current; make requirements writes it."""
    assert requirements.PAGE.read_text(encoding="utf-8") == requirements.page(requirements.shown())


@pytest.mark.parametrize(
    ("folder", "source", "message"),
    [
        ("unit", '@mark.requirement("R5")\ndef test_x(): pass', "no interface"),
        ("e2e", '@mark.requirement("R202")\ndef test_x(): pass', "none of R1 to R201"),
        ("e2e", '@mark.requirement("51")\ndef test_x(): pass', "none of R1 to R201"),
        ("e2e", "@mark.requirement(51)\ndef test_x(): pass", "none of R1 to R201"),
    ],
)
def test_a_wrong_mark_is_refused(tmp_path: Path, folder: str, source: str, message: str) -> None:
    """A mark that names no requirement, or stands where no interface is used, is an error."""
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "test_a.py").write_text(source, encoding="utf-8")
    with pytest.raises(requirements.BadMark, match=message):
        requirements.shown(tmp_path)


def test_marks_are_found_wherever_pytest_allows_them(tmp_path: Path) -> None:
    """A mark counts on a function, on a class and on one case of a parametrised test."""
    (tmp_path / "http").mkdir()
    source = '''
@pytest.mark.requirement("R3")
class TestPage:
    @pytest.mark.requirement("R1", "R2")
    def test_page(self):
        """The page
        shows a|b.

        More.
        """

@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.requirement("R9"))])
async def test_case(n): pass
'''
    (tmp_path / "http" / "test_a.py").write_text(source, encoding="utf-8")
    found = requirements.shown(tmp_path)
    assert [entry.number for entry in found] == [1, 2, 3, 9]
    assert "| R1 | The page shows a\\|b. | `tests/http/test_a.py::test_page` |" in requirements.page(found)
    assert "R4 to R8, R10 to R201" in requirements.page(found)


def _pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
