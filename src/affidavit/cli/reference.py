"""The reference pages of the command line and of the settings, made from the program itself.

``python -m affidavit.cli.reference cli > docs/reference/cli.md``, and the same with ``settings``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from affidavit.cli import COMMANDS, GROUPS, build
from affidavit.cli.exits import Exit
from affidavit.cli.filters import GROUP as FILTERS
from affidavit.cli.options import GROUP as SETTINGS
from affidavit.config import OTHER_VARIABLES, PREFIX, Settings, describe, shown

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.argument import Argument

__all__ = ["cli_page", "main", "settings_page"]

_CLI_HEAD = """\
# Command line

<!-- Made by `python -m affidavit.cli.reference cli`; change the commands, then run it again. -->

`affidavit COMMAND --help` shows the same. Commands that list or report print a table on a terminal and
JSON, one object a line, where standard output is no terminal or `--json` is given; `login` and `token create`
print their one line bare.
Notes, progress and errors go to standard error, an error as one clear line (`AFFIDAVIT_DEBUG=1`
adds the Python traceback). Text of events is shown on a terminal with control, bidirectional
and invisible characters written out, such as `\\u202e`.
"""

_SETTINGS_HEAD = """\
# Settings

<!-- Made by `python -m affidavit.cli.reference settings`; change the settings, then run it again. -->

Every setting is a flag, an environment variable and a key of the settings file. A flag wins over the
environment, the environment over the file, the file over the default. `affidavit config` shows each value and
where it came from, secrets masked. An unknown key or an unknown variable that begins with `AFFIDAVIT_`
is an error.

The file is `affidavit.toml` in the current folder, or the one that `--config` or `AFFIDAVIT_CONFIG` names.
Relative paths in it count from its folder, those of flags and variables from the current folder. Lists are
arrays in the file and comma-separated elsewhere; flags of lists can be repeated.

```toml
listen = "0.0.0.0:8484"
public_url = "https://audit.example.org"
trusted_proxies = ["10.0.0.0/8"]
```
"""


def settings_page() -> str:
    """``docs/reference/settings.md``."""
    parts = [_SETTINGS_HEAD, "| key | flag | environment variable | default | what |\n|---|---|---|---|---|"]
    types = describe()
    for field in msgspec.structs.fields(Settings):
        kind = types[field.name]
        assert isinstance(kind, msgspec.inspect.Metadata)
        default = "" if field.default in ("", None, ()) else f"`{_literal(shown(field.name, field.default))}`"
        flag = f"`--{field.name.replace('_', '-')}`"
        what = (kind.extra_json_schema or {})["description"]
        parts.append(f"| `{field.name}` | {flag} | `{PREFIX}{field.name.upper()}` | {default} | {what} |")
    parts.append("\nEnvironment variables that are no settings:\n")
    parts += [f"* `{name}`: {text}" for name, text in OTHER_VARIABLES.items()]
    return "\n".join(parts) + "\n"


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def cli_page() -> str:
    """``docs/reference/cli.md``."""
    app = build()
    parts = [_CLI_HEAD, "## Exit codes\n", "| code | meaning |\n|---|---|"]
    parts += [f"| {int(code)} | {code.meaning} |" for code in Exit]
    parts.append("\n## Flags of every command\n")
    parts.append(_rows(_arguments(app["org"]["list"], SETTINGS.name)))
    parts.append(
        "\n`serve`, `worker`, `demo`, `config` and `doctor` take every [setting](settings.md) as a flag.\n"
    )
    parts.append("## Filters\n")
    parts.append("Of `events`, `tail` and `export`; those of the API, each also as `--not-...`:\n")
    parts.append(_rows(_arguments(app["events"], FILTERS.name)))
    for names in COMMANDS.values():
        for name in names:
            inner = [f"{name} {action}" for action in GROUPS[name][1]] if name in GROUPS else [name]
            parts += [_command(app, command) for command in inner]
    return "\n".join(parts)


def _command(app: App, name: str) -> str:
    command = app
    for word in name.split():
        command = command[word]
    function = command.default_command
    assert function is not None
    text = (inspect.getdoc(function) or "").split("\n\nArgs:")[0]
    own = _rows(_arguments(command))
    usage = " ".join(["affidavit", name, *_positional(command)])
    return f"## affidavit {name}\n\n```\n{usage}\n```\n\n{text}\n" + (f"\n{own}" if own else "")


def _positional(command: App) -> Iterator[str]:
    for argument in _arguments(command):
        if not argument.name.startswith("-"):
            yield argument.name if argument.required else f"[{argument.name}]"
    yield "[OPTIONS]"


def _arguments(command: App, group: str | None = None) -> Iterator[Argument]:
    """The arguments of a command under one heading of its help; its own where none is named."""
    for argument in command.assemble_argument_collection():
        if argument.parse and argument.show:
            groups: Any = argument.parameter.group or ()
            headings = {getattr(each, "name", each) for each in groups}
            if group in headings or (group is None and not headings & {SETTINGS.name, FILTERS.name}):
                yield argument


def _rows(arguments: Iterator[Argument]) -> str:
    rows = []
    for argument in arguments:
        names = ", ".join(f"`{name}`" for name in dict.fromkeys((*argument.names, *argument.negatives)))
        needed = " Required." if argument.required else ""
        default = argument.field_info.default
        plain = isinstance(default, str | int) and default not in ("", None) and not isinstance(default, bool)
        text = " ".join((argument.parameter.help or "").split()).replace("|", "\\|")
        rows.append(f"| {names} | {text}{needed}{f' Default: {default}.' if plain else ''} |")
    return "| argument | what |\n|---|---|\n" + "\n".join(rows) + "\n" if rows else ""


def main(page: str) -> None:
    """Print one page."""
    sys.stdout.write({"cli": cli_page, "settings": settings_page}[page]())


if __name__ == "__main__":
    main(*sys.argv[1:])
