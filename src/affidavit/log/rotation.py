"""Replacing the log key, with overlap, so that no checkpoint is ever without a key that its reader knows.

``rotate``: from now on old and new key sign every note, and each log says so in an event, which makes it grow
and so brings a checkpoint with both signatures. Auditors take over the new verifier key. ``retire``: the old
key signs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from affidavit.core.note import parse_note
from affidavit.errors import KeyUnusable
from affidavit.log.keys import BEGUN, SIGNING, KeyFile, LogKey
from affidavit.storage.log import LogStore, Tree

__all__ = ["RETIRED_EVENT", "ROTATED_EVENT", "RecordAll", "Statement", "announce_new", "retire", "rotate"]

ROTATED_EVENT = "log.key.rotated"
RETIRED_EVENT = "log.key.retired"


class Statement(NamedTuple):
    """One of our events that is to be recorded."""

    action: str
    organization: str
    facts: Mapping[str, str | int]


RecordAll = Callable[[Sequence[Statement]], None]


def rotate(keys: KeyFile, trees: Sequence[Tree], record: RecordAll) -> LogKey:
    """Let a new key sign beside those that do, and record it in each log.

    Stopped in between, doing it again goes on with the same key.

    Args:
        keys: the key file.
        trees: the newest of each organization.
        record: records events durably.

    Returns:
        The new key.
    """
    loaded = keys.begin()
    new = loaded.of_state(BEGUN)[0]
    old = loaded.of_state(SIGNING)
    _announce(trees, old[-1] if old else None, new, record)
    keys.announced()
    return new


def announce_new(new: LogKey, trees: Sequence[Tree], record: RecordAll) -> None:
    """Record in each log that a new key signs in the place of one that is lost."""
    _announce(trees, None, new, record)


def _announce(trees: Sequence[Tree], old: LogKey | None, new: LogKey, record: RecordAll) -> None:
    record(
        [
            Statement(
                ROTATED_EVENT,
                tree.organization,
                {
                    "old": "" if old is None else old.verifier(tree.origin).key_id.hex(),
                    "new": new.verifier(tree.origin).key_id.hex(),
                    "size": tree.size,
                },
            )
            for tree in trees
        ]
    )


def retire(keys: KeyFile, trees: Sequence[Tree], log: LogStore, record: RecordAll) -> list[LogKey]:
    """Let only the newest key sign from now on, and record it in each log.

    Args:
        keys: the key file.
        trees: the newest of each organization.
        log: where their checkpoints are.
        record: records events durably.

    Returns:
        The keys that were retired.

    Raises:
        KeyUnusable: there is only one, or a log has no checkpoint yet that the newest one signed.
    """
    loaded = keys.load()
    if loaded.of_state(BEGUN):
        raise KeyUnusable("The rotation was stopped half way; finish it first: affidavit log key rotate")
    going = loaded.of_state(SIGNING)[:-1]
    if not going:
        raise KeyUnusable("There is only one key that signs; rotate first: affidavit log key rotate")
    for tree in trees:
        _check_signed(tree, loaded.newest, log)
    record(
        [
            Statement(
                RETIRED_EVENT,
                tree.organization,
                {"old": key.verifier(tree.origin).key_id.hex(), "size": tree.published},
            )
            for tree in trees
            for key in going
        ]
    )
    keys.retire(going)
    return going


def _check_signed(tree: Tree, key: LogKey, log: LogStore) -> None:
    newest = log.newest(tree.number)
    if newest is None:
        return
    wanted = key.verifier(tree.origin).key_id
    if not any(each.key_id == wanted for each in parse_note(newest.note).signatures):
        raise KeyUnusable(
            f"The newest checkpoint of {tree.origin} is not signed by the new key yet: let the worker run for"
            " some seconds, then retire the old one."
        )
