"""The JSON API, for programs with a bearer token."""

from __future__ import annotations

import json
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.views.decorators.csrf import csrf_exempt

from millrace import operations
from millrace.access import View, refusal, with_token
from millrace.models import Pipeline, Run, Team


def of_pipeline(pipeline: Pipeline) -> dict[str, Any]:
    """What programs see of a pipeline."""
    names = {"source": pipeline.source.name, "destination": pipeline.destination.name}
    return {"id": pipeline.slug, "name": pipeline.name, "enabled": pipeline.enabled, **names}


def of_run(run: Run) -> dict[str, Any]:
    """What programs see of a run."""
    at = run.started_at.isoformat()
    return {"id": run.pk, "pipeline": run.pipeline.slug, "status": run.status, "rows": run.rows, "at": at}


@with_token("pipelines:read")
def get_pipelines(request: HttpRequest, team: Team) -> HttpResponse:
    """All pipelines of the team; ``?enabled=true`` those that are switched on."""
    found = team.pipelines.select_related("source", "destination")
    if (enabled := request.GET.get("enabled")) is not None:
        found = found.filter(enabled=enabled == "true")
    return JsonResponse({"pipelines": [of_pipeline(each) for each in found]})


@with_token("pipelines:read")
def get_pipeline(_request: HttpRequest, team: Team, pipeline: str) -> HttpResponse:
    """One pipeline."""
    return JsonResponse(of_pipeline(_pipeline(team, pipeline)))


@with_token("pipelines:read")
def get_pipeline_runs(request: HttpRequest, team: Team, pipeline: str) -> HttpResponse:
    """The newest runs of a pipeline; ``?status=`` those that ended in this way."""
    found = _pipeline(team, pipeline).runs.select_related("pipeline")
    if status := request.GET.get("status"):
        found = found.filter(status=status)
    return JsonResponse({"runs": [of_run(each) for each in found[:100]]})


@with_token("pipelines:run")
def trigger_pipeline_run(_request: HttpRequest, team: Team, pipeline: str) -> HttpResponse:
    """Run a pipeline."""
    return JsonResponse(of_run(operations.trigger(_pipeline(team, pipeline), "api")), status=201)


@with_token("pipelines:manage")
def enable_pipeline(_request: HttpRequest, team: Team, pipeline: str) -> HttpResponse:
    """Switch a pipeline on."""
    return _switched(_pipeline(team, pipeline), enabled=True)


@with_token("pipelines:manage")
def disable_pipeline(_request: HttpRequest, team: Team, pipeline: str) -> HttpResponse:
    """Switch a pipeline off."""
    return _switched(_pipeline(team, pipeline), enabled=False)


@with_token("pipelines:read")
def get_pipeline_run(_request: HttpRequest, team: Team, run: int) -> HttpResponse:
    """One run."""
    return JsonResponse(of_run(_run(team, run)))


@with_token("pipelines:run")
def rerun_pipeline_run(_request: HttpRequest, team: Team, run: int) -> HttpResponse:
    """Do a run again."""
    return JsonResponse(of_run(operations.rerun(_run(team, run), "api")), status=201)


@with_token("pipelines:run")
def update_run_note(request: HttpRequest, team: Team, run: int) -> HttpResponse:
    """Write a note: ``{"note": "..."}``."""
    try:
        note = json.loads(request.body)["note"]
    except (ValueError, KeyError, TypeError):
        note = None
    if not isinstance(note, str) or not 0 < len(note) <= 200:
        return refusal(422, "The body must be {'note': '...'} with 1 to 200 characters.")
    return JsonResponse({"note": operations.write_note(_run(team, run), note)})


@with_token("connections:read")
def get_connections(_request: HttpRequest, team: Team) -> HttpResponse:
    """All connections, without what opens them."""
    found = [{"name": each.name, "kind": each.kind, "host": each.host} for each in team.connections.all()]
    return JsonResponse({"connections": found})


def _pipeline(team: Team, slug: str) -> Pipeline:
    return get_object_or_404(team.pipelines.select_related("source", "destination"), slug=slug)


def _run(team: Team, key: int) -> Run:
    return get_object_or_404(Run.objects.select_related("pipeline"), pipeline__team=team, pk=key)


def _switched(pipeline: Pipeline, *, enabled: bool) -> HttpResponse:
    if pipeline.enabled != enabled:
        operations.switch(pipeline, enabled)
    return JsonResponse(of_pipeline(pipeline))


def index(_request: HttpRequest) -> HttpResponse:
    """Every route and the name of what it does."""
    return JsonResponse(NAMES)


ROUTES: dict[str, View] = {
    "GET /api/v1/pipelines": get_pipelines,
    "GET /api/v1/pipelines/<slug:pipeline>": get_pipeline,
    "GET /api/v1/pipelines/<slug:pipeline>/runs": get_pipeline_runs,
    "POST /api/v1/pipelines/<slug:pipeline>/runs": trigger_pipeline_run,
    "POST /api/v1/pipelines/<slug:pipeline>/enable": enable_pipeline,
    "POST /api/v1/pipelines/<slug:pipeline>/disable": disable_pipeline,
    "GET /api/v1/runs/<int:run>": get_pipeline_run,
    "POST /api/v1/runs/<int:run>/rerun": rerun_pipeline_run,
    "PUT /api/v1/runs/<int:run>/note": update_run_note,
    "GET /api/v1/connections": get_connections,
}
NAMES = {route: f"api.request.{view.__name__}" for route, view in ROUTES.items()}


def _by_method(views: dict[str, View]) -> View:
    """One view for a path, that says in JSON what is wrong."""

    @csrf_exempt
    def called(request: HttpRequest, **named: Any) -> HttpResponse:
        view = views.get("GET" if request.method == "HEAD" else request.method or "")
        if view is None:
            return refusal(405, f"There is no {request.method} here.")
        try:
            return view(request, **named)
        except Http404:
            return refusal(404, "The team has no such thing.")
        except operations.Impossible as error:
            return refusal(409, str(error))

    return called


def _paths() -> list[URLPattern]:
    views: dict[str, dict[str, View]] = {}
    for route, view in ROUTES.items():
        method, where = route.split(" /", 1)
        views.setdefault(where, {})[method] = view
    return [path(where, _by_method(each)) for where, each in views.items()]


urlpatterns = [path("api/v1/", index), *_paths()]
