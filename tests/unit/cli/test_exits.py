"""Every error has its exit code and one clear line."""

from __future__ import annotations

import pytest

from affidavit import errors
from affidavit.cli.exits import Exit, Failed, UsageError, exit_for, refuse_flags, report


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Failed(), Exit.INCOMPLETE),
        (UsageError(), Exit.USAGE),
        (errors.ConfigError(), Exit.USAGE),
        (errors.InvalidQuery.of("limit", "range", "is too large"), Exit.USAGE),
        (errors.InvalidEvent(()), Exit.REFUSED),
        (errors.IdConflict(), Exit.REFUSED),
        (errors.NotFound(), Exit.REFUSED),
        (errors.SchemaMissing(), Exit.STORAGE),
        (errors.StorageFull(), Exit.STORAGE),
        (FileNotFoundError(2, "No such file or directory", "x.json"), Exit.STORAGE),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (ZeroDivisionError("division by zero"), Exit.INTERNAL),
    ],
)
def test_an_error_has_the_exit_code_of_its_kind(error: BaseException, code: Exit) -> None:
    """Scripts can tell a wrong command line from refused input, from a broken database, from a defect."""
    assert exit_for(error) is code


def test_every_exit_code_is_documented() -> None:
    """A code without a meaning would be a blank row of the reference."""
    assert all(code.meaning.endswith(".") for code in Exit)


def test_an_error_is_one_line_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """The message alone, made safe for the terminal."""
    report(errors.NotFound("nothing \x1b[31mhere"))
    assert capsys.readouterr().err == "error: nothing \\e[31mhere\n"


def test_broken_rules_are_listed_up_to_five(capsys: pytest.CaptureFixture[str]) -> None:
    """An event with many faults names the first five and counts the rest."""
    broken = tuple(errors.FieldError(f"/f{number}", "type", "is wrong") for number in range(7))
    report(errors.InvalidEvent(broken))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: /f0: is wrong (and 6 more)"
    assert lines[1:] == [f"  /f{number}: is wrong" for number in range(5)] + ["  and 2 more"]


def test_a_file_that_cannot_be_read_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The path stands before the system's words."""
    report(PermissionError(13, "Permission denied", "/x/y"))
    assert capsys.readouterr().err == "error: /x/y: Permission denied\n"


def test_a_defect_says_how_to_see_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error hides its traceback until AFFIDAVIT_DEBUG=1."""
    monkeypatch.delenv("AFFIDAVIT_DEBUG", raising=False)
    report(ZeroDivisionError("boom"))
    shown = capsys.readouterr().err
    assert "internal error: ZeroDivisionError: boom" in shown
    assert "AFFIDAVIT_DEBUG=1" in shown
    assert "Traceback" not in shown
    monkeypatch.setenv("AFFIDAVIT_DEBUG", "1")
    try:
        raise ZeroDivisionError("boom")
    except ZeroDivisionError as error:
        report(error)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["--orgnization", "-x"])
def test_a_misspelt_flag_is_no_file(word: str) -> None:
    """A word that begins with a hyphen is refused where files are named; a lone hyphen is standard input."""
    refuse_flags(["-", "./-x", "a"])
    with pytest.raises(UsageError, match="unknown option"):
        refuse_flags(["a", word])
