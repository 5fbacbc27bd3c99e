"""Every address of the product."""

from __future__ import annotations

from millrace import api, team, web

urlpatterns = [*web.urlpatterns, *team.urlpatterns, *api.urlpatterns]
