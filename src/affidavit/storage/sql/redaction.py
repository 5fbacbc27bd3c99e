"""What redacting a row means, whichever engine keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from affidavit import errors
from affidavit.core.leaf import LEAF_GROUPS, digest_of, parse_remains, salts_of, write_remains
from affidavit.core.unsound import Malformed

__all__ = ["READ", "Emptied", "emptied"]

READ = (
    f"SELECT secret, remains, {', '.join(LEAF_GROUPS)} FROM affidavit_events"
    " WHERE organization = ? AND id = ?"
)
"""What :func:`emptied` needs of a row, texts as UTF-8 bytes."""


class Emptied(NamedTuple):
    """What becomes of a row.

    Attributes:
        columns: that become NULL, with the secret.
        remains: the new text of that column.
        stood: secret and remains as they were, so that no change in between is overwritten.
    """

    columns: tuple[str, ...]
    remains: str
    stood: tuple[bytes | None, str | None]


def emptied(row: Sequence[Any], groups: Sequence[str]) -> Emptied | None:
    """Take groups away from a row: their digests are kept, and the salts of those that stay.

    Args:
        row: what :data:`READ` found.
        groups: that are to go.

    Returns:
        ``None`` where nothing of them is left.

    Raises:
        LogMismatch: the row was edited, so that its salts are unknown.
    """
    secret, remains, *texts = row
    going = [
        group for group, text in zip(LEAF_GROUPS, texts, strict=True) if text is not None and group in groups
    ]
    if not going:
        return None
    left = _left(secret, remains)
    for group, text in zip(LEAF_GROUPS, texts, strict=True):
        if group in going:
            left[group] = ("digest", digest_of(left[group][1], group, bytes(text)))
    columns = (*going, "actor_id") if "actor" in going else tuple(going)
    stood = remains.decode() if isinstance(remains, bytes) else remains
    return Emptied(columns, write_remains(left).decode(), (secret, stood))


def _left(secret: Any, remains: Any) -> dict[str, tuple[str, str]]:
    """What stands for each group now: a salt where its value does, a digest where it is gone."""
    if isinstance(secret, bytes) and len(secret) == 32:
        return {group: ("salt", salt) for group, salt in zip(LEAF_GROUPS, salts_of(secret), strict=True)}
    try:
        return parse_remains(bytes(remains or b""))
    except Malformed as error:
        raise errors.LogMismatch(
            f"An event cannot be redacted, its row was edited: {error.message}. See: affidavit fsck"
        ) from error
