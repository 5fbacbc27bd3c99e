"""Signed notes (c2sp.org/signed-note): text, and lines that name who signed it.

::

    <text, whose last line ends too>
    <an empty line, the last one of the note>
    — <key name> <base64(key id, 4 bytes, and the signature)>

Nothing of a note may be believed before :func:`check_signatures` returned a key that the caller trusts. One
of the modules of the verifier: standard library only.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple, TypeAlias

from affidavit.core import ed25519
from affidavit.core.strict import base64_of, hex_of
from affidavit.core.unsound import BadSignature, Malformed, UnknownSigner

__all__ = [
    "COSIGNATURE",
    "ED25519",
    "KEY_ID_SIZE",
    "MAX_NOTE",
    "MAX_REPEATS",
    "Check",
    "Note",
    "Signature",
    "Verifier",
    "check_one",
    "check_signatures",
    "check_text",
    "key_id",
    "make_verifier",
    "parse_note",
    "parse_signatures",
    "parse_verifier",
    "signature_line",
    "signatures_by",
]

ED25519 = 0x01
"""An Ed25519 signature of the text."""

COSIGNATURE = 0x04
"""The Ed25519 signature of a witness, with a time (:mod:`affidavit.core.checkpoint`)."""

KEY_ID_SIZE = 4

MAX_NOTE = 1_000_000
"""Bytes of a note; room for thousands of signatures."""

MAX_REPEATS = 16
"""Different signatures by one trusted key on one note. An honest key makes one; each costs a verification."""

Check: TypeAlias = Callable[[bytes, bytes, bytes], None]
"""Checks (public key, message, signature); raises :class:`~affidavit.core.unsound.BadSignature`."""

_KINDS = {ED25519: "Ed25519", COSIGNATURE: "Ed25519 cosignature"}
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_DASH = "— "


class Verifier(NamedTuple):
    """A public key and the name it signs under.

    Attributes:
        name: not empty, without spaces of any script and ``+``.
        key_id: 4 bytes, from :func:`key_id`.
        kind: :data:`ED25519` or :data:`COSIGNATURE`.
        key: 32 bytes.
    """

    name: str
    key_id: bytes
    kind: int
    key: bytes

    @property
    def vkey(self) -> str:
        """The text that :func:`parse_verifier` reads."""
        encoded = b64encode(bytes([self.kind]) + self.key).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


class Signature(NamedTuple):
    """One signature line.

    Attributes:
        name: of the key.
        key_id: 4 bytes.
        value: the bytes after the key id; 64 for Ed25519, 72 for a cosignature with it.
    """

    name: str
    key_id: bytes
    value: bytes


class Note(NamedTuple):
    """A text and the signatures under it, of which none has been checked.

    Attributes:
        text: with its final newline; this is what is signed.
        signatures: one or more, in the order of the lines.
    """

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The note as it travels.

        Raises:
            Malformed: the text or a signature is none that a note can carry.
        """
        check_text(self.text)
        if not self.text.endswith("\n") or not self.signatures:
            raise Malformed("a note", "must end its text with a newline and carry a signature")
        return (self.text + "\n" + "".join(signature_line(*each) for each in self.signatures)).encode()


