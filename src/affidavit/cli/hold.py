"""``affidavit hold``: legal holds, which win over every policy and over pruning."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from affidavit.cli.instance import credential, opened, writable_organization
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, print_json, print_table, wants_json
from affidavit.core.retention import EVERYTHING
from affidavit.core.times import format_time
from affidavit.log.retention.holds import Hold

__all__ = ["create_command", "list_command", "release_command"]


def create_command(
    *,
    name: Annotated[str, Parameter(help="What lists call it, such as the number of a case.")],
    reason: Annotated[str, Parameter(help="Why it is placed.")],
    class_: Annotated[
        str, Parameter(name="--class", help="Of the events that it keeps: an action, auth.*, or all of them.")
    ] = EVERYTHING,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Place a hold: nothing of its class expires or is pruned until it is released."""
    settings = common.settings()
    organization = writable_organization(settings)
    with opened(settings) as instance:
        hold = instance.holds.create(organization, name=name, reason=reason, class_=class_, by=credential())
    if wants_json(json):
        print_json(_public(hold))
    else:
        line(f"{hold.id} keeps {hold.class_} of {organization}.")


def list_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """List the holds of an organization; released ones too."""
    settings = common.settings()
    organization = writable_organization(settings)
    with opened(settings) as instance:
        holds = [_public(hold) for hold in instance.holds.list(organization)]
    if wants_json(json):
        for hold in holds:
            print_json(hold)
        return
    columns = ("id", "name", "class", "reason", "created_at", "created_by", "state")
    print_table(
        [column.replace("_", " ").capitalize() for column in columns],
        [[hold.get(column) for column in columns] for hold in holds],
        empty="No holds.",
    )


def release_command(
    id: Annotated[str, Parameter(help="Id of the hold, hold_...")],
    /,
    *,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """End a hold. What is past its policy expires with the next run."""
    settings = common.settings()
    organization = writable_organization(settings)
    with opened(settings) as instance:
        hold = instance.holds.release(organization, id, credential())
    if wants_json(json):
        print_json(_public(hold))
    else:
        line(f"{hold.id} is released.")


def _public(hold: Hold) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": hold.id,
        "organization": hold.organization,
        "name": hold.name,
        "reason": hold.reason,
        "class": hold.class_,
        "created_at": format_time(hold.created_at),
        "created_by": hold.created_by,
        "state": "in force" if hold.released_at is None else "released",
    }
    if hold.released_at is not None:
        shown["released_at"] = format_time(hold.released_at)
    return shown
