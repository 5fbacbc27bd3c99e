"""Everything that changes something, for the pages and the API alike; each in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from affidavit.django import audit
from django.conf import settings
from django.contrib.auth import authenticate, get_user_model, login, logout
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from millrace.models import ApiToken, Connection, Member, Pipeline, Role, Run, Team

audit.capture(Connection)

logger = logging.getLogger("millrace")


class Impossible(Exception):
    """What was asked for cannot be done; the message is for people."""


def sign_in(request: HttpRequest, email: str, password: str) -> bool:
    """Begin a session, where the password is the right one."""
    known = Member.objects.filter(user__email__iexact=email).first()
    team, key = (known.team_id, known.pk) if known is not None else (settings.OPERATOR, "unknown")
    user = authenticate(request, username=email, password=password)
    if user is None:
        why = "Nobody has this address" if known is None else "The password is wrong"
        logger.warning("User %s of %s cannot sign in: %s", key, team, why)
        audit.denied(
            "auth.login.failed",
            organization=team,
            resource=("user", key, email),
            reason=why,
            metadata={"method": "password"},
        )
        return False
    login(request, user)
    audit.record_now("auth.login.success", organization=team, metadata={"method": "password"})
    return True


def sign_out(request: HttpRequest) -> None:
    """End a session."""
    audit.record_now("auth.logout")
    logout(request)


def refuse(member: Member, permission: str, attempt: str) -> None:
    """Write down that somebody tried what their role does not permit."""
    why = f"The role {member.role.name} lacks {permission}"
    logger.warning("User %s tried %s: %s", member.pk, attempt, why)
    audit.denied(
        "security.access.denied",
        resource=("role", member.role_id, member.role.name),
        reason=why,
        metadata={"attempted": attempt, "missing": permission},
    )


def use_token(text: str) -> ApiToken | None:
    """The token that somebody calls with, unless there is none or it was revoked."""
    token = (
        ApiToken.objects.select_related("team").filter(digest=ApiToken.digest_of(text), revoked=False).first()
    )
    if token is not None:
        audit.actor(token.pk, type="api_token", name=token.name, source="api")
        ApiToken.objects.filter(pk=token.pk).update(last_used=timezone.now())
    return token


@transaction.atomic
def change_team(team: Team, **values: str) -> dict[str, tuple[str, str]]:
    """Change settings of a team; which ones were others before, with their old and new values."""
    changed = {name: (getattr(team, name), new) for name, new in values.items() if getattr(team, name) != new}
    for name, new in values.items():
        setattr(team, name, new)
    team.save()
    audit.record("team.update", resource=("team", team.pk, team.name), changes=changed)
    return changed


@transaction.atomic
def create_user(team: Team, name: str, email: str, password: str, role: Role) -> Member:
    """Add somebody to a team."""
    users = get_user_model().objects
    if users.filter(username=email).exists():
        raise Impossible(f"{email} has an account already.")
    user = users.create_user(email, email, password, first_name=name)
    member = Member.objects.create(user=user, team=team, role=role)
    audit.record(
        "user.create", resource=("user", member.pk, email), metadata={"name": name, "role": role.name}
    )
    return member


@transaction.atomic
def give_role(member: Member, role: Role) -> str:
    """Give somebody another role; the name of the one that they had."""
    had = member.role.name
    member.role = role
    member.save()
    audit.record(
        "user.role.assign",
        resource=("user", member.pk, member.email),
        changes={"role": (had, role.name)},
    )
    return had


@transaction.atomic
def permit(role: Role, permissions: Sequence[str]) -> dict[str, list[str]]:
    """Say what a role may do; what it may now and could not before, and the other way round."""
    could = role.permissions
    diff = {"added": sorted({*permissions} - {*could}), "removed": sorted({*could} - {*permissions})}
    role.permissions = list(permissions)
    role.save()
    audit.record(
        "role.permission.update",
        resource=("role", role.pk, role.name),
        changes={"permissions": (could, role.permissions)},
        metadata={"diff": diff},
    )
    return diff


@transaction.atomic
def create_token(team: Team, name: str, abilities: Sequence[str]) -> str:
    """Make an API token; its text is returned, and kept nowhere."""
    token, text = ApiToken.of(team, name, list(abilities))
    token.save()
    audit.record(
        "api_token.create",
        resource=("api_token", token.pk, name),
        metadata={"token_name": name, "abilities": token.abilities},
    )
    return text


@transaction.atomic
def revoke_token(token: ApiToken) -> None:
    """Let a token open nothing any more."""
    token.revoked = True
    token.save()
    audit.record("api_token.delete", resource=("api_token", token.pk, token.name))


@transaction.atomic
def switch(pipeline: Pipeline, enabled: bool) -> None:
    """Switch a pipeline on or off."""
    pipeline.enabled = enabled
    pipeline.save()
    audit.record(
        "pipeline.status.change",
        resource=("pipeline", pipeline.slug, pipeline.name),
        changes={"enabled": (not enabled, enabled)},
        metadata={"status": "enabled" if enabled else "disabled"},
    )


@transaction.atomic
def trigger(pipeline: Pipeline, how: str) -> Run:
    """Run a pipeline; what it moves is as real as the product.

    Raises:
        Impossible: it is switched off.
    """
    if not pipeline.enabled:
        raise Impossible(f"{pipeline.name} is switched off.")
    run = Run.objects.create(pipeline=pipeline, trigger=how, rows=1_000 + 37 * pipeline.runs.count())
    audit.record(
        "pipeline.run.trigger",
        resources=[("pipeline", pipeline.slug, pipeline.name), ("run", run.pk)],
        metadata={"trigger": how, "run_id": str(run.pk)},
    )
    return run


def trigger_all(pipelines: Sequence[Pipeline], how: str) -> list[Run]:
    """Run several pipelines, or none of them.

    Raises:
        Impossible: one is switched off.
    """
    try:
        with transaction.atomic():
            return [trigger(pipeline, how) for pipeline in pipelines]
    except Impossible as error:
        logger.warning("Several pipelines were not run: %s", error)
        audit.denied("pipeline.run.bulk.trigger", reason=str(error), metadata={"count": len(pipelines)})
        raise


@transaction.atomic
def rerun(run: Run, how: str) -> Run:
    """Do a run again."""
    again = Run.objects.create(pipeline=run.pipeline, trigger=how, rows=run.rows)
    audit.record(
        "pipeline.run.rerun",
        resources=[("pipeline", run.pipeline.slug, run.pipeline.name), ("run", again.pk)],
        metadata={"mode": "all", "run_id": str(run.pk)},
    )
    return again


@transaction.atomic
def write_note(run: Run, note: str) -> str:
    """Write down what people should know of a run; what became of the note."""
    edit = "edited" if run.note else "added"
    run.note = note
    run.save()
    audit.record(
        "pipeline.run.note.update",
        resource=("run", run.pk),
        metadata={"run_id": str(run.pk), "edit": edit, "note": note},
    )
    return edit


@transaction.atomic
def connect(connection: Connection) -> None:
    """Add a connection."""
    connection.save()


@transaction.atomic
def rotate(connection: Connection, secret: str) -> None:
    """Give a connection another secret."""
    connection.secret = secret
    connection.save()


@transaction.atomic
def disconnect(connection: Connection) -> None:
    """Delete a connection.

    Raises:
        ProtectedError: a pipeline uses it.
    """
    connection.delete()
