"""The pages: signing in, pipelines, connections. Team Settings stand in :mod:`millrace.team`."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.db.models import ProtectedError
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from millrace import forms, operations
from millrace.access import needs, signed_in
from millrace.models import Connection, Member, Run


def sign_in(request: HttpRequest) -> HttpResponse:
    """Begin a session."""
    form = forms.SignIn(request.POST or None)
    if form.is_valid():
        if operations.sign_in(request, **form.cleaned_data):
            wanted = request.GET.get("next", "/")
            return redirect(wanted if url_has_allowed_host_and_scheme(wanted, request.get_host()) else "/")
        form.add_error(None, "Address and password do not belong together.")
    return render(request, "sign_in.html", {"form": form}, status=422 if form.errors else 200)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    operations.sign_out(request)
    return redirect("sign-in")


@signed_in
def pipelines(request: HttpRequest, member: Member) -> HttpResponse:
    """All pipelines of the team."""
    found = member.team.pipelines.select_related("source", "destination")
    return render(request, "pipelines.html", {"pipelines": found})


@require_POST
@needs("pipelines:run")
def run_several(request: HttpRequest, member: Member) -> HttpResponse:
    """Run the pipelines that were ticked, or none of them."""
    wanted = member.team.pipelines.filter(slug__in=request.POST.getlist("pipeline"))
    try:
        runs = operations.trigger_all(list(wanted), "manual")
    except operations.Impossible as error:
        messages.error(request, f"Nothing was run. {error}")
    else:
        messages.success(request, f"{len(runs)} ran." if runs else "Tick the pipelines that are to run.")
    return redirect("pipelines")


@signed_in
def pipeline(request: HttpRequest, member: Member, slug: str) -> HttpResponse:
    """One pipeline with its runs."""
    one = get_object_or_404(member.team.pipelines.select_related("source", "destination"), slug=slug)
    return render(request, "pipeline.html", {"pipeline": one, "runs": one.runs.all()[:30]})


@require_POST
@needs("pipelines:run")
def trigger(request: HttpRequest, member: Member, slug: str) -> HttpResponse:
    """Run one."""
    one = get_object_or_404(member.team.pipelines, slug=slug)
    try:
        run = operations.trigger(one, "manual")
    except operations.Impossible as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Run {run.pk} moved {run.rows:,} rows.")
    return redirect("pipeline", slug=slug)


@require_POST
@needs("pipelines:manage")
def switch(request: HttpRequest, member: Member, slug: str) -> HttpResponse:
    """Switch one on or off."""
    one = get_object_or_404(member.team.pipelines, slug=slug)
    enabled = request.POST.get("enabled") == "yes"
    if one.enabled != enabled:
        operations.switch(one, enabled)
        messages.success(request, f"{one.name} is switched {'on' if enabled else 'off'}.")
    return redirect("pipeline", slug=slug)


@require_POST
@needs("pipelines:run")
def rerun(request: HttpRequest, member: Member, key: int) -> HttpResponse:
    """Do a run again."""
    run = get_object_or_404(Run.objects.select_related("pipeline"), pipeline__team=member.team, pk=key)
    again = operations.rerun(run, "manual")
    messages.success(request, f"Run {run.pk} was done again as {again.pk}.")
    return redirect("pipeline", slug=run.pipeline.slug)


@require_POST
@needs("pipelines:run")
def note(request: HttpRequest, member: Member, key: int) -> HttpResponse:
    """Write a note on a run."""
    run = get_object_or_404(Run.objects.select_related("pipeline"), pipeline__team=member.team, pk=key)
    form = forms.Note(request.POST)
    if form.is_valid() and form.cleaned_data["note"] != run.note:
        messages.success(request, f"The note was {operations.write_note(run, **form.cleaned_data)}.")
    return redirect("pipeline", slug=run.pipeline.slug)


@signed_in
def connections(request: HttpRequest, member: Member) -> HttpResponse:
    """The places that data comes from and goes to."""
    if request.method == "POST":
        return connect(request)
    return _connections(request, member, forms.NewConnection())


def _connections(
    request: HttpRequest, member: Member, form: forms.NewConnection, status: int = 200
) -> HttpResponse:
    shown = {"connections": member.team.connections.all(), "form": form}
    return render(request, "connections.html", shown, status=status)


@needs("connections:manage")
def connect(request: HttpRequest, member: Member) -> HttpResponse:
    """Add a connection."""
    form = forms.NewConnection(request.POST, instance=Connection(team=member.team))
    if not form.is_valid():
        return _connections(request, member, form, 422)
    operations.connect(form.save(commit=False))
    messages.success(request, f"{form.instance.name} is connected.")
    return redirect("connections")


@require_POST
@needs("connections:manage")
def rotate(request: HttpRequest, member: Member, key: int) -> HttpResponse:
    """Give a connection another secret."""
    found = get_object_or_404(member.team.connections, pk=key)
    form = forms.NewSecret(request.POST)
    if form.is_valid():
        operations.rotate(found, form.cleaned_data["secret"])
        messages.success(request, f"{found.name} has another secret now.")
    return redirect("connections")


@require_POST
@needs("connections:manage")
def disconnect(request: HttpRequest, member: Member, key: int) -> HttpResponse:
    """Delete a connection that no pipeline uses."""
    found = get_object_or_404(member.team.connections, pk=key)
    try:
        operations.disconnect(found)
    except ProtectedError:
        messages.error(request, f"{found.name} is in use.")
    else:
        messages.success(request, f"{found.name} was deleted.")
    return redirect("connections")


def style(_request: HttpRequest) -> FileResponse:
    """The one style sheet."""
    return FileResponse((settings.BASE / "millrace/static/millrace.css").open("rb"), content_type="text/css")


urlpatterns = [
    path("millrace.css", style, name="style"),
    path("login/", sign_in, name="sign-in"),
    path("logout/", sign_out, name="sign-out"),
    path("", pipelines, name="pipelines"),
    path("run/", run_several, name="run-several"),
    path("pipelines/<slug:slug>/", pipeline, name="pipeline"),
    path("pipelines/<slug:slug>/run/", trigger, name="trigger"),
    path("pipelines/<slug:slug>/switch/", switch, name="switch"),
    path("runs/<int:key>/again/", rerun, name="rerun"),
    path("runs/<int:key>/note/", note, name="note"),
    path("connections/", connections, name="connections"),
    path("connections/<int:key>/secret/", rotate, name="rotate"),
    path("connections/<int:key>/delete/", disconnect, name="disconnect"),
]
