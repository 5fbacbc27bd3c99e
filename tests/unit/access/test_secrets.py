"""Secrets have 256 bits, a prefix and a checksum."""

from __future__ import annotations

import string
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from affidavit.access.secrets import LOGIN, SESSION, TOKEN, hash_secret, is_well_formed, make_secret


@given(st.binary(min_size=32, max_size=32), st.sampled_from([TOKEN, LOGIN, SESSION]))
def test_a_secret_is_well_formed_under_its_own_prefix_only(random: bytes, prefix: str) -> None:
    """What is made is recognised, under no other prefix."""
    text = make_secret(prefix, lambda size: random[:size])
    assert len(text) == len(prefix) + 49
    for other in (TOKEN, LOGIN, SESSION):
        assert is_well_formed(text, other) == (other == prefix)


@given(st.binary(min_size=32, max_size=32), st.data())
def test_one_wrong_character_is_noticed(random: bytes, data: st.DataObject) -> None:
    """A typing error is told from a real token without a database."""
    text = make_secret(TOKEN, lambda size: random[:size])
    position = data.draw(st.integers(len(TOKEN), len(text) - 1))
    character = data.draw(st.sampled_from(string.digits + string.ascii_letters))
    changed = text[:position] + character + text[position + 1 :]
    assert is_well_formed(changed, TOKEN) == (changed == text)


@given(st.text(max_size=80))
def test_no_text_breaks_the_check(text: str) -> None:
    """Any text gets an answer."""
    assert not is_well_formed(text, TOKEN)


@given(st.sets(st.binary(min_size=32, max_size=32), min_size=2, max_size=20))
def test_different_bits_give_different_secrets(randoms: set[bytes]) -> None:
    """No bit is lost on the way to the text."""
    texts = {make_secret(TOKEN, _always(random)) for random in randoms}
    assert len(texts) == len(randoms)
    assert len({hash_secret(text) for text in texts}) == len(randoms)


def _always(random: bytes) -> Callable[[int], bytes]:
    return lambda size: random[:size]
