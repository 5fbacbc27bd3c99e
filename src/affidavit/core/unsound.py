"""What verification finds: the errors of evidence that does not hold.

::

    Unsound
    ├── Malformed            not in the form that the specification demands
    ├── RootMismatch         the entries hash to another root than the one that was signed
    ├── BadProof             an inclusion or consistency proof that proves nothing
    ├── BadSignature         a known key did not make this signature
    ├── UnknownSigner        no key that the caller trusts has signed
    └── Contradiction        two statements that cannot both be true (a fork, a rollback, a stale head)

Apart from the tree of :mod:`affidavit.errors` because the verifier imports the standard library only. The
docstring of a class is its default message.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadProof",
    "BadSignature",
    "Contradiction",
    "Malformed",
    "RootMismatch",
    "UnknownSigner",
    "Unsound",
]


class Unsound(Exception):
    """The evidence does not hold."""

    category: ClassVar[str] = "unsound"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


class Malformed(Unsound):
    """Something is not in the form that the specification demands."""

    category = "malformed"

    def __init__(self, what: str, rule: str, value: object = None) -> None:
        shown = "" if value is None else f": {value!r:.100}"
        super().__init__(f"{what} {rule}{shown}")
        self.what = what
        self.rule = rule
        self.value = value


class RootMismatch(Unsound):
    """The entries hash to another root than the one that was signed."""

    category = "root"

    def __init__(self, what: str, expected: bytes, computed: bytes) -> None:
        super().__init__(f"{what}: expected {expected.hex()}, computed {computed.hex()}")
        self.expected = expected
        self.computed = computed


class BadProof(Unsound):
    """The proof proves nothing."""

    category = "proof"


class BadSignature(Unsound):
    """The signature was not made by the key that it names."""

    category = "signature"


class UnknownSigner(Unsound):
    """No key that is trusted here has signed this."""

    category = "signer"


class Contradiction(Unsound):
    """Two statements of the log cannot both be true."""

    category = "contradiction"
