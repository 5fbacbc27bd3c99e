"""Views that change something; one of them forgot its block."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views import View

from affidavit import system
from affidavit.django import audit

ME = system("views")


def forgot(_request: HttpRequest) -> HttpResponse:
    """Records outside of a block."""
    audit.record("group.create", actor=ME)
    return HttpResponse()


def deny(_request: HttpRequest) -> HttpResponse:
    """Refuses."""
    audit.denied("group.delete", actor=ME, reason="not an owner")
    return HttpResponse(status=403)


async def deny_awaited(_request: HttpRequest) -> HttpResponse:
    """The same."""
    await audit.aio.denied("group.delete", actor=ME, reason="not an owner")
    return HttpResponse(status=403)


class Groups(View):  # type: ignore[misc]
    """One that is read and changed."""

    def get(self, _request: HttpRequest, name: str) -> HttpResponse:
        """Changes nothing."""
        return HttpResponse(name)

    def post(self, _request: HttpRequest, name: str) -> HttpResponse:
        """Makes a group, and says so."""
        with transaction.atomic():
            group = Group.objects.create(name=name)
            audit.record("group.create", resource=group, actor=ME)
        return HttpResponse(status=201)

    def delete(self, _request: HttpRequest, name: str) -> HttpResponse:
        """Takes it away, and says nothing."""
        Group.objects.filter(name=name).delete()
        return HttpResponse(status=204)


inner: list[Any] = [path("<slug:name>/", Groups.as_view())]
urlpatterns = [
    path("forgot/", forgot),
    path("deny/", deny),
    path("deny-awaited/", deny_awaited),
    path("groups/", include(inner)),
]
