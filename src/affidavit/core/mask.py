"""Masking: values under keys that look like a secret never reach the database.

The list and its vectors stand in ``docs/spec/masking.md``. A key is split into words at everything that is
not a letter and at camel case; it is secret where its last word, its last two words joined, or the whole
key joined stands in the list. Under a secret key a string, a number or a list of these becomes
``"[masked]"``; objects are searched further.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

__all__ = ["MASKED", "SECRET_WORDS", "is_secret", "mask_value"]

MASKED = "[masked]"

SECRET_WORDS = frozenset(
    """
    password passwd pwd passphrase passcode secret secrets token authorization apikey apitoken
    accesstoken refreshtoken idtoken accesskey secretkey secretaccesskey privatekey signingkey
    encryptionkey sessionkey clientsecret credential credentials bearer cookie cookies setcookie
    sessioncookie card cardnumber creditcard pan cvv cvc ssn socialsecuritynumber otp totp mfacode
    recoverycode recoverycodes backupcodes jwt csrf xsrf connectionstring
    """.split()
)
"""Words, in lower case and joined."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")


@lru_cache(maxsize=16384)
def is_secret(key: str) -> bool:
    """Whether a key looks like a secret's: ``apiKey``, ``x-api-key``, ``PASSWORD``, but not ``tokenId``."""
    words = [word.lower() for word in _WORD.findall(key)]
    if not words:
        return False
    return words[-1] in SECRET_WORDS or "".join(words[-2:]) in SECRET_WORDS or "".join(words) in SECRET_WORDS


def mask_value(value: Any) -> Any:
    """What is stored under a secret key: the mask for text, numbers and lists of these."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str | int | float):
        return MASKED
    if isinstance(value, list | tuple) and value and all(_is_scalar(item) for item in value):
        return MASKED
    return value


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)
