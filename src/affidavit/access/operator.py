"""The instance operator's token: a file that only the operator can read.

It is made at the first start with mode 0600 and read once at each start; replacing its content and
restarting changes the token. It reaches every organization and has every ability.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from affidavit.access.abilities import ABILITIES
from affidavit.access.scope import Credential
from affidavit.access.secrets import TOKEN, hash_secret, is_well_formed, make_secret, same_hash
from affidavit.core.credentials import ALL
from affidavit.errors import ConfigError

__all__ = ["FILE_NAME", "OPERATOR", "OperatorToken", "load_operator_token", "local_credential"]

FILE_NAME = "operator.token"
"""Its name in the data directory."""

OPERATOR = Credential(
    kind="operator",
    id="operator",
    name="Instance operator",
    organizations=ALL,
    abilities=frozenset(ABILITIES),
)
"""The credential behind the operator's token."""


def local_credential(name: str) -> Credential:
    """The credential of a person at the command line who reads the database itself."""
    return Credential(kind="local", id=name, name=name, organizations=ALL, abilities=frozenset(ABILITIES))


class OperatorToken:
    """Recognises the operator's token. Only its hash is kept in memory."""

    def __init__(self, text: str) -> None:
        self._hash = hash_secret(text)

    def matches(self, digest: bytes) -> bool:
        """Whether ``digest`` is the hash of the operator's token; constant time."""
        return same_hash(self._hash, digest)


def load_operator_token(path: Path, entropy: Callable[[int], bytes]) -> OperatorToken:
    """Read the file, or make it where there is none.

    Of several processes that start at once, one makes the file and all read the same token: the
    content is complete before the name exists.

    Args:
        path: usually ``operator.token`` in the data directory, which is there.
        entropy: that many random bytes.

    Raises:
        ConfigError: the file can be read by others, is no regular file, or holds no token.
    """
    if not os.path.lexists(path):
        _make(path, make_secret(TOKEN, entropy), entropy(8).hex())
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"The operator's token {path} cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        content = file.read(200)
    if not stat.S_ISREG(mode):
        raise ConfigError(f"The operator's token {path} is not a regular file.")
    if mode & 0o077:
        raise ConfigError(f"The operator's token {path} can be read by others; run: chmod 600 {path}")
    text = content.decode("ascii", "replace").strip()
    if not is_well_formed(text, TOKEN):
        raise ConfigError(f"The operator's token {path} is damaged; remove the file to get a new one.")
    return OperatorToken(text)


def _make(path: Path, text: str, suffix: str) -> None:
    """Write the file under another name first and link it, so that nobody ever reads half of it."""
    draft = path.with_name(f"{path.name}.{suffix}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o600)
    except OSError as error:
        raise ConfigError(f"The operator's token {path} cannot be made: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process made it first; its token counts
    except OSError as error:
        raise ConfigError(f"The operator's token {path} cannot be made: {error.strerror}.") from error
    finally:
        draft.unlink()
