"""``affidavit retention``: policies, expiry and pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from affidavit.cli.exits import Exit, Failed, UsageError
from affidavit.cli.instance import credential, opened, writable_organization
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, note, print_json, print_table, wants_json
from affidavit.cli.task import finish_task, run_task
from affidavit.core.ids import format_id, parse_id
from affidavit.core.times import parse_bound
from affidavit.log.retention.orders import request_of
from affidavit.log.retention.past import totals
from affidavit.log.retention.policies import FOREVER
from affidavit.log.retention.prune import PRUNE_TASK

if TYPE_CHECKING:
    from affidavit.log.retention.previews import PrunePreview
    from affidavit.wiring import Instance

__all__ = ["list_command", "prune_command", "run_command", "set_command", "unset_command"]

_Class = Annotated[
    str, Parameter(name="--class", help="Of events: an action, whole segments and a star (auth.*), or *.")
]
_DryRun = Annotated[bool, Parameter(negative=(), help="Only count what would be done.")]


def set_command(
    *,
    class_: _Class,
    days: Annotated[str, Parameter(help="Days from recording that the groups are kept, or: forever.")],
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Keep the values of a class of events for so many days. The longest class that fits an action counts."""
    settings = common.settings()
    organization = writable_organization(settings)
    with opened(settings) as instance:
        rules = instance.retention.set(organization, class_, _days(days), credential())
    _print_rules({organization: rules}, json)


def unset_command(*, class_: _Class, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """Take a class out of the policy: the next wider one counts; without any, values are kept for ever."""
    settings = common.settings()
    organization = writable_organization(settings)
    with opened(settings) as instance:
        rules = instance.retention.unset(organization, class_, credential())
    _print_rules({organization: rules}, json)


def list_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """List the policies of an organization, or of all."""
    settings = common.settings()
    with opened(settings) as instance:
        names = (
            instance.retention.organizations() if settings.organization is None else [settings.organization]
        )
        _print_rules({name: instance.retention.rules(name) for name in names}, json)


def run_command(*, dry_run: _DryRun = False, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """Let values expire that are past the policy of their class: of one organization, or of all. For cron.

    Clear fields and digests stay, so every proof stays valid. What a legal hold keeps is left alone.
    """
    settings = common.settings()
    with opened(settings) as instance:
        names = (
            instance.retention.organizations() if settings.organization is None else [settings.organization]
        )
        failed = 0
        for name in names:
            try:
                answer = _preview(instance, name) if dry_run else _expire(instance, name)
            except Failed as error:
                note(f"{name}: {error.message}")
                failed += 1
                continue
            _print_run(answer, json)
    if not names:
        note("No organization has a policy.")
    if failed:
        raise Failed(f"{failed} of {len(names)} organizations could not be done")


def prune_command(
    *,
    before: Annotated[
        str | None,
        Parameter(help="Everything that occurred before this day (2026-01-31) or moment (RFC 3339)."),
    ] = None,
    ids: Annotated[str | None, Parameter(help="A closed range of ids, FIRST:LAST, both included.")] = None,
    dry_run: _DryRun = False,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Delete rows that have expired, for good; their leaf hashes stay.

    Nothing is recorded in their range again. Refused unless every event of the range is past its policy, has
    expired and is under no hold. Events that explain what is missing elsewhere stay in any case.
    """
    settings = common.settings()
    organization = writable_organization(settings)
    with opened(settings) as instance:
        span = _span(instance, organization, before, ids)
        if span is None:
            note("There is nothing to prune.")
            return
        found = instance.retention_previews.pruning(organization, *span)
        if not dry_run and not found.obstacles and found.events:
            request = request_of(credential(), from_id=format_id(span[0]), to_id=format_id(span[1]))
            _print_run(
                {
                    "organization": organization,
                    **run_task(instance, PRUNE_TASK, organization, request),
                },
                json,
            )
            return
    _print_run({"organization": organization, "dry_run": dry_run, **_public(found)}, json)
    if found.obstacles and not dry_run:
        told = ", ".join(f"{number:,} {reason}" for reason, number in found.obstacles.items())
        raise Failed(f"nothing was pruned: of the events of this range there are {told}", Exit.REFUSED)


def _days(text: str) -> int | None:
    if text == FOREVER:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise UsageError(f"--days must be a number or {FOREVER}, not {text[:40]!r}")
    return int(text)


def _span(
    instance: Instance, organization: str, before: str | None, ids: str | None
) -> tuple[bytes, bytes] | None:
    if (before is None) == (ids is None):
        raise UsageError("say what to prune: either --before DATE or --ids FIRST:LAST")
    if before is not None:
        return instance.retention_previews.until(organization, parse_bound(before, "before", end=False))
    first, colon, last = (ids or "").partition(":")
    if not colon:
        raise UsageError("--ids must be two ids, FIRST:LAST")
    span = parse_id(first, "ids"), parse_id(last, "ids")
    if span[0] > span[1]:
        raise UsageError("--ids: the first id must not come after the last one")
    return span


def _expire(instance: Instance, name: str) -> dict[str, Any]:
    # One that was interrupted goes on under its announcement.
    task = instance.expiry_orders.order(name, credential())
    outcome = finish_task(instance, task.id)
    return {"organization": name, **outcome}


def _preview(instance: Instance, name: str) -> dict[str, Any]:
    found = instance.retention_previews.expiry(name)
    expired, held = totals(found.classes)
    return {
        "organization": name,
        "dry_run": True,
        "policy": found.policy,
        "expired": {each: count.expired for each, count in sorted(found.classes.items()) if count.expired},
        "kept": {each: count.held for each, count in sorted(found.classes.items()) if count.held},
        "events": expired,
        "held": held,
    }


def _public(found: PrunePreview) -> dict[str, Any]:
    return {
        "from_id": format_id(found.from_id),
        "to_id": format_id(found.to_id),
        "events": found.events,
        "kept": found.kept,
        "ranges": found.ranges,
        "obstacles": dict(found.obstacles),
    }


def _print_rules(tables: Mapping[str, Mapping[str, int | None]], json: bool | None) -> None:
    rows = [
        {"organization": organization, "class": name, "days": FOREVER if days is None else days}
        for organization, rules in tables.items()
        for name, days in rules.items()
    ]
    if wants_json(json):
        for row in rows:
            print_json(row)
        return
    print_table(
        ("Organization", "Class", "Days"),
        [tuple(row.values()) for row in rows],
        empty="No policies: everything is kept for ever.",
    )


def _print_run(answer: Mapping[str, Any], json: bool | None) -> None:
    if wants_json(json):
        print_json(answer)
        return
    told = ", ".join(f"{key.replace('_', ' ')}: {_shown(value)}" for key, value in answer.items())
    line(told)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={number}" for name, number in value.items()) or "none"
    return str(value)
