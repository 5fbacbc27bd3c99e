"""``affidavit log``: key, guard, incarnations, checkpoints. And what long commands say of their work."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from affidavit.cli.exits import Failed
from affidavit.cli.instance import credential, opened, private_files, writable_organization
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, note, print_json, print_table, wants_json
from affidavit.core.credentials import INSTANCE
from affidavit.core.times import format_time
from affidavit.errors import KeyUnusable, NotFound

if TYPE_CHECKING:
    from affidavit.config import Settings
    from affidavit.wiring import Instance

__all__ = [
    "checkpoint_command",
    "guard_accept_command",
    "guard_show_command",
    "key_create_command",
    "key_list_command",
    "key_retire_command",
    "key_rotate_command",
    "key_show_command",
    "reopen_command",
    "status_command",
    "write_log",
]


def write_log(settings: Settings) -> None:
    """Send this process's log to standard error."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def status_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """Say where the log stands: what waits, what is signed, and everything that stands against it.

    The exit code is 1 where something does.
    """
    from affidavit.wiring.log import log_standing, newest_trees

    settings = common.settings()
    with opened(settings) as instance:
        health = instance.health()
        trees = newest_trees(instance.database)
        found = log_standing(settings, instance.database)
    document: dict[str, Any] = {
        "logs": len(trees),
        "signed": sum(tree.published == tree.size for tree in trees),
        "queue_events": health["queue_events"],
        "queue_age_seconds": health["queue_age_seconds"],
        "alarms": [
            {
                "kind": each.kind,
                "subject": each.subject,
                "raised_at": format_time(each.raised_at),
                "text": each.text,
            }
            for each in found
        ],
    }
    if wants_json(json):
        print_json(document)
    else:
        line(
            f"{document['logs']} logs, {document['signed']} of them signed to the end;"
            f" {document['queue_events']} events wait for their leaf."
        )
        print_table(
            ("Alarm", "Of", "Since", "What it is and what to do"),
            [(each["kind"], each["subject"], each["raised_at"], each["text"]) for each in document["alarms"]],
            empty="Nothing stands against the log.",
        )
    if found:
        raise Failed


def checkpoint_command(*, common: Common = NOTHING_GIVEN) -> None:
    """Print the newest signed checkpoint of an organization's log, cosignatures included."""
    settings = common.settings()
    with opened(settings) as instance:
        number, origin = _newest_tree(instance, writable_organization(settings))
        newest = instance.log.newest(number)
    if newest is None:
        raise NotFound(f"The log {origin} has no signed checkpoint yet; a running worker makes one.")
    sys.stdout.write(newest.note.decode())


def reopen_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """Begin a new incarnation of every log that lost leaves or events, after a restore.

    First look at log status and try to put the right files back: this gives up what was lost. The first
    entry of the new log quotes the last known checkpoint of the old one. Auditors need the new verifier key:
    log key show.
    """
    from affidavit.wiring.log import REOPEN_TASK, recorder, reopen_log

    settings = common.settings()
    with opened(settings) as instance:

        def directly() -> Mapping[str, Any]:
            record = recorder(instance.database, instance.access_events, credential())
            done = reopen_log(instance.engine, instance.database, record)
            return {"reopened": [each._asdict() for each in done]}

        outcome = _ordered(instance, REOPEN_TASK, directly)
    if wants_json(json):
        print_json(outcome)
        return
    print_table(
        ("Organization", "New log", "Last checkpoint of the one before"),
        [(each["organization"], each["origin"], each["checkpoint"]) for each in outcome["reopened"]],
        empty="Every log extends what was signed; none was reopened.",
    )


def guard_show_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """Show what the guard remembers of each log."""
    from affidavit.wiring.log import guard_for

    settings = common.settings()
    guard = guard_for(settings)
    try:
        heads = []
        after = ""
        while piece := guard.walk(after, 500):
            after = piece[-1].origin
            heads += piece
    finally:
        guard.close()
    if wants_json(json):
        for head in heads:
            print_json(
                {
                    "organization": head.organization,
                    "origin": head.origin,
                    "size": head.size,
                    "root": head.root.hex(),
                }
            )
        return
    print_table(
        ("Organization", "Log", "Size", "Root hash"),
        [(head.organization, head.origin, head.size, head.root.hex()) for head in heads],
        empty="The guard remembers no log yet.",
    )


