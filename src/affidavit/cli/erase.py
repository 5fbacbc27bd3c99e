"""``affidavit erase``: take the personal data of a subject out of the log, provably."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from affidavit.cli.instance import credential, opened, writable_organization
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, note, print_json, wants_json
from affidavit.cli.task import finish_task
from affidavit.errors import NotFound

__all__ = ["command"]


def command(
    *,
    subject: Annotated[str, Parameter(help="Id, name, e-mail or address of the person.")],
    basis: Annotated[
        str,
        Parameter(
            help="Why, such as the number of the request; is recorded, so it must not name the person."
        ),
    ],
    include_substrings: Annotated[
        bool,
        Parameter(
            negative=(), help="Erase groups too in which the text merely occurs; look at a dry run first."
        ),
    ] = False,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Count and show examples; change and record nothing.")
    ] = False,
    wait: Annotated[
        bool, Parameter(help="Return when it is completed; --no-wait leaves it to the worker.")
    ] = True,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Erase the personal data of a subject in one organization.

    Values go from the events and from every copy that the program keeps; all proofs stay valid, and a signed
    manifest says what is missing. Completed means that every place was searched.
    """
    settings = common.settings()
    organization = writable_organization(settings)
    with opened(settings) as instance:
        if not instance.organizations.exists(organization):
            raise NotFound(f"There is no organization {organization!r}.")
        task = instance.erasures.request(
            organization,
            subject=subject,
            basis=basis,
            include_substrings=include_substrings,
            dry_run=dry_run,
            by=credential(),
        )
        outcome = finish_task(instance, task.id, wait=wait)
    if wants_json(json):
        print_json({"task": task.id, **outcome})
        return
    _print(task.id, outcome)


def _print(task_id: str, outcome: Mapping[str, Any]) -> None:
    if "events" not in outcome:
        line(f"{task_id} is left to the worker.")
        return
    dry_run = "dry_run" in outcome
    line(f"{outcome['events']} events {'hold' if dry_run else 'lost'} the subject's data.")
    for title, counts in (("Groups", "groups"), ("Hits", "hits")):
        if outcome[counts]:
            line(f"{title}: {_counted(outcome[counts])}")
    if dry_run:
        for sort, ids in outcome["examples"].items():
            if ids:
                line(f"Examples ({sort}): {', '.join(ids)}")
    if outcome["unconfirmed"]:
        note(
            f"The text also occurs in {_counted(outcome['unconfirmed'])};"
            " --include-substrings erases these too."
        )
    if outcome["clear"]:
        note(f"It stands in fields that cannot be erased: {_counted(outcome['clear'])}.")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
