"""Hostile text on a terminal is written out, ordinary text in any script is left alone."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.cli.terminal import visible, visible_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", "\\e[2J\\e]0;owned\\x07"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("ad\u200bmin", "ad\\u200bmin"),
        ("\ufeffx\u2028y", "\\ufeffx\\u2028y"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("\ud800", "\\ud800"),
        ("\x7f\x00", "\\x7f\\x00"),
    ],
)
def test_what_a_terminal_acts_upon_is_written_out(text: str, shown: str) -> None:
    """Escape sequences, their one-byte forms, bidirectional overrides, invisible characters."""
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["Zoë Müller", "山田太郎", "Ольга", "محمد", "नमस्ते", "a / b", "😀 C:\\temp"])
def test_names_in_any_script_stay_as_they_are(text: str) -> None:
    """Letters, marks and emoji are not touched."""
    assert visible(text) == text


@given(st.text())
def test_nothing_that_controls_gets_through(text: str) -> None:
    """No control, format-by-direction, separator or surrogate character is left, whatever the text."""
    for character in visible(text):
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in (
            "LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI",
        )  # fmt: skip


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_for_a_terminal_is_the_same_json(text: str) -> None:
    """What is escaped in JSON reads back as it was, and shows nothing hidden."""
    line = visible_json(json.dumps({"a": text}, ensure_ascii=False))
    assert json.loads(line) == {"a": text}
    assert visible(line) == line
