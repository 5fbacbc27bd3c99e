"""Customers with tags, watched by the recorder that the setting ``RECORDER`` names."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

_RECORDER = settings.RECORDER
_SQLITE = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")


class Tag(models.Model):  # type: ignore[misc]
    name = models.CharField(max_length=50)

    class Meta:  # noqa: D106 - as Django has it
        app_label = "recorders_shop"
        db_table = "tags"


def _watched(cls: Any) -> Any:
    """The class decorator of what has one."""
    if _RECORDER != "pghistory":
        return cls
    import pghistory  # type: ignore[import-not-found]

    every = (pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
    return pghistory.track(*every)(cls)


@_watched
class Customer(models.Model):  # type: ignore[misc]
    name = models.CharField(max_length=100)
    email = models.CharField(max_length=200)
    plan = models.CharField(max_length=20, default="free")
    seats = models.IntegerField(default=4)
    active = models.BooleanField(default=True)
    notes = models.TextField(default="")
    changed_at = models.DateTimeField(auto_now=True)
    tags = models.ManyToManyField(Tag)
    if _RECORDER == "simple_history":
        from simple_history.models import HistoricalRecords  # type: ignore[import-not-found]

        history = HistoricalRecords(m2m_fields=[tags])

    class Meta:  # noqa: D106 - as Django has it
        app_label = "recorders_shop"
        db_table = "customers"


if _RECORDER == "pghistory":
    import pghistory

    _Between: Any = Customer.tags.through

    @pghistory.track(pghistory.InsertEvent("tag.add"), pghistory.DeleteEvent("tag.remove"), obj_field=None)
    class CustomerTag(_Between):  # type: ignore[misc]
        class Meta:  # noqa: D106 - as Django has it
            app_label = "recorders_shop"
            proxy = True


class Event(models.Model):  # type: ignore[misc]
    """The event table, as a person would map it to write it by hand."""

    id = models.BinaryField(primary_key=True) if _SQLITE else models.UUIDField(primary_key=True)
    version = models.IntegerField()
    organization = models.TextField()
    project = models.TextField(null=True)
    action = models.TextField()
    outcome = models.TextField()
    severity = models.TextField()
    source = models.TextField()
    imported = models.IntegerField() if _SQLITE else models.BooleanField()
    parent_id = models.BinaryField(null=True) if _SQLITE else models.UUIDField(null=True)
    facts = models.TextField(null=True)
    actor_id = models.TextField(null=True)
    actor = models.TextField(null=True)
    resources = models.TextField(null=True)
    context = models.TextField(null=True)
    changes = models.TextField(null=True)
    details = models.TextField(null=True)
    secret = models.BinaryField(null=True)
    remains = models.TextField(null=True)
    recorded_at = models.BigIntegerField()

    class Meta:  # noqa: D106 - as Django has it
        app_label = "recorders_shop"
        db_table = "affidavit_events"
        managed = False
