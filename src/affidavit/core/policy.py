"""Whom to trust (c2sp.org/tlog-policy): the keys of logs, the keys of witnesses, and how many of these.

::

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> <k|any|all> <member>...
    quorum <name|none>

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from affidavit.core.note import COSIGNATURE, ED25519, Verifier, parse_verifier
from affidavit.core.strict import integer
from affidavit.core.unsound import Malformed, UnknownSigner

__all__ = ["MAX_POLICY", "NONE", "Group", "LogKey", "Policy", "Witness", "parse_policy"]

MAX_POLICY = 1_000_000
"""Characters of a policy."""

NONE = "none"
"""The quorum that is always reached, and no name of a witness or group."""

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_GAP = re.compile(r"[ \t]+")


class LogKey(NamedTuple):
    """A key that is trusted to sign for the log that it is named after."""

    verifier: Verifier
    url: str | None = None


class Witness(NamedTuple):
    """A key whose cosignature counts, and what the policy calls it."""

    name: str
    verifier: Verifier
    url: str | None = None


class Group(NamedTuple):
    """Witnesses and groups, of which ``threshold`` must have seen a checkpoint."""

    name: str
    threshold: int
    members: tuple[str, ...]


class Policy(NamedTuple):
    """Whom to trust.

    Attributes:
        logs: may be empty where the log's key is known from elsewhere.
        witnesses: in the order of the lines.
        groups: each after all its members.
        quorum: a witness, a group or :data:`NONE`.
    """

    logs: tuple[LogKey, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    @property
    def log_keys(self) -> tuple[Verifier, ...]:
        """What :func:`~affidavit.core.checkpoint.open_checkpoint` takes as keys of the log."""
        return tuple(each.verifier for each in self.logs)

    @property
    def witness_keys(self) -> tuple[Verifier, ...]:
        """What :func:`~affidavit.core.checkpoint.open_checkpoint` takes as witnesses."""
        return tuple(each.verifier for each in self.witnesses)

    def check_quorum(self, cosigners: Iterable[Verifier]) -> None:
        """Check that enough witnesses have cosigned.

        Args:
            cosigners: those whose cosignatures were verified; strangers among them do not count.

        Raises:
            UnknownSigner: they are too few; says whose cosignatures are missing.
        """
        if self.quorum == NONE:
            return
        keys = set(cosigners)
        seen = {each.name for each in self.witnesses if each.verifier in keys}
        for group in self.groups:
            if sum(member in seen for member in group.members) >= group.threshold:
                seen.add(group.name)
        if self.quorum not in seen:
            raise UnknownSigner(f"the quorum is not reached: {self._missing(seen)}")

    def _missing(self, seen: set[str]) -> str:
        group = next((each for each in self.groups if each.name == self.quorum), None)
        if group is None:
            return f"witness {self.quorum:.100} has not cosigned"
        absent = ", ".join([each for each in group.members if each not in seen][:10])
        have = sum(member in seen for member in group.members)
        return f"group {group.name:.100} has {have} of {group.threshold}, missing of {absent:.1000}"


def parse_policy(text: str) -> Policy:
    """Read a policy.

    Raises:
        Malformed: a line that is none of the four, names what no line before it has defined, defines a name
            again, lists a member twice, repeats a public key, has a key of another type; not exactly one
            quorum. The message names the line.
    """
    if len(text) > MAX_POLICY:
        raise Malformed("a policy", f"must be at most {MAX_POLICY} characters", len(text))
    if not text.endswith("\n"):
        raise Malformed("a policy", "must be lines, each with its newline")
    reader = _Reader()
    for number, line in enumerate(text[:-1].split("\n"), 1):
        reader.place = f"line {number} of the policy"
        if found := _FORBIDDEN.search(line):
            raise Malformed(reader.place, "must hold no control character but tab", found[0])
        words = [word for word in _GAP.split(line) if word]
        if words and not words[0].startswith("#"):
            reader.read(*words)
    return reader.finish()


class _Reader:
    """The lines of a policy, read one by one."""

    def __init__(self) -> None:
        self.place = "the policy"
        self.logs: list[LogKey] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self._defined: set[str] = set()
        self._members: set[str] = set()
        self._keys: set[bytes] = set()

    def read(self, keyword: str, *words: str) -> None:
        lines: dict[str, tuple[Callable[..., None], int, int | None]] = {
            "log": (self._log, 1, 2),
            "witness": (self._witness, 2, 3),
            "group": (self._group, 3, None),
            "quorum": (self._set_quorum, 1, 1),
        }
        if keyword not in lines:
            raise self._malformed("must begin with log, witness, group or quorum", keyword)
        read, least, most = lines[keyword]
        if len(words) < least or (most is not None and len(words) > most):
            raise self._malformed(f"has the wrong number of words for {keyword}", len(words))
        read(*words)

    def finish(self) -> Policy:
        if self.quorum is None:
            raise Malformed("a policy", "must have a quorum line")
        return Policy(tuple(self.logs), tuple(self.witnesses), tuple(self.groups), self.quorum)

    def _log(self, vkey: str, url: str | None = None) -> None:
        self.logs.append(LogKey(self._verifier(vkey, ED25519), url))

    def _witness(self, name: str, vkey: str, url: str | None = None) -> None:
        verifier = self._verifier(vkey, COSIGNATURE)
        self._define(name)
        self.witnesses.append(Witness(name, verifier, url))

    def _group(self, name: str, threshold: str, *members: str) -> None:
        for member in members:
            self._check_defined(member)
            if member in self._members:
                raise self._malformed("must not name a member that a group has already", member)
            self._members.add(member)
        self._define(name)
        self.groups.append(Group(name, self._threshold(threshold, len(members)), members))

    def _set_quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise self._malformed("must not be a second quorum line", name)
        if name != NONE:
            self._check_defined(name)
        self.quorum = name

    def _threshold(self, text: str, members: int) -> int:
        if text in ("any", "all"):
            return 1 if text == "any" else members
        least = integer(text, f"the threshold in {self.place}", members)
        if least == 0:
            raise self._malformed("must have a threshold of at least 1", text)
        return least

    def _verifier(self, vkey: str, kind: int) -> Verifier:
        try:
            verifier = parse_verifier(vkey)
        except Malformed as error:
            raise self._malformed(f"has a key that cannot be used: {error}") from error
        if verifier.kind != kind:
            raise self._malformed(f"must have a key of type 0x{kind:02x}", f"0x{verifier.kind:02x}")
        if verifier.key in self._keys:
            raise self._malformed("repeats a public key", verifier.vkey)
        self._keys.add(verifier.key)
        return verifier

    def _define(self, name: str) -> None:
        if name == NONE or name in self._defined:
            raise self._malformed("must not define this name", name)
        self._defined.add(name)

    def _check_defined(self, name: str) -> None:
        if name not in self._defined:
            raise self._malformed("names what no line before it has defined", name)

    def _malformed(self, rule: str, value: object = None) -> Malformed:
        return Malformed(self.place, rule, value)
