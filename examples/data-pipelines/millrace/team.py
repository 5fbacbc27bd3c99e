"""Team Settings: one panel each for the team itself, its people, roles, tokens and so on."""

from __future__ import annotations

from typing import Any

from affidavit.django import Viewer, audit
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.views.decorators.http import require_POST

from millrace import forms, operations
from millrace.access import caller, needs, signed_in
from millrace.models import PERMISSIONS, Member


@signed_in
def general(request: HttpRequest, member: Member) -> HttpResponse:
    """The team itself."""
    team = member.team
    if request.method == "POST":
        return change_general(request)
    form = forms.General(initial={"name": team.name, "region": team.region})
    return render(request, "general.html", {"form": form})


@needs("team:manage")
def change_general(request: HttpRequest, member: Member) -> HttpResponse:
    """Give the team another name or region."""
    form = forms.General(request.POST)
    if not form.is_valid():
        return render(request, "general.html", {"form": form}, status=422)
    changed = operations.change_team(member.team, **form.cleaned_data)
    messages.success(request, f"Changed: {' and '.join(changed)}." if changed else "Nothing was changed.")
    return redirect("General")


@signed_in
def members(request: HttpRequest, member: Member) -> HttpResponse:
    """The people of the team."""
    if request.method == "POST":
        return add_user(request)
    return _members(request, member, forms.NewUser(team=member.team))


def _members(request: HttpRequest, member: Member, form: forms.NewUser, status: int = 200) -> HttpResponse:
    people = member.team.members.select_related("user", "role")
    shown = {"people": people, "roles": member.team.roles.all(), "form": form}
    return render(request, "members.html", shown, status=status)


@needs("members:manage")
def add_user(request: HttpRequest, member: Member) -> HttpResponse:
    """Add somebody."""
    form = forms.NewUser(request.POST, team=member.team)
    if not form.is_valid():
        return _members(request, member, form, 422)
    try:
        added = operations.create_user(member.team, **form.cleaned_data)
    except operations.Impossible as error:
        form.add_error("email", str(error))
        return _members(request, member, form, 422)
    messages.success(request, f"{added.name} can sign in now.")
    return redirect("Members")


@require_POST
@needs("members:manage")
def give_role(request: HttpRequest, member: Member, key: int) -> HttpResponse:
    """Give somebody another role."""
    whom = get_object_or_404(member.team.members.select_related("user", "role"), pk=key)
    form = forms.GivenRole(request.POST, team=member.team)
    if form.is_valid() and form.cleaned_data["role"] != whom.role:
        had = operations.give_role(whom, form.cleaned_data["role"])
        messages.success(request, f"{whom.name} was {had} and is {whom.role.name} now.")
    return redirect("Members")


@signed_in
def roles(request: HttpRequest, member: Member) -> HttpResponse:
    """The roles of the team, and what they may do."""
    found = member.team.roles.prefetch_related("members")
    return render(request, "roles.html", {"roles": found, "permissions": PERMISSIONS})


@require_POST
@needs("roles:manage")
def permit(request: HttpRequest, member: Member, key: int) -> HttpResponse:
    """Say what a role may do."""
    role = get_object_or_404(member.team.roles, pk=key)
    form = forms.Permitted(request.POST)
    if form.is_valid() and set(form.cleaned_data["permissions"]) != set(role.permissions):
        diff = operations.permit(role, form.cleaned_data["permissions"])
        said = [f"{how} {', '.join(names)}" for how, names in diff.items() if names]
        messages.success(request, f"{role.name}: {'; '.join(said)}.")
    return redirect("Roles")


@needs("tokens:manage")
def tokens(request: HttpRequest, member: Member) -> HttpResponse:
    """The API tokens of the team; a new one is shown once."""
    form = forms.NewToken(request.POST or None)
    made = None
    if form.is_valid():
        made = operations.create_token(member.team, **form.cleaned_data)
        form = forms.NewToken()
    return render(request, "tokens.html", {"tokens": member.team.tokens.all(), "form": form, "made": made})


@require_POST
@needs("tokens:manage")
def revoke(request: HttpRequest, member: Member, key: int) -> HttpResponse:
    """Let a token open nothing any more."""
    token = get_object_or_404(member.team.tokens, pk=key, revoked=False)
    operations.revoke_token(token)
    messages.success(request, f"{token.name} opens nothing any more.")
    return redirect("API tokens")


def _reader(request: HttpRequest) -> Viewer | None:
    return (me := caller(request)) and Viewer(me.pk, name=me.name, role=me.rank, organizations=[me.team_id])


PANELS = [
    ("General", "", "", general),
    ("Members", "members/", "", members),
    ("Roles", "roles/", "", roles),
    ("API tokens", "tokens/", "tokens:manage", tokens),
    ("Audit log", "audit/", "team:manage", audit.urls(authorize=_reader, login_url="sign-in")),
]
"""Title, address below ``/team/settings/``, the permission that it takes and view of each."""


def frame(request: HttpRequest) -> dict[str, Any]:
    """What every page shows around it: who is signed in, and which panels are theirs."""
    me = caller(request)
    panels = [panel[:2] for panel in PANELS if me and (not panel[2] or me.may(panel[2]))]
    return {"me": me, "panels": panels}


urlpatterns = [
    *(path(f"team/settings/{where}", view, name=title) for title, where, _need, view in PANELS),
    path("team/settings/members/<int:key>/role/", give_role, name="give-role"),
    path("team/settings/roles/<int:key>/", permit, name="permit"),
    path("team/settings/tokens/<int:key>/revoke/", revoke, name="revoke"),
]
