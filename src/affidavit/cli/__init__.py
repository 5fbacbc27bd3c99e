"""The command ``affidavit``: one file a command, each imported when it is used.

A command builds its objects through :mod:`affidavit.wiring`, calls use-cases and prints. It holds no
logic of its own that a page or route would need too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["COMMANDS", "GROUPS", "build", "main"]

COMMANDS: dict[str, tuple[str, ...]] = {
    "Start": ("serve", "demo", "login", "worker"),
    "Read": ("events", "tail", "show", "export"),
    "Write": ("record", "import"),
    "Keep": ("erase", "retention", "hold", "backup", "restore"),
    "Evidence": (
        "verify",
        "fsck",
        "log",
        "witness",
    ),
    "Set up": ("token", "org", "catalog", "migrate", "triggers", "index", "config", "doctor"),
}
"""The commands under the headings of ``affidavit --help``."""

GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "token": ("API tokens: create, list, revoke.", ("create", "list", "revoke")),
    "org": ("Organizations: create, list.", ("create", "list")),
    "catalog": ("Event types: list, show, push, check.", ("list", "show", "push", "check")),
    "index": ("The search index: rebuild.", ("rebuild",)),
    "retention": (
        "How long values are kept: list, set, unset, run, prune.",
        ("list", "set", "unset", "run", "prune"),
    ),
    "hold": ("Legal holds: create, list, release.", ("create", "list", "release")),
    "log": (
        "The log as a proof: status, checkpoint, reopen, key, guard.",
        (
            "status",
            "checkpoint",
            "reopen",
            "key create",
            "key show",
            "key list",
            "key rotate",
            "key retire",
            "guard show",
            "guard accept",
        ),
    ),
    "witness": ("A witness for the logs of another host: serve, key.", ("serve", "key show")),
}
"""The commands that have commands of their own, with what they are for. ``key show`` is one level deeper."""

INNER: dict[str, str] = {
    "log key": "The key that signs checkpoints: create, show, list, rotate, retire.",
    "log guard": "The memory of what was signed: show, accept.",
    "witness key": "The key that this witness signs with: show.",
}
"""What the groups within groups are for."""

_MODULES = {"import": "import_"}


def build() -> App:
    """The command line, with every command by name only."""
    from cyclopts import App, Group

    from affidavit import __version__

    app = App(
        name="affidavit",
        help="The audit log that any product can adopt and any auditor can check.",
        version=__version__,
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for number, (title, names) in enumerate(COMMANDS.items()):
        heading = Group(title, sort_key=number)
        for name in names:
            module = f"affidavit.cli.{_MODULES.get(name, name)}"
            if name not in GROUPS:
                app.command(f"{module}:command", name=name, group=heading)
                continue
            purpose, inner = GROUPS[name]
            group = App(name=name, help=purpose, group=heading, result_action="return_value")
            for action in inner:
                *path, last = action.split()
                home = _within(group, name, path)
                home.command(f"{module}:{'_'.join([*path, last])}_command", name=last)
            app.command(group)
    return app


def _within(group: App, name: str, path: Sequence[str]) -> App:
    """The group within a group that a path leads to, made where it is missing."""
    from cyclopts import App

    for word in path:
        name = f"{name} {word}"
        if word not in group:
            group.command(App(name=word, help=INNER[name], result_action="return_value"))
        group = group[word]
    return group


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see :class:`affidavit.cli.exits.Exit`)."""
    from affidavit.cli.exits import Exit, report

    try:
        from cyclopts import CycloptsError
    except ImportError:
        sys.stderr.write("error: the command line needs more packages: pip install 'affidavit[server]'\n")
        return Exit.USAGE

    for stream in (sys.stdout, sys.stderr):
        cast("TextIO", stream).reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[attr-defined]
    try:
        given = sys.argv[1:] if arguments is None else arguments
        app = build()
        if not given or given[-1] in app.help_flags:
            _import_all(app)  # their first lines are in the help
        app(given, print_error=False, exit_on_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        return _usage(error)
    except BrokenPipeError:
        # The reader had enough. Python's flush at exit must not raise the same error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else Exit.OK
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the border: every error gets its line
        return report(error)
    return Exit.OK


def _import_all(app: App) -> None:
    for name in app:
        if not name.startswith("-"):
            _import_all(app[name])


def _usage(error: Exception) -> int:
    from affidavit.cli.exits import Exit
    from affidavit.cli.terminal import visible

    chain = [word for word in getattr(error, "command_chain", None) or () if word]
    command = " ".join(["affidavit", *chain])
    text = " ".join(str(error).split())
    sys.stderr.write(f"error: {visible(text)}\nSee {command} --help.\n")
    return Exit.USAGE
