"""The log key: it signs checkpoints and manifests, and nothing else.

One key serves all trees of an instance; under each origin it has another name and so another key id. It
stands in a file of its own, ``log.key``, never in a database or a backup of one::

    affidavit-log-key/v1
    signing 2026-11-21T12:00:00.000000Z <base64 of the 32-byte seed>
    retired 2026-01-01T00:00:00.000000Z <base64 of the 32-byte public key>
    sum <hex SHA-256 of the lines above>

Rotation overlaps: all ``signing`` keys sign every note, and so does one that has ``begun`` and of which the
logs do not say so yet. Of a ``retired`` one only the public half is kept, so that what it signed can still
be checked here.
"""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.core.forms import format_time, read_time
from affidavit.core.note import ED25519, Verifier, make_verifier, signature_line
from affidavit.core.strict import base64_of
from affidavit.core.unsound import Malformed
from affidavit.errors import KeyMissing, KeyUnusable

__all__ = ["BEGUN", "FILE_NAME", "RETIRED", "SIGNING", "KeyFile", "LogKey", "LogKeys"]

FILE_NAME: Final = "log.key"
"""Its name in the data directory."""

BEGUN, SIGNING, RETIRED = "begun", "signing", "retired"

_FIRST_LINE = "affidavit-log-key/v1"
_MANIFEST_LINE = "affidavit-manifest/v1"
_MOST = 64 * 1024
"""Bytes of the file at most."""


class LogKey(NamedTuple):
    """One key of the file.

    Attributes:
        state: :data:`BEGUN`, :data:`SIGNING` or :data:`RETIRED`.
        made_at: microseconds since 1970 UTC.
        public: 32 bytes.
        seed: 32 bytes, ``None`` of a retired key.
    """

    state: str
    made_at: int
    public: bytes
    seed: bytes | None

    def __repr__(self) -> str:
        return f"LogKey({self.state}, {self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of the SHA-256 of the public key: its name where there is no origin."""
        return sha256(self.public).hexdigest()[:16]

    def verifier(self, origin: str) -> Verifier:
        """The public key under an origin."""
        return make_verifier(origin, self.public, ED25519)


class LogKeys:
    """The keys of an instance, as they stood in the file.

    Args:
        keys: oldest first, at least one that signs.
    """

    def __init__(self, keys: Sequence[LogKey]) -> None:
        self.keys = tuple(keys)
        self._signers = [
            (key, Ed25519PrivateKey.from_private_bytes(key.seed)) for key in self.keys if key.seed is not None
        ]
        if not self._signers:
            raise KeyUnusable("The log key file has no key that signs.")

    def sign(self, origin: str, text: str) -> str:
        """Signature lines for the text of a checkpoint or a manifest, one of each signing key.

        Raises:
            Malformed: the text is no note of this origin; this key signs nothing else.
        """
        first, _, rest = text.partition("\n")
        named = rest.partition("\n")[0] if first == _MANIFEST_LINE else first
        if named != origin or not text.endswith("\n"):
            raise Malformed("the text to be signed", f"must be a checkpoint or manifest of {origin}", text)
        message = text.encode()
        return "".join(
            signature_line(origin, key.verifier(origin).key_id, private.sign(message))
            for key, private in self._signers
        )

    def note(self, origin: str, text: str) -> bytes:
        """The signed note over a text; see :meth:`sign`."""
        return f"{text}\n{self.sign(origin, text)}".encode()

    def verifiers(self, origin: str) -> list[Verifier]:
        """Every key that signs or has signed notes of this origin, oldest first."""
        return [key.verifier(origin) for key in self.keys]

    @property
    def newest(self) -> LogKey:
        """The newest key that signs: the one that auditors are given."""
        return self._signers[-1][0]

    def of_state(self, state: str) -> list[LogKey]:
        """The keys in one state, oldest first."""
        return [key for key in self.keys if key.state == state]