def key_id(name: str, kind: int, key: bytes) -> bytes:
    """The first four bytes of SHA-256 over name, newline, kind and key (c2sp.org/signed-note)."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:KEY_ID_SIZE]


def make_verifier(name: str, key: bytes, kind: int = ED25519) -> Verifier:
    """A public key under a name.

    Raises:
        Malformed: a name, kind or key that cannot be used.
    """
    _check_name(name)
    if kind not in _KINDS:
        raise Malformed("the type of a verifier key", "must be 0x01 or 0x04", f"0x{kind:02x}")
    ed25519.check_public_key(key)
    return Verifier(name, key_id(name, kind, key), kind, key)


def parse_verifier(vkey: str) -> Verifier:
    """Read ``name+hash+base64`` (c2sp.org/signed-note, "Verifier keys").

    Raises:
        Malformed: another text, a type that is not known here, a key id that is not that of name and key, a
            key of small order or not canonical.
    """
    name, _, rest = vkey.partition("+")
    stated, separator, encoded = rest.partition("+")
    if not separator:
        raise Malformed("a verifier key", "must be name+hash+base64", vkey)
    _check_name(name)
    identity = hex_of(stated, "the key id of a verifier key", KEY_ID_SIZE)
    typed = base64_of(encoded, "the public key of a verifier key")
    if not typed:
        raise Malformed("the public key of a verifier key", "must not be empty")
    made = make_verifier(name, typed[1:], typed[0])
    if made.key_id != identity:
        raise Malformed("the key id of a verifier key", f"must be {made.key_id.hex()}", stated)
    return made


def parse_note(message: bytes) -> Note:
    """Take a note apart, checking its form only.

    Raises:
        Malformed: it is longer than :data:`MAX_NOTE`, no UTF-8, holds control characters, has no empty line
            or no signature after it, or a line there that is no signature.
    """
    if len(message) > MAX_NOTE:
        raise Malformed("a note", f"must be at most {MAX_NOTE} bytes", len(message))
    try:
        decoded = message.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("a note", "must be UTF-8") from None
    check_text(decoded)
    split = decoded.rfind("\n\n")
    if split < 0:
        raise Malformed("a note", "must have an empty line between text and signatures")
    return Note(decoded[: split + 1], parse_signatures(decoded[split + 2 :]))


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """Read one or more signature lines.

    Raises:
        Malformed: there is none, or a line in another form.
    """
    if not lines.endswith("\n"):
        raise Malformed("the signatures of a note", "must be lines, each with its newline")
    return tuple(_parse_line(line) for line in lines[:-1].split("\n"))


def signature_line(name: str, key_id: bytes, value: bytes) -> str:
    """The line under the text.

    Raises:
        Malformed: a name that no key can have, a key id of another length than 4, no signature.
    """
    _check_name(name)
    if len(key_id) != KEY_ID_SIZE or not value:
        raise Malformed("a signature", "must have a key id of 4 bytes and a value")
    return f"{_DASH}{name} {b64encode(key_id + value).decode()}\n"


def check_signatures(
    note: Note, verifiers: Sequence[Verifier], check: Check = ed25519.verify
) -> list[Verifier]:
    """Which of these keys of type :data:`ED25519` signed the note.

    Lines of other keys are passed over, also where only name or only key id is that of a trusted one.

    Args:
        note: from :func:`parse_note`.
        verifiers: what the caller trusts; those of other types are passed over.
        check: how a signature is checked.

    Raises:
        BadSignature: a line names a trusted key, which did not make it; the whole note is refused.
        UnknownSigner: no trusted key has signed.
        Malformed: two trusted keys share name and key id, or one signed in too many ways.
    """
    signed = note.text.encode()
    found: dict[Verifier, None] = {}
    for verifier, value in signatures_by(note, verifiers, ED25519):
        check_one(verifier, signed, value, check)
        found[verifier] = None
    if not found:
        raise UnknownSigner(_nobody(note, verifiers))
    return list(found)


def check_one(verifier: Verifier, message: bytes, value: bytes, check: Check) -> None:
    """Check one signature, and name the key where it is bad.

    Raises:
        BadSignature: the key did not make it.
    """
    try:
        check(verifier.key, message, value)
    except BadSignature as error:
        raise BadSignature(f"the signature of {_label(verifier)} is bad: {error}") from error


def signatures_by(note: Note, verifiers: Sequence[Verifier], kind: int) -> Iterator[tuple[Verifier, bytes]]:
    """Every signature that a line ascribes to one of these keys of one kind; a repeated line only once.

    Raises:
        Malformed: two keys share name and key id, or one has more than :data:`MAX_REPEATS` signatures.
    """
    trusted: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        if trusted.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise Malformed("the trusted keys", "must differ in name or key id", _label(verifier))
    values: dict[Verifier, dict[bytes, None]] = {}
    for each in note.signatures:
        by = trusted.get((each.name, each.key_id))
        if by is not None and by.kind == kind:
            values.setdefault(by, {})[each.value] = None
    for by in trusted.values():
        if len(values.get(by, ())) > MAX_REPEATS:
            raise Malformed(f"the signatures of {_label(by)}", f"must be at most {MAX_REPEATS} on one note")
        yield from ((by, value) for value in values.get(by, ()))


def check_text(text: str) -> None:
    """Check that a text can stand in a note.

    Raises:
        Malformed: it holds a control character other than newline.
    """
    if (found := _CONTROL.search(text)) is not None:
        raise Malformed("a note", "must hold no control character but newline", found[0])


def _check_name(name: str) -> None:
    if (
        not name
        or "+" in name
        or any(map(str.isspace, name))
        or _CONTROL.search(name)
        or not _encodable(name)
    ):
        raise Malformed("a key name", "must not be empty, nor hold spaces, control characters or +", name)


def _encodable(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _parse_line(line: str) -> Signature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator:
        raise Malformed("a line after the empty line of a note", "must be — name base64", line)
    _check_name(name)
    identified = base64_of(encoded, f"the signature of {name:.100}")
    if len(identified) <= KEY_ID_SIZE:
        raise Malformed(f"the signature of {name:.100}", "must be longer than its key id", encoded)
    return Signature(name, identified[:KEY_ID_SIZE], identified[KEY_ID_SIZE:])


def _label(key: Verifier | Signature) -> str:
    return f"{key.name:.100}+{key.key_id.hex()}"


def _nobody(note: Note, verifiers: Sequence[Verifier]) -> str:
    trusted = ", ".join(_label(each) for each in verifiers[:5]) or "none"
    signed = ", ".join(_label(each) for each in note.signatures[:5])
    return f"no trusted key has signed this note: trusted {trusted}; signed by {signed}"
