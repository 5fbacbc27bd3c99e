"""Who calls, for which team, and whether they may."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from millrace import operations
from millrace.models import Member

View = Callable[..., HttpResponse]


def caller(request: HttpRequest) -> Member | None:
    """Who is signed in."""
    if not request.user.is_authenticated:
        return None
    if not hasattr(request, "member"):
        found = Member.objects.select_related("team", "role", "user")
        request.member = found.filter(user=request.user).first()
    return request.member


def team_of(request: HttpRequest) -> str:
    """Whose data a request is about."""
    found = getattr(request, "token", None) or caller(request)
    return found.team_id if found is not None else settings.OPERATOR


def of_team(get_response: View) -> View:
    """Middleware: each answer says whose data it is about, for the proxy's log."""

    def called(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers["X-Team"] = team_of(request)
        return response

    return called


def signed_in(view: View) -> View:
    """Only for members; ``view(request, member, ...)``."""

    @wraps(view)
    def called(request: HttpRequest, **named: Any) -> HttpResponse:
        member = caller(request)
        if member is None:
            return redirect_to_login(request.get_full_path())
        return view(request, member, **named)

    return called


def needs(permission: str) -> Callable[[View], View]:
    """Only for members whose role has a permission."""

    def around(view: View) -> View:
        @wraps(view)
        def called(request: HttpRequest, member: Member, **named: Any) -> HttpResponse:
            if not member.may(permission):
                operations.refuse(member, permission, f"{request.method} {request.path}")
                return render(request, "refused.html", {"permission": permission}, status=403)
            return view(request, member, **named)

        return signed_in(called)

    return around


def with_token(ability: str) -> Callable[[View], View]:
    """Only for API tokens with an ability; ``view(request, team, ...)``."""

    def around(view: View) -> View:
        @wraps(view)
        def called(request: HttpRequest, **named: Any) -> HttpResponse:
            text = request.headers.get("Authorization", "").removeprefix("Bearer ")
            token = operations.use_token(text)
            if token is None:
                return refusal(401, "This needs a bearer token that was not revoked.")
            request.token = token
            if ability not in token.abilities:
                return refusal(403, f"The token {token.name!r} lacks the ability {ability}.")
            return view(request, token.team, **named)

        return called

    return around


def refusal(status: int, detail: str) -> JsonResponse:
    """A problem document (RFC 9457)."""
    said = {"status": status, "detail": detail}
    return JsonResponse(said, status=status, content_type="application/problem+json")
