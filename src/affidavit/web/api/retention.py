"""``/api/v1/retention``: policies, and runs of expiry."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta
from starlette.responses import Response

from affidavit.access.abilities import RETENTION_MANAGE
from affidavit.core.retention import CLASS_RULE, MAX_DAYS
from affidavit.log.tasks import Task
from affidavit.storage.retention import Rules
from affidavit.web.places import API
from affidavit.web.routes import Asked, Call, Nothing, Operation, Shape, json_answer

__all__ = ["OPERATIONS"]

Days = Annotated[int, Meta(ge=1, le=MAX_DAYS)] | Literal["forever"]
_FOREVER: Literal["forever"] = "forever"


class ClassPolicy(Shape, rename={"class_": "class"}):
    """How long the groups of a class of events are kept."""

    class_: Annotated[str, Meta(description="Of events: an action, `prefix.*`, or `*`.")]
    days: Annotated[Days, Meta(description="Counted from `recorded_at`.")]


class PolicyTable(Shape):
    """The policies of an organization. Of the classes that fit an action the longest counts."""

    organization: str
    classes: list[ClassPolicy]


class NewPolicy(Asked):
    """A policy to set."""

    days: Annotated[Days, Meta(description="1 to 36,500 days from `recorded_at`, or `forever`.")]


class NewRun(Asked):
    """A run of expiry to order."""

    dry_run: Annotated[bool, Meta(description="Only count what would expire.")] = False


class ClassCounts(Shape, rename={"class_": "class"}):
    """How many events of a class are past their policy."""

    class_: str
    expired: Annotated[int, Meta(description="Whose groups go.")] = 0
    kept: Annotated[
        int, Meta(description="Left alone: held, edited by somebody, or without a place in the log.")
    ] = 0


class DryRun(Shape):
    """What a run would do now."""

    organization: str
    policy: Annotated[str, Meta(description="The table as text.")]
    classes: list[ClassCounts]


class RunAnswer(Shape):
    """A run of expiry, which the worker does."""

    id: str
    organization: str
    state: Annotated[Literal["waiting", "running", "done", "failed"], Meta(description="Of the task.")]
    classes: list[ClassCounts] | None = None
    stopped: Annotated[str, Meta(description="Why it ended early.")] | None = None
    error: str | None = None


async def list_policies(call: Call[Nothing]) -> Response:
    """The table of an organization."""
    organization = call.scope.organization
    return json_answer(
        _table(organization, await call.thread(lambda: call.instance.retention.rules(organization)))
    )


async def set_policy(call: Call[Nothing]) -> Response:
    """Set one class."""
    body: NewPolicy = call.body
    organization = call.scope.organization
    days = None if body.days == _FOREVER else int(body.days)
    rules = await call.thread(
        lambda: call.instance.retention.set(
            organization, call.path["class"], days, call.credential, address=call.address
        )
    )
    return json_answer(_table(organization, rules))


async def unset_policy(call: Call[Nothing]) -> Response:
    """Take one class away."""
    organization = call.scope.organization
    rules = await call.thread(
        lambda: call.instance.retention.unset(
            organization, call.path["class"], call.credential, address=call.address
        )
    )
    return json_answer(_table(organization, rules))


async def run(call: Call[Nothing]) -> Response:
    """Order a run, or count what it would do."""
    body: NewRun = call.body
    organization = call.scope.organization
    if body.dry_run:
        found = await call.thread(lambda: call.instance.retention_previews.expiry(organization))
        counts = [
            ClassCounts(class_=name, expired=count.expired, kept=count.held)
            for name, count in sorted(found.classes.items())
        ]
        return json_answer(DryRun(organization=organization, policy=found.policy, classes=counts))
    task = await call.thread(lambda: call.instance.expiry_orders.order(organization, call.credential))
    return json_answer(_run(task), 202)


async def look(call: Call[Nothing]) -> Response:
    """What has become of a run."""
    organization = call.scope.organization
    task = await call.thread(lambda: call.instance.expiry_orders.get(organization, call.path["id"]))
    return json_answer(_run(task))


def _table(organization: str, rules: Rules) -> PolicyTable:
    return PolicyTable(
        organization=organization,
        classes=[
            ClassPolicy(class_=name, days=_FOREVER if days is None else days) for name, days in rules.items()
        ],
    )


def _run(task: Task) -> RunAnswer:
    answer = RunAnswer(id=task.id, organization=task.organization, state=task.state)
    outcome: Any = task.outcome or {}
    if task.ended and "expired" in outcome:
        names = sorted({*outcome["expired"], *outcome["kept"]})
        answer.classes = [
            ClassCounts(
                class_=name, expired=outcome["expired"].get(name, 0), kept=outcome["kept"].get(name, 0)
            )
            for name in names
        ]
        answer.stopped = outcome.get("stopped")
    if task.state == "failed":
        answer.error = str(outcome.get("error"))
    return answer


_CLASS_PATH = f"{API}/retention/{{class}}"

OPERATIONS = [
    Operation(
        method="GET",
        path=f"{API}/retention",
        handler=list_policies,
        tag="retention",
        summary="List retention policies",
        description="What no class covers is kept for ever.",
        ability=RETENTION_MANAGE,
        scoped=True,
        answers={200: PolicyTable},
    ),
    Operation(
        method="POST",
        path=f"{API}/retention/run",
        handler=run,
        tag="retention",
        summary="Let values expire",
        description="Ordered from the worker; the answer names the run. With `dry_run` nothing is changed:"
        " 200 with the counts.",
        ability=RETENTION_MANAGE,
        scoped=True,
        body=NewRun,
        answers={202: RunAnswer, 200: DryRun},
    ),
    Operation(
        method="GET",
        path=f"{API}/retention/run/{{id}}",
        handler=look,
        tag="retention",
        summary="Look at a run of expiry",
        ability=RETENTION_MANAGE,
        scoped=True,
        answers={200: RunAnswer},
    ),
    Operation(
        method="PUT",
        path=_CLASS_PATH,
        handler=set_policy,
        tag="retention",
        summary="Set the policy of a class",
        description=f"The class {CLASS_RULE}. Answers the whole table.",
        ability=RETENTION_MANAGE,
        scoped=True,
        body=NewPolicy,
        answers={200: PolicyTable},
    ),
    Operation(
        method="DELETE",
        path=_CLASS_PATH,
        handler=unset_policy,
        tag="retention",
        summary="Take the policy of a class away",
        description="The next wider class decides from then on. Answers the whole table.",
        ability=RETENTION_MANAGE,
        scoped=True,
        answers={200: PolicyTable},
    ),
]
