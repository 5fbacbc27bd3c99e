"""Continuation tokens: opaque, bound to their question, and refused when anything differs."""

from __future__ import annotations

import os

import pytest

from affidavit.access.ciphers import TokenCipher
from affidavit.core.cursor import Order, Position, open_token, question_hash, seal_token
from affidavit.core.filter import Condition, Filter
from affidavit.errors import InvalidQuery

CIPHER = TokenCipher(bytes(range(32)), os.urandom)
QUESTION = question_hash(Filter((Condition("actor", ("ana",)),)), ("acme",))
POSITION = Position("desc", bytes(range(16)), 7, 99)


def test_a_token_holds_its_position() -> None:
    """What was sealed comes out of it, for the same question and order; no two tokens are alike."""
    token = seal_token(POSITION, QUESTION, CIPHER)
    assert open_token(token, "desc", QUESTION, CIPHER) == POSITION
    assert token != seal_token(POSITION, QUESTION, CIPHER)
    assert "=" not in token


OTHERS = [
    question_hash(Filter((Condition("actor", ("bob",)),)), ("acme",)),
    question_hash(Filter((Condition("actor", ("ana",), True),)), ("acme",)),
    question_hash(Filter((Condition("actor", ("ana",)),), start=1), ("acme",)),
    question_hash(Filter((Condition("actor", ("ana",)),)), ("other",)),
    question_hash(Filter((Condition("actor", ("ana",)),)), ("acme", "other")),
    question_hash(Filter((Condition("actor", ("ana",)),)), None),
    question_hash(Filter((Condition("actor", ("ana",)),)), ()),
]


@pytest.mark.parametrize("other", OTHERS)
def test_a_token_of_another_question_is_refused(other: bytes) -> None:
    """Another filter, negation, date or organization makes it another question."""
    with pytest.raises(InvalidQuery):
        open_token(seal_token(POSITION, QUESTION, CIPHER), "desc", other, CIPHER)


@pytest.mark.parametrize("order", ["asc"])
def test_a_token_of_another_order_is_refused(order: Order) -> None:
    """A token of newest-first does not continue recording order."""
    with pytest.raises(InvalidQuery):
        open_token(seal_token(POSITION, QUESTION, CIPHER), order, QUESTION, CIPHER)


def test_an_altered_token_is_refused() -> None:
    """Any changed character, and any text that never was a token, is refused."""
    token = seal_token(POSITION, QUESTION, CIPHER)
    for at in range(len(token)):
        altered = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        if altered[:-1] == token[:-1]:
            continue  # the last character may hold unused bits only
        with pytest.raises(InvalidQuery):
            open_token(altered, "desc", QUESTION, CIPHER)
    for text in ("", "x", "é", "=" * 40, "A" * 100, token + "\n"):
        with pytest.raises(InvalidQuery):
            open_token(text, "desc", QUESTION, CIPHER)


def test_a_token_of_another_key_is_refused() -> None:
    """A server with another token.key does not take it."""
    with pytest.raises(InvalidQuery):
        open_token(
            seal_token(POSITION, QUESTION, CIPHER), "desc", QUESTION, TokenCipher(b"k" * 32, os.urandom)
        )
