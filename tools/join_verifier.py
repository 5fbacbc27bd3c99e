"""Writes ``affidavit-verify.py``: the modules of the verifier in one file, which runs with Python alone.

The file holds the text of each module as it stands in the package, in the order in which they need each
other, and runs each in a module of its own: names do not meet, and an auditor can compare every part.
``make build`` writes it to ``dist/``.
"""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
ENTRY = "affidavit.verifier.command"

_HEAD = '''\
#!/usr/bin/env python3
"""Checks evidence from an Affidavit audit log: python affidavit-verify.py FILE --key KEY

Version {version}. One file, nothing but Python 3.11 or later; no network unless the evidence is an address.
Below stands the text of each module of the verifier, as it is in the package.
"""

import sys
import types

_SOURCES = {{}}
'''

_TAIL = """
def _load():
    for name, source in _SOURCES.items():
        module = types.ModuleType(name)
        module.__file__ = f"{__file__}:{name}"
        sys.modules[name] = module
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
        if name in _PACKAGES:
            module.__path__ = []
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    return sys.modules["affidavit.verifier.command"]


if __name__ == "__main__":
    sys.exit(_load().main())
"""


def path_of(module: str) -> Path:
    """Where a module of the package stands."""
    stem = SOURCE.joinpath(*module.split("."))
    return stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")


def imports_of(module: str) -> set[str]:
    """The modules of the package that a module imports.

    Raises:
        ValueError: it imports what is neither in the package nor in the standard library.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = node.module or ""
            inner = [f"{parent}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if parent.startswith("affidavit") and path_of(name).exists()]
            names = modules or [parent]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            if top == "affidavit":
                found.add(name)
            elif top not in sys.stdlib_module_names:
                raise ValueError(f"{module} imports {name}, which Python does not bring")
    return found


def modules_of(entry: str = ENTRY) -> list[str]:
    """The entry and everything of the package that it needs, each after what it needs itself."""
    graph: dict[str, set[str]] = {}
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        if module not in graph:
            graph[module] = imports_of(module)
            waiting += graph[module]
    return list(
        TopologicalSorter({name: sorted(needs) for name, needs in sorted(graph.items())}).static_order()
    )


def packages_of(modules: list[str]) -> list[str]:
    """The packages that the modules stand in, outermost first."""
    return sorted({module.rpartition(".")[0] for module in modules} | {"affidavit"})


def joined(version: str) -> str:
    """The text of the file.

    Raises:
        ValueError: a module needs more than Python, or its text cannot stand between triple quotes.
    """
    modules = modules_of()
    packages = packages_of(modules)
    parts = [_HEAD.format(version=version)]
    parts += [f'_SOURCES["{name}"] = ""\n' for name in packages]
    for module in modules:
        text = path_of(module).read_text(encoding="utf-8")
        if "'''" in text:
            raise ValueError(f"{module} holds three single quotes")
        parts.append(f"\n# {'-' * 20} {module}\n\n_SOURCES[\"{module}\"] = r'''{text}'''\n")
    return "".join([*parts, f"\n_PACKAGES = {packages!r}\n\n", _TAIL])


def main() -> None:
    """Write the file to the path that is given, ``dist/affidavit-verify.py`` by default."""
    sys.path.insert(0, str(SOURCE))
    from affidavit import __version__

    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "affidavit-verify.py"
    target.parent.mkdir(exist_ok=True)
    target.write_text(joined(__version__), encoding="utf-8")


if __name__ == "__main__":
    main()