def guard_accept_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """Let a guard that was lost, or that is behind, take the checkpoints that were signed last.

    It is refused where the guard remembers more than the log has: then not the guard is what is wrong.
    """
    from affidavit.wiring.log import ACCEPT_TASK, accept_guard, accepted_document, recorder

    settings = common.settings()
    with opened(settings) as instance:

        def directly() -> Mapping[str, Any]:
            record = recorder(instance.database, instance.access_events, credential())
            done = accept_guard(instance.engine, instance.database, record)
            return {"accepted": [accepted_document(each) for each in done]}

        outcome = _ordered(instance, ACCEPT_TASK, directly)
    if wants_json(json):
        print_json(outcome)
        return
    print_table(
        ("Organization", "Log", "Size", "Root hash"),
        [(each["organization"], each["origin"], each["size"], each["root"]) for each in outcome["accepted"]],
        empty="The guard knew everything that was signed.",
    )


def key_create_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """Make the log key. The worker makes the first one; this is for a key that was lost for good.

    Checkpoints that the lost key signed stay valid under its verifier key; for what comes auditors need the
    new one.
    """
    from affidavit.log.rotation import announce_new
    from affidavit.wiring.log import guard_for, key_file, may_make_key, newest_trees, record_all

    settings = common.settings()
    with opened(settings) as instance:
        keys = key_file(settings)
        if keys.exists():
            raise KeyUnusable(
                f"There is a log key already: {keys.path}; to replace it: affidavit log key rotate"
            )
        first = may_make_key(settings, instance.database)
        if first:
            guard_for(settings, make=True).close()  # before any key, so that a lost one is noticed
        made = keys.create().newest
        if not first:
            record = record_all(instance.database, instance.access_events, credential())
            announce_new(made, newest_trees(instance.database), record)
    _told(made.fingerprint, "is the log key.", json)


def key_show_command(*, common: Common = NOTHING_GIVEN) -> None:
    """Print the verifier key of an organization's log, which auditors need: one line, and nothing else."""
    from affidavit.wiring.log import key_file

    settings = common.settings()
    with opened(settings) as instance:
        _, origin = _newest_tree(instance, writable_organization(settings))
    line(key_file(settings).load().newest.verifier(origin).vkey)


def key_list_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """List the log keys: those that sign, and those that were retired."""
    from affidavit.wiring.log import key_file

    rows = [
        {"key": key.fingerprint, "state": key.state, "made_at": format_time(key.made_at)}
        for key in key_file(common.settings()).load().keys
    ]
    if wants_json(json):
        for row in rows:
            print_json(row)
        return
    print_table(("Key", "State", "Made"), [tuple(row.values()) for row in rows], empty="No key.")


def key_rotate_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """Make a new log key; from now on it and the old one both sign, until the old one is retired."""
    from affidavit.log.rotation import rotate
    from affidavit.wiring.log import key_file, newest_trees, record_all

    settings = common.settings()
    with opened(settings) as instance:
        record = record_all(instance.database, instance.access_events, credential())
        new = rotate(key_file(settings), newest_trees(instance.database), record)
    _told(
        new.fingerprint, "signs from now on, beside the old key. Give auditors the new verifier keys.", json
    )


def key_retire_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """Let only the newest log key sign; the private halves of the others are forgotten."""
    from affidavit.log.rotation import retire
    from affidavit.wiring.log import key_file, newest_trees, record_all

    settings = common.settings()
    with opened(settings) as instance:
        record = record_all(instance.database, instance.access_events, credential())
        gone = retire(key_file(settings), newest_trees(instance.database), instance.log, record)
    for key in gone:
        _told(key.fingerprint, "is retired.", json)


def _told(fingerprint: str, what: str, json: bool | None) -> None:
    if wants_json(json):
        print_json({"key": fingerprint})
    else:
        line(f"{fingerprint} {what}")


PATIENCE = 3.0
"""Seconds that a command waits for the log of an organization that has just had its first event."""


def _newest_tree(instance: Instance, organization: str) -> tuple[int, str]:
    """Number and origin of the newest log of an organization."""
    trees = instance.log.trees(organization)
    if not trees and organization in instance.reader.organizations():
        # Its first event is a moment old; the worker needs at most a second where it runs.
        until = time.monotonic() + PATIENCE
        while not trees and time.monotonic() < until:
            time.sleep(0.1)
            trees = instance.log.trees(organization)
    if not trees:
        raise NotFound(
            f"The organization {organization!r} has no log yet; the worker begins it with the first event."
        )
    return trees[-1].number, trees[-1].origin


def _ordered(instance: Instance, kind: str, directly: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Do it here where no worker runs, else leave it to that one and wait."""
    from affidavit.cli.task import run_task

    lease = instance.engine.lease()
    if lease.take():
        try:
            with private_files():
                return directly()
        finally:
            lease.release()
    note("The worker does it.")
    return run_task(instance, kind, INSTANCE, {})
