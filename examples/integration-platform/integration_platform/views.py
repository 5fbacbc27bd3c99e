"""From a template to an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from starlette.routing import Mount
from starlette.templating import Jinja2Templates

from integration_platform import db
from integration_platform.access import Caller
from integration_platform.connectors import CONNECTORS
from integration_platform.models import Team

__all__ = ["STATIC", "problem", "shown"]

_HERE = Path(__file__).parent
STATIC = _HERE / "static"
_templates = Jinja2Templates(_HERE / "templates")


def shown(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, with what stands around each of them."""
    who: Caller | None = request.state.who
    with db.Session() as session:
        team = None if who is None else session.get(Team, who.team_id)
    around = {"who": who, "team": team, "connectors": CONNECTORS, "added": _added(request)}
    return _templates.TemplateResponse(request, f"{name}.html", around | values, status_code=status)


def problem(request: Request, status: int, message: str) -> HTMLResponse:
    """A page that says what went wrong."""
    return shown(request, "problem", status, message=message)


def _added(request: Request) -> list[Mount]:
    """The apps that are mounted under a name: admins find them in the menu."""
    mounts = (route for route in request.app.routes if isinstance(route, Mount))
    return [mount for mount in mounts if mount.name not in (None, "", "static")]
