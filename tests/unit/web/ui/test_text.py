"""Event text on the screen: escaped, isolated, every invisible character visible."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.web.ui.text import LINE_CHARACTERS, block, line, plain, pretty_json

TAGS = re.compile(r"</?(?:bdi|span)(?: [^<>]*)?>")


def test_markup_is_escaped() -> None:
    """Text that looks like HTML is shown as text."""
    assert line('<script>alert("x")</script>&') == (
        "<bdi>&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;&amp;</bdi>"
    )


@given(st.text(max_size=60))
def test_nothing_but_our_own_tags_comes_out(text: str) -> None:
    """Whatever the text, an angle bracket or quote of its own never survives."""
    for shown in (line(text), block(text)):
        rest = TAGS.sub("", str(shown))
        assert "<" not in rest
        assert ">" not in rest


@given(st.text(alphabet=st.characters(categories=("Cc", "Cf", "Zl", "Zp", "Co", "Cn")), max_size=20))
def test_no_control_or_format_character_is_invisible(text: str) -> None:
    """Controls, bidirectional marks, zero-width and unassigned ones never reach the screen as they are."""
    for shown in (str(line(text)), plain(text)):
        assert all(unicodedata.category(c) not in {"Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Cs"} for c in shown)


@pytest.mark.parametrize(
    ("text", "shown", "name"),
    [
        ("\x00", "NUL", "control character U+0000"),
        ("\x1b", "ESC", "control character U+001B"),
        ("\n", "LF", "control character U+000A"),
        ("\x7f", "DEL", "control character U+007F"),
        ("\u202e", "U+202E", "right-to-left override"),
        ("\u2066", "U+2066", "left-to-right isolate"),
        ("\u200b", "U+200B", "zero-width space"),
        ("\ufeff", "U+FEFF", "zero-width no-break space"),
        ("\u3164", "U+3164", "hangul filler"),
        ("\U000e0041", "U+E0041", "tag latin capital letter a"),
    ],
)
def test_each_kind_has_a_sign_and_a_name(text: str, shown: str, name: str) -> None:
    """The reader sees which character it is, and what it is called."""
    assert f'<span class="hidden-character" title="{name}">{shown}</span>' in line(f"a{text}b")


def test_joiners_stay_where_scripts_need_them() -> None:
    """Persian words and joined emoji are shown as they are, a joiner between Latin letters is not."""
    for text in ("می‌خواهم", "👩‍💻", "❤️", "1️⃣"):
        assert "hidden-character" not in line(text)
    for text in ("ad\u200dmin", "ad\u200cmin", "admin\ufe0f", "\u200dx"):
        assert "hidden-character" in line(text)


def test_ordinary_text_of_any_script_is_left_alone() -> None:
    """Accents, Cyrillic, Chinese, Arabic, Hebrew and emoji pass."""
    text = "Zieliński, Ольга, 陈美玲, محمد, שרה, 🎉 100 €"
    assert line(text) == f"<bdi>{text}</bdi>"
    assert plain(text) == text


def test_long_text_is_cut_and_says_by_how_much() -> None:
    """A cut value never looks complete."""
    shown = line("x" * (LINE_CHARACTERS + 5))
    assert shown.count("x") == LINE_CHARACTERS
    assert 'title="5 more characters">…<' in shown
    assert "… 7 more characters" in block("y" * 12, 5)
    assert plain("z" * 12, 5) == "zzzzz…"


def test_a_block_keeps_line_breaks_and_tabs() -> None:
    """Text of several lines is shown on several lines."""
    assert block("a\n\tb") == "<bdi>a\n\tb</bdi>"


def test_json_is_indented_and_marked() -> None:
    """Keys, texts and other values are told apart, and empty ones stay on one line."""
    shown = pretty_json({"a": [1, {"b": "<i>"}], "c": {}, "d": None})
    assert re.sub(r"<[^>]*>", "", str(shown)) == (
        "{\n  &#34;a&#34;: [\n    1,\n    {\n      &#34;b&#34;: &#34;&lt;i&gt;&#34;\n    }\n  ],\n"
        "  &#34;c&#34;: {},\n  &#34;d&#34;: null\n}"
    )
    assert '<span class="json-key"><bdi>&#34;a&#34;</bdi></span>' in shown
    assert '<span class="json-other"><bdi>null</bdi></span>' in shown


def test_json_is_bounded() -> None:
    """A value of any size gives a bounded page that says where it was cut."""
    shown = pretty_json({"items": list(range(100_000))}, characters=1_000)
    assert len(shown) < 60_000
    assert "cut here" in shown
