"""The layers of ARCHITECTURE.md hold: forbidden arrows, cycles, impurity in the core, modules too long."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "affidavit"
LONGEST_MODULE = 600
"""Lines at which a module must have been split."""

DRIVERS = {"sqlite3"}
"""Modules of the standard library that a layer may import only where its row names them."""

PURE = frozenset(
    re.findall(
        r"\w+",
        """
        __future__ abc base64 binascii bisect collections contextlib copy dataclasses datetime decimal difflib
        enum fractions functools hashlib heapq hmac html io ipaddress itertools json keyword math operator re
        string struct textwrap types typing unicodedata urllib uuid zlib
        """,
    )
)
"""What the core may import of the standard library: nothing with which it could reach the world."""

IMPURE_CALLS = frozenset(
    (
        "fromtimestamp",
        "getnode",
        "input",
        "now",
        "open",
        "print",
        "today",
        "utcnow",
        "uuid1",
        "uuid4",
        "uuid7",
    )
)
"""Names that reach the world through a module that is otherwise pure; fromtimestamp reads the local zone."""


class Layer(NamedTuple):
    """One row of the table."""

    folder: str
    may_import: set[str]
    outside: set[str]


class Import(NamedTuple):
    """One import: ``target`` is a module, ``name`` what was taken from it, where that is not a module."""

    source: str
    target: str
    name: str | None
    line: int


def read_layers(text: str) -> dict[str, Layer]:
    """Read the table of ARCHITECTURE.md."""
    rows = re.findall(r"^\| `(\w+)` \| `([\w./]+)` \| (.*) \| (.*) \|$", text, re.MULTILINE)
    return {
        name: Layer(folder, set(re.findall(r"`(\w+)`", arrows)), set(re.findall(r"`(\w+)`", outside)))
        for name, folder, arrows, outside in rows
    }


def read_modules(package: Path) -> dict[str, str]:
    """Read every module under ``package``, by its path relative to it."""
    return {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*.py"))
    }


def module_name(path: str) -> str:
    """Turn ``core/event.py`` into ``affidavit.core.event``."""
    dotted = path.removesuffix(".py").replace("/", ".")
    return ".".join(part for part in ["affidavit", *dotted.split(".")] if part != "__init__")


def layer_of(path: str, layers: Mapping[str, Layer]) -> str | None:
    """Return the layer with the longest folder that contains the module."""
    fitting = [name for name, layer in layers.items() if path == layer.folder or _within(path, layer.folder)]
    return max(fitting, key=lambda name: len(layers[name].folder), default=None)


def imports_of(path: str, source: str, known: set[str]) -> Iterator[Import]:
    """Yield what a module imports, wherever in it the import stands."""
    name = module_name(path)
    package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source, filename=path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, None, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            parent = package.rsplit(".", node.level - 1)[0] if node.level else ""
            target = ".".join(part for part in (parent, node.module) if part)
            for alias in node.names:
                inner = f"{target}.{alias.name}"
                if inner in known:
                    yield Import(name, inner, None, node.lineno)
                else:
                    yield Import(name, target, alias.name, node.lineno)


def broken_rules(modules: Mapping[str, str], layers: Mapping[str, Layer]) -> list[str]:
    """Name every rule that the modules break, with the place."""
    paths = {module_name(path): path for path in modules}
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    for path, source in modules.items():
        layer = layer_of(path, layers)
        if layer is None or not _has_row(path, layers):
            found.append(f"{path}: no row of its own in the table of layers")
            continue
        if source.count("\n") >= LONGEST_MODULE:
            found.append(f"{path}: {source.count(chr(10))} lines, split it")
        if layer == "core":
            found += _impurities(path, source)
        for taken in imports_of(path, source, set(paths)):
            if taken.target.partition(".")[0] == "affidavit":
                graph.setdefault(taken.source, set()).add(taken.target)
                found += _inside(path, layer, taken, paths, layers)
            else:
                found += _outside(path, layer, taken, layers[layer])
    return found + _cycles(graph)


def _within(path: str, folder: str) -> bool:
    return folder.endswith("/") and path.startswith(folder)


def _has_row(path: str, layers: Mapping[str, Layer]) -> bool:
    """Storage engines are told apart by folder, so that each has a row; so has whatever stands at the top."""
    parts = path.split("/")
    if parts[0] == "storage" and len(parts) > 2:
        return any(layer.folder == f"storage/{parts[1]}/" for layer in layers.values())
    return True


def _inside(
    path: str, layer: str, taken: Import, paths: Mapping[str, str], layers: Mapping[str, Layer]
) -> Iterator[str]:
    if taken.target not in paths:
        yield f"{path}:{taken.line}: imports {taken.target}, which does not exist"
        return
    target = layer_of(paths[taken.target], layers)
    if target == "package":
        allowed = taken.name == "__version__"
    else:
        allowed = target == layer or target in layers[layer].may_import
    if not allowed:
        yield f"{path}:{taken.line}: {layer} may not import {taken.target} of {target}"


def _outside(path: str, layer: str, taken: Import, row: Layer) -> Iterator[str]:
    top = taken.target.partition(".")[0]
    if top in sys.stdlib_module_names and top not in DRIVERS:
        if layer == "core" and top not in PURE:
            yield f"{path}:{taken.line}: core is pure and may not import {top}"
    elif top not in row.outside:
        yield f"{path}:{taken.line}: {layer} may not import {top}"


def _impurities(path: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in IMPURE_CALLS:
                yield f"{path}:{node.lineno}: core is pure and may not call {called}"


def _cycles(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter({source: targets - {source} for source, targets in graph.items()}).prepare()
    except CycleError as error:
        return ["cycle: " + " <- ".join(error.args[1])]
    return []


LAYERS = read_layers((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))


def test_the_imports_of_the_product_follow_the_table() -> None:
    """No module of the product breaks a rule of ARCHITECTURE.md."""
    assert broken_rules(read_modules(PACKAGE), LAYERS) == []


def test_every_row_stands_for_modules_that_exist() -> None:
    """No row of the table is left over from a folder that is gone."""
    used = {layer_of(path, LAYERS) for path in read_modules(PACKAGE)}
    assert set(LAYERS) - used == set()


@pytest.mark.parametrize("layer", ["web", "cli"])
def test_only_roots_know_an_engine(layer: str) -> None:
    """The table itself keeps engines, and the two faces of the product, apart."""
    faces = {"web", "cli"} - {layer}
    assert not LAYERS[layer].may_import & ({"sqlite"} | faces)


BASE = {
    "__init__.py": '__version__ = "0"\n',
    "errors.py": "",
    "core/event.py": "from affidavit.errors import InvalidEvent\n",
    "recorder/intake.py": "from affidavit.core import event\n",
    "storage/protocols.py": "from affidavit.core.event import Draft\n",
    "storage/sqlite/store.py": "import sqlite3\n",
    "web/app.py": "from affidavit import __version__\nfrom starlette.routing import Route\n",
    "cli/serve.py": "",
}


def test_modules_that_follow_the_rules_pass() -> None:
    """The checker has nothing to say of modules that break no rule."""
    assert broken_rules(BASE, LAYERS) == []


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("core/event.py", "import os", "core is pure and may not import os"),
        ("core/event.py", "import logging.handlers", "core is pure and may not import logging"),
        ("core/event.py", "def f():\n    import random", "core is pure and may not import random"),
        ("core/event.py", "import sqlite3", "core may not import sqlite3"),
        ("core/event.py", "import starlette", "core may not import starlette"),
        ("core/event.py", "import datetime\ndatetime.datetime.now()", "core is pure and may not call now"),
        ("core/event.py", "open('x')", "core is pure and may not call open"),
        (
            "core/event.py",
            "from affidavit.storage import protocols",
            "core may not import affidavit.storage",
        ),
        (
            "core/event.py",
            "from ..storage.protocols import X",
            "core may not import affidavit.storage",
        ),
        ("recorder/intake.py", "from affidavit.storage.protocols import X", "recorder may not import"),
        ("recorder/intake.py", "import anyio", "recorder may not import anyio"),
        ("storage/sqlite/store.py", "from affidavit.recorder import intake", "sqlite may not import"),
        ("storage/protocols.py", "from affidavit.storage.sqlite import store", "roles may not import"),
        ("web/app.py", "from affidavit.storage.sqlite.store import Store", "web may not import"),
        (
            "web/app.py",
            "def f():\n    from affidavit.cli import serve",
            "web may not import affidavit.cli",
        ),
        ("cli/serve.py", "import affidavit.web.app", "cli may not import affidavit.web.app"),
        ("cli/serve.py", "from affidavit.storage.sqlite.store import Store", "cli may not import"),
        ("web/app.py", "from affidavit import Audit", "web may not import affidavit of package"),
        ("web/app.py", "from affidavit.core import absent", "imports affidavit.core, which does not exist"),
        ("storage/other/store.py", "", "no row of its own"),
        ("somewhere/new.py", "", "no row of its own"),
        ("core/long.py", "x = 1\n" * LONGEST_MODULE, "600 lines, split it"),
    ],
)
def test_each_rule_is_noticed_when_broken(path: str, source: str, message: str) -> None:
    """A module that breaks one rule is named, with the rule: the checker can fail."""
    found = broken_rules(BASE | {path: source}, LAYERS)
    assert [line for line in found if message in line and line.startswith(path)], found


def test_a_cycle_is_noticed() -> None:
    """Two modules of one layer that import each other are a cycle, also when one of them does it late."""
    modules = BASE | {
        "core/event.py": "from affidavit.core import mask\n",
        "core/mask.py": "def f():\n    from affidavit.core.event import Draft\n",
    }
    assert broken_rules(modules, LAYERS) == [
        "cycle: affidavit.core.event <- affidavit.core.mask <- affidavit.core.event"
    ]
