"""The examples without Affidavit, and the diff that adds it.

An example in ``examples/`` has Affidavit in it. Its ``affidavit.diff`` says what was added: taken back it
gives the product as it was. Run it as a module::

    python -m tools.plain_example examples/NAME                # write the diff anew: lines have moved
    python -m tools.plain_example examples/NAME --into FOLDER  # the product without Affidavit, to change it
    python -m tools.plain_example examples/NAME --from FOLDER  # write the diff from there to the example
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["DIFF", "RECORDS", "added", "beside_records", "between", "plain"]

DIFF = "affidavit.diff"
RECORDS = frozenset({"record", "record_now", "denied", "attempt", "audited"})
"""The calls that record."""

_HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,\d+)? @@")


def files(example: Path) -> dict[str, str]:
    """The text of each file of an example that is committed, or would be, but the diff, by its path."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=example, check=True, capture_output=True, text=True).stdout
    names = sorted(name for name in listed.split("\0") if name and name != DIFF)
    return {
        name: (example / name).read_text(encoding="utf-8") for name in names if (example / name).is_file()
    }


def plain(example: Path, into: Path) -> None:
    """Copy an example without Affidavit into a folder.

    Args:
        example: its folder.
        into: is made.

    Raises:
        subprocess.CalledProcessError: the diff does not fit the example.
    """
    for name, text in files(example).items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    # In no repository, so that paths count from this folder.
    command = ["git", "apply", "--reverse", "--whitespace=nowarn", str((example / DIFF).resolve())]
    beyond = {"GIT_CEILING_DIRECTORIES": str(into.resolve().parent)}
    subprocess.run(command, cwd=into, check=True, env=os.environ | beyond)


def between(before: Path, example: Path) -> str:
    """What was added to a product, as a diff.

    Args:
        before: its folder without Affidavit.
        example: its folder with it.
    """
    after = files(example)
    old = {name: (before / name).read_text(encoding="utf-8") for name in after if (before / name).is_file()}
    pieces: list[str] = []
    for name, text in after.items():
        was = f"a/{name}" if name in old else "/dev/null"
        lines = difflib.unified_diff(
            old.get(name, "").splitlines(keepends=True), text.splitlines(keepends=True), was, f"b/{name}"
        )
        pieces += lines
    return "".join(pieces)


def added(diff: str) -> Iterator[tuple[str, int, str]]:
    """File, line number and text of each line that a diff adds, but empty ones."""
    name, number = "", 0
    for line in diff.splitlines():
        hunk = _HUNK.match(line)
        if hunk is not None:
            number = int(hunk[1])
        elif line.startswith("+++ "):
            name = line.removeprefix("+++ b/")
        elif line.startswith(("+", " ")):
            if line.startswith("+") and line[1:].strip():
                yield name, number, line[1:]
            number += 1


def beside_records(example: Path) -> list[str]:
    """The lines that the diff of an example adds beside the calls that record."""
    diff = (example / DIFF).read_text(encoding="utf-8")
    found: list[str] = []
    recording: dict[str, frozenset[int]] = {}
    for name, number, text in added(diff):
        if name not in recording:
            recording[name] = _recording(example / name)
        if number not in recording[name]:
            found.append(text)
    return found


def _recording(path: Path) -> frozenset[int]:
    """The lines of statements that record, of the headers of such blocks and of such decorators."""
    if path.suffix != ".py":
        return frozenset()
    spans: list[tuple[int, int]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and _records(node.value):
            spans.append(_span(node))
        elif isinstance(node, ast.With | ast.AsyncWith) and any(
            _records(item.context_expr) for item in node.items
        ):
            spans.append((node.lineno, node.body[0].lineno - 1))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            spans += [_span(each) for each in node.decorator_list if _records(each)]
    return frozenset(number for first, last in spans for number in range(first, last + 1))


def _span(node: ast.Expr | ast.expr) -> tuple[int, int]:
    return node.lineno, node.end_lineno or node.lineno


def _records(node: ast.expr) -> bool:
    call = node.value if isinstance(node, ast.Await) else node
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in RECORDS


def main() -> None:
    """Write the diff of an example, or the example without it."""
    parser = argparse.ArgumentParser(description="The examples without Affidavit, and the diff that adds it.")
    parser.add_argument("example", type=Path)
    parser.add_argument("--into", type=Path, help="write the product without Affidavit to this folder")
    parser.add_argument("--from", dest="before", type=Path, help="the product without Affidavit is here")
    asked = parser.parse_args()
    if asked.into is not None:
        plain(asked.example, asked.into)
        return
    with TemporaryDirectory() as folder:
        before = asked.before
        if before is None:
            before = Path(folder, "plain")
            plain(asked.example, before)
        text = between(before, asked.example)
    (asked.example / DIFF).write_text(text, encoding="utf-8")
    for line in beside_records(asked.example):
        print(line)
    print(f"{len(beside_records(asked.example))} lines beside the calls that record")


if __name__ == "__main__":
    main()
