"""The shape of the command line: names that scripts rely on, flags that every command has, help."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from affidavit.cli import COMMANDS, GROUPS, build, main
from affidavit.cli.filters import HELP, Filters, filter_of
from affidavit.config import Settings
from affidavit.core.filter import FIELDS, Condition

if TYPE_CHECKING:
    from cyclopts import App

    from tests.unit.cli.conftest import Run

LEAVES = [
    f"{name} {inner}".strip()
    for names in COMMANDS.values()
    for name in names
    for inner in (GROUPS[name][1] if name in GROUPS else ("",))
]


def flags(command: str) -> set[str]:
    """The flags that a command knows."""
    app: App = build()
    for word in command.split():
        app = app[word]
    return {name for argument in app.assemble_argument_collection() for name in argument.names}


def test_the_commands_of_the_product_are_there() -> None:
    """The list is that of the design for what the product does so far."""
    named = {name for names in COMMANDS.values() for name in names}
    assert named == {
        *("serve", "worker", "demo", "login", "migrate", "record", "events", "tail", "show", "import"),
        *("export", "token", "org", "catalog", "config", "doctor", "witness", "log", "fsck", "verify"),
        *("erase", "retention", "hold", "index", "backup", "restore", "triggers"),
    }
    assert GROUPS["token"][1] == ("create", "list", "revoke")


@pytest.mark.parametrize("command", LEAVES)
def test_every_command_takes_database_data_dir_and_organization(command: str) -> None:
    """Whatever the command, the three flags are there."""
    assert {"--database", "--data-dir", "--organization", "--config"} <= flags(command)


@pytest.mark.parametrize("command", ["serve", "worker", "demo", "config", "doctor"])
def test_every_setting_is_a_flag(command: str) -> None:
    """No setting can only be made in a file or variable."""
    assert {f"--{name.replace('_', '-')}" for name in Settings.__struct_fields__} <= flags(command)


@pytest.mark.parametrize("command", ["events", "tail", "export"])
def test_every_filter_of_the_api_is_a_flag_with_its_complement(command: str) -> None:
    """A filter that the API learns cannot be missing here."""
    names = [name.replace("_", "-") for name in FIELDS]
    wanted = {f"--{name}" for name in names} | {f"--not-{name}" for name in names}
    assert wanted | {"--start-date", "--end-date"} <= flags(command)


def test_every_filter_says_what_it_looks_at() -> None:
    """The help has a line for each filter and no other."""
    assert set(HELP) == set(FIELDS)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("token create", {"--organization", "--ability", "--json"}),
        ("import", {"--organization", "--json", "--map", "--rejects"}),
        ("events", {"--limit", "--json"}),
        ("export", {"--format", "--output", "--organization"}),
        ("migrate", {"--plan"}),
        ("demo", {"--no-serve", "--seed"}),
    ],
)
def test_names_that_scripts_rely_on(command: str, names: set[str]) -> None:
    """These flags are a promise; they may get company and never go."""
    assert names <= flags(command)


def test_flags_and_search_line_ask_one_question() -> None:
    """Repeated flags are OR, --not-... excludes, and the search line adds to them."""
    filters = Filters(actor=["a", "b"], not_outcome=["success"], start_date="2026-01-01")  # type: ignore[call-arg]
    asked = filter_of(filters, "severity:critical")
    assert asked.conditions == (
        Condition("actor", ("a", "b")),
        Condition("outcome", ("success",), negated=True),
        Condition("severity", ("critical",)),
    )
    assert asked.start is not None
    assert asked.end is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evnts"], "events"),
        (["events", "--actr", "x"], "did you mean --actor?"),
        (["record", "a.b", "--actr", "x"], "Did you mean --actor?"),
        (["events", "--limit", "many"], "--limit"),
        (["events", "--limit", "0"], "at least 1"),
        (["events", "--organization"], "--organization"),
        (["events", "--outcome", "perhaps", "--organization", "a"], "outcome: must be success or failure"),
        (["events", "--start-date", "2026-02-30"], "start_date"),
        (["events", "colour:red"], "colour"),
        (["export", "--format", "xml", "--output", "x"], "--format"),
        (["export", "--format", "csv", "--output", "no/such/folder/x.csv"], "no folder"),
        (["import", "cloudtrail"], "name the files"),
        (["import", "syslog", "x.log", "--organization", "a"], "there are cloudtrail, github"),
        (["import", "github", "x", "--organization", "a", "--map", "a=b"], "are for ndjson"),
        (["import", "github", "x"], "--organization NAME"),
        (["record", "a.b", "--actor", "ana", "--organization", "a"], "TYPE:ID"),
        (["record", "a.b", "--organization", "a", "--change", "plan"], "FIELD=NEW"),
        (["token", "create", "--organization", "a"], "--ability"),
        (["token", "revoke", "aff_secret"], "tok_"),
        (["tail", "--interval", "0"], "--interval"),
        (["demo", "--days", "0"], "--days"),
        (["serve", "--listen", "8484"], "HOST:PORT"),
        (["catalog", "push", "no.such.module"], "cannot be imported"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(run: Run, arguments: list[str], said: str) -> None:
    """Exit code 2, nothing on standard output, and the message names what is wrong."""
    done = run(*arguments)
    assert done.code == 2, done
    assert done.out == ""
    assert said in done.err
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("arguments", [["--help"], [], ["token"], ["events", "--help"], ["--version"]])
def test_help_is_no_error(run: Run, arguments: list[str]) -> None:
    """It goes to standard output with exit code 0."""
    done = run(*arguments)
    assert done.code == 0
    assert done.out
    assert done.err == ""


def test_a_command_imports_only_what_it_needs() -> None:
    """Starting the program loads neither web server nor storage nor the other commands."""
    program = (
        "import sys; from affidavit.cli import main; main(['config']); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "affidavit.cli.config" in loaded
    unwanted = (
        "uvicorn",
        "starlette",
        "cryptography",
        "affidavit.storage",
        "affidavit.web",
        "affidavit.cli.serve",
    )
    assert not {name for name in loaded if name.startswith(unwanted)}


def test_an_installation_without_the_server_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An app that only records has no command line; the program says so instead of failing."""
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    assert main(["config"]) == 2
    assert "affidavit[server]" in capsys.readouterr().err
