"""Views of all kinds, each of which records one event or none."""
# ruff: noqa: D103 - the names say it

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path, re_path

from affidavit.django import audit
from tests.recorder.django.project.models import Team


def rename(request: Any, name: str) -> HttpResponse:
    with transaction.atomic():
        team = Team.objects.create(name=name)
        audit.record("team.create", resource=team, reason=name)
    return HttpResponse(str(team.pk))


def fail(request: Any, name: str) -> HttpResponse:
    with transaction.atomic():
        rename(request, name)
        raise RuntimeError("after the event")


def plain(request: Any, name: str) -> HttpResponse:
    team = Team.objects.create(name=name)
    audit.record("team.create", resource=team, reason=name)
    return HttpResponse("")


def nothing(request: Any) -> HttpResponse:
    return HttpResponse("")


def refuse(request: Any, name: str) -> HttpResponse:
    audit.denied("team.delete", reason=name)
    return HttpResponse("", status=403)


async def refuse_async(request: Any, name: str) -> HttpResponse:
    await audit.aio.denied("team.delete", reason=name)
    return HttpResponse("", status=403)


async def refuse_known(request: Any, name: str) -> HttpResponse:
    await request.auser()
    await audit.aio.denied("team.delete", reason=name)
    return HttpResponse("", status=403)


async def rename_async(request: Any, name: str) -> HttpResponse:
    return await sync_to_async(rename)(request, name)


def sign_in(request: Any, name: str) -> HttpResponse:
    audit.record_now("auth.login.begun", reason=name)
    login(request, User.objects.get(username=name))
    audit.record_now("auth.login.succeeded", reason=name)
    return HttpResponse("")


def sign_out(request: Any, name: str) -> HttpResponse:
    logout(request)
    audit.record_now("auth.logout", reason=name)
    return HttpResponse("")


def plant(request: Any, plant_id: int) -> HttpResponse:
    audit.actor("t-7", type="api_token", name="deploys")
    return JsonResponse({"id": plant_id})


async def plant_async(request: Any, plant_id: int) -> HttpResponse:
    return JsonResponse({"user": (await request.auser()).pk})


def rerun(request: Any, plant_id: int, run_id: str) -> HttpResponse:
    return JsonResponse({"read": len(request.read())}, status=202)


def broken(request: Any, plant_id: int) -> HttpResponse:
    raise RuntimeError("in a view")


def pieces(request: Any, name: str) -> StreamingHttpResponse:
    def made() -> Iterator[bytes]:
        for number in range(2):
            audit.record_now("team.seen", reason=name, metadata={"piece": number})
            yield b"x"

    return StreamingHttpResponse(made())


async def pieces_async(request: Any, name: str) -> StreamingHttpResponse:
    await request.auser()

    async def made() -> AsyncIterator[bytes]:
        for number in range(2):
            await audit.aio.record_now("team.seen", reason=name, metadata={"piece": number})
            yield b"x"

    return StreamingHttpResponse(made())


urlpatterns = [
    path("rename/<name>", rename),
    path("fail/<name>", fail),
    path("plain/<name>", plain),
    path("nothing", nothing),
    path("refuse/<name>", refuse),
    path("refuse-async/<name>", refuse_async),
    path("refuse-known/<name>", refuse_known),
    path("rename-async/<name>", rename_async),
    path("sign-in/<name>", sign_in),
    path("sign-out/<name>", sign_out),
    path("v1/", include([path("plants/<int:plant_id>", plant), path("plants/new", nothing)])),
    path("v1/plants/<int:plant_id>/runs/<slug:run_id>", rerun),
    path("v1/async/plants/<int:plant_id>", plant_async),
    path("v1/broken/<int:plant_id>", broken),
    re_path(r"^v2/plants/(?P<plant_id>\d+)$", plant),
    path("pieces/<name>", pieces),
    path("pieces-async/<name>", pieces_async),
]
