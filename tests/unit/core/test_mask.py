"""Masking: the vectors of docs/spec/masking.md, and what lies under a secret key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from affidavit.core.mask import MASKED, SECRET_WORDS, is_secret, mask_value

ROOT = Path(__file__).parents[3]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "masking.json").read_text("utf-8"))


@pytest.mark.parametrize("key", VECTORS["secret"])
def test_keys_that_look_like_a_secret(key: str) -> None:
    """These keys are recognised, however they are spelt."""
    assert is_secret(key)


@pytest.mark.parametrize("key", VECTORS["plain"])
def test_keys_that_only_resemble_one(key: str) -> None:
    """Names and ids of secrets, and words that contain one, are not masked."""
    assert not is_secret(key)


@pytest.mark.parametrize(("value", "kept"), [(item["value"], item["stored"]) for item in VECTORS["values"]])
def test_values_under_a_secret_key(value: Any, kept: Any) -> None:
    """Text, numbers and lists of these are masked; objects are searched further, booleans say nothing."""
    assert mask_value(value) == kept
    assert kept in (MASKED, value)


def test_the_page_lists_every_word() -> None:
    """The specification names exactly the words of the program."""
    page = (ROOT / "docs" / "spec" / "masking.md").read_text("utf-8")
    listed = page.partition("<!-- words -->")[2].partition("<!-- end -->")[0].replace("`", "").split()
    assert sorted(listed) == sorted(SECRET_WORDS)
