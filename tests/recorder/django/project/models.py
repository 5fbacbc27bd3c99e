"""What the project stores."""

from __future__ import annotations

from django.db import models


class Team(models.Model):  # type: ignore[misc]
    name = models.CharField(max_length=100)
    parent = models.ForeignKey("self", null=True, on_delete=models.CASCADE)
    plan = models.CharField(max_length=20, default="free")

    class Meta:  # noqa: D106 - as Django has it
        app_label = "project"
