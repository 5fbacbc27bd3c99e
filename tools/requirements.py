"""Write docs/requirements.md from ``@pytest.mark.requirement("R51")`` on the tests.

The tests are read, not run. Only a test that goes through HTTP, the command line or a browser shows a
requirement, so only those of :data:`FOLDERS` count; a mark anywhere else is an error.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "requirements.md"
FOLDERS = ("cli", "e2e", "faults", "http", "security")
"""Folders of tests/ whose tests go through an interface of the product."""
LAST = 201
"""The requirements are numbered from R1 to this."""

INTRODUCTION = f"""# Requirements

Made by `make requirements` from the marks on the tests; `make test` fails where this page is not what they
say. The product started from {LAST} numbered requirements, R1 to R{LAST}. A number stands here once a test
shows it from outside, through HTTP, the command line or a browser. The first sentence of the test says what
was shown.
"""


class Shown(NamedTuple):
    """One requirement that one test shows."""

    number: int
    promise: str
    test: str


class BadMark(Exception):
    """A mark names no requirement, or stands on a test that goes through no interface."""


def shown(tests: Path = TESTS) -> list[Shown]:
    """Collect what the tests show, in the order of the numbers.

    Raises:
        BadMark: a number that does not exist, or a mark outside :data:`FOLDERS`.
    """
    found = {entry for path in sorted(tests.rglob("*.py")) for entry in _of_file(path, tests)}
    return sorted(found)


def page(entries: list[Shown]) -> str:
    """Write the page."""
    rows = [f"| R{entry.number} | {_cell(entry.promise)} | `{entry.test}` |" for entry in entries]
    numbers = {entry.number for entry in entries}
    missing = [number for number in range(1, LAST + 1) if number not in numbers]
    parts = [
        INTRODUCTION,
        f"Shown: {len(numbers)} of {LAST}.",
        "\n".join(["| requirement | what the test shows | test |", "|---|---|---|", *rows]) if rows else "",
        "## Not shown yet\n\n" + (_ranges(missing) or "None."),
    ]
    return "\n".join(f"{part.rstrip()}\n" for part in parts if part)


def main() -> int:
    """Write the page, or say which mark is wrong."""
    try:
        PAGE.write_text(page(shown()), encoding="utf-8")
    except BadMark as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _of_file(path: Path, tests: Path) -> Iterator[Shown]:
    relative = path.relative_to(tests)
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for test, marked in _tests(tree):
        for number in _numbers(marked, f"tests/{relative}::{test.name}"):
            if relative.parts[0] not in FOLDERS:
                raise BadMark(f"tests/{relative}::{test.name} goes through no interface; see {__file__}")
            yield Shown(number, _promise(test), f"tests/{relative.as_posix()}::{test.name}")


def _tests(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, list[ast.expr]]]:
    """Yield each test with the expressions that may hold its marks: its own and those of its class."""
    for node in tree.body:
        outer: list[ast.expr] = list(node.decorator_list) if isinstance(node, ast.ClassDef) else []
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) and inner.name.startswith("test_"):
                yield inner, outer + list(inner.decorator_list)


def _numbers(expressions: list[ast.expr], test: str) -> Iterator[int]:
    calls = (node for root in expressions for node in ast.walk(root) if isinstance(node, ast.Call))
    for call in calls:
        if not ast.unparse(call.func).endswith("mark.requirement"):
            continue
        for argument in call.args:
            text = argument.value if isinstance(argument, ast.Constant) else None
            match = re.fullmatch(r"R([1-9]\d{0,2})", text) if isinstance(text, str) else None
            if match is None or int(match[1]) > LAST:
                raise BadMark(f"{test}: {ast.unparse(argument)} is none of R1 to R{LAST}")
            yield int(match[1])


def _promise(test: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    first = (ast.get_docstring(test) or test.name.removeprefix("test_").replace("_", " ")).split("\n\n")[0]
    return " ".join(first.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _ranges(numbers: list[int]) -> str:
    """Write 1, 2, 3, 7 as ``R1 to R3, R7``."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ", ".join(f"R{first}" if first == last else f"R{first} to R{last}" for first, last in runs)


if __name__ == "__main__":
    sys.exit(main())