class KeyFile:
    """The file of the log key, read again whenever it was replaced.

    Args:
        path: usually ``log.key`` in the data directory.
        entropy: that many random bytes.
        clock: microseconds since 1970 UTC.
    """

    def __init__(self, path: Path, entropy: Callable[[int], bytes], clock: Callable[[], int]) -> None:
        self.path = path
        self._entropy = entropy
        self._clock = clock
        self._read: LogKeys | None = None
        self._version: tuple[int, ...] | None = None

    def load(self) -> LogKeys:
        """The keys.

        Raises:
            KeyMissing: there is no file.
            KeyUnusable: others can read it, or it is damaged.
        """
        version = self._stat()
        if version is None:
            self._read = None
            raise KeyMissing(
                f"The log key {self.path} is missing: nothing is signed. Put it back from where you keep it;"
                " recording goes on meanwhile. If it is lost, make another one, which auditors must be given"
                " anew: affidavit log key create"
            )
        if self._read is None or version != self._version:
            self._read = LogKeys(self._parse(self._content()))
            self._version = version
        return self._read

    def exists(self) -> bool:
        """Whether there is a file, readable or not."""
        return os.path.lexists(self.path)

    def create(self) -> LogKeys:
        """Make the file with one key; where it exists already, that one counts.

        Whether a new key may be made (no checkpoint was ever signed, or a person asked for it) is for the
        caller to know.
        """
        if not self.exists():
            self._write([self._made(SIGNING)], replace=False)
        return self.load()

    def begin(self) -> LogKeys:
        """Let a new key sign beside those that do; one that has begun already is that key."""
        keys = self.load()
        if not keys.of_state(BEGUN):
            self._write([*keys.keys, self._made(BEGUN)])
        return self.load()

    def announced(self) -> LogKeys:
        """The logs say that the new key signs."""
        keys = self.load()
        self._write([key._replace(state=SIGNING) if key.state == BEGUN else key for key in keys.keys])
        return self.load()

    def retire(self, keys: Sequence[LogKey]) -> LogKeys:
        """Forget the private half of these keys; the newest one that signs must not be among them."""
        loaded = self.load()
        if loaded.newest in keys:
            raise KeyUnusable("The newest key cannot be retired; rotate first: affidavit log key rotate")
        gone = {key.public for key in keys}
        self._write(
            [key._replace(state=RETIRED, seed=None) if key.public in gone else key for key in loaded.keys]
        )
        return self.load()

    def _made(self, state: str) -> LogKey:
        seed = self._entropy(32)
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        return LogKey(state, self._clock(), public, seed)

    def _stat(self) -> tuple[int, ...] | None:
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode

    def _content(self) -> bytes:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise KeyUnusable(f"The log key {self.path} cannot be read: {error.strerror}.") from error
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise KeyUnusable(f"The log key {self.path} is not a regular file.")
            if mode & 0o077:
                raise KeyUnusable(
                    f"The log key {self.path} can be read by others (mode {stat.S_IMODE(mode):04o});"
                    f" run: chmod 600 {self.path}"
                )
            return file.read(_MOST)

    def _parse(self, content: bytes) -> list[LogKey]:
        """The keys of a whole, undamaged file; part of one is refused by its checksum."""
        body, separator, last = content.removesuffix(b"\n").rpartition(b"\nsum ")
        lines = (body + b"\n").decode("ascii", "replace").splitlines()
        if not separator or last != _checksum(body + b"\n") or lines[0] != _FIRST_LINE:
            raise KeyUnusable(
                f"The log key {self.path} is damaged or only half there; nothing is signed."
                " Put it back from where you keep it."
            )
        try:
            return [_key_of(line) for line in lines[1:]]
        except (Malformed, ValueError) as error:
            raise KeyUnusable(f"The log key {self.path} is not in the form of this version.") from error

    def _write(self, keys: Sequence[LogKey], *, replace: bool = True) -> None:
        """Write the whole file under another name, sync it, then give it its name: never half a file."""
        body = "".join(f"{line}\n" for line in (_FIRST_LINE, *map(_line_of, keys))).encode()
        content = body + b"sum " + _checksum(body) + b"\n"
        draft = self.path.with_name(f"{self.path.name}.{self._entropy(8).hex()}")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                draft.replace(self.path)
            else:
                try:
                    os.link(draft, self.path)
                except FileExistsError:
                    pass  # another process made it first; its key counts
            self._sync_folder()
        except OSError as error:
            raise KeyUnusable(f"The log key {self.path} cannot be written: {error.strerror}.") from error
        finally:
            draft.unlink(missing_ok=True)
        self._read = None

    def _sync_folder(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _checksum(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode()


def _line_of(key: LogKey) -> str:
    half = key.public if key.seed is None else key.seed
    return f"{key.state} {format_time(key.made_at)} {b64encode(half).decode()}"


def _key_of(line: str) -> LogKey:
    state, made_at, encoded = line.split(" ")
    half = base64_of(encoded, "a key", 32)
    if state == RETIRED:
        return LogKey(state, read_time(made_at), half, None)
    if state not in (BEGUN, SIGNING):
        raise Malformed("the state of a key", "must be begun, signing or retired", state)
    public = Ed25519PrivateKey.from_private_bytes(half).public_key().public_bytes_raw()
    return LogKey(state, read_time(made_at), public, half)
