"""What the project stores."""

from __future__ import annotations

from django.db import models

from affidavit.django import audit


class Team(models.Model):  # type: ignore[misc]
    name = models.CharField(max_length=100)
    parent = models.ForeignKey("self", null=True, on_delete=models.CASCADE)
    plan = models.CharField(max_length=20, default="free")
    seen_at = models.DateTimeField(null=True)

    class Meta:  # noqa: D106 - as Django has it
        app_label = "project"


class Member(models.Model):  # type: ignore[misc]
    team = models.ForeignKey(Team, on_delete=models.CASCADE)
    pin = models.CharField(max_length=20)

    class Meta:  # noqa: D106
        app_label = "project"


class Tag(models.Model):  # type: ignore[misc]
    name = models.CharField(max_length=100)

    class Meta:  # noqa: D106
        app_label = "project"


class Plot(models.Model):  # type: ignore[misc]
    name = models.CharField(max_length=100)

    class Meta:  # noqa: D106
        app_label = "project"


class Kind(models.TextChoices):  # type: ignore[misc]
    HERB = "herb"
    WOOD = "wood"


class Plant(models.Model):  # type: ignore[misc]
    """The captured model."""

    name = models.CharField(max_length=100, unique=True)
    height = models.IntegerField(default=1)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.HERB)
    shed_code = models.CharField(max_length=20, null=True)
    notes = models.JSONField(null=True)
    photo = models.FileField(null=True)
    planted = models.DateField(null=True)
    seen_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(auto_now=True)
    plot = models.ForeignKey(Plot, null=True, on_delete=models.CASCADE)
    guard = models.ForeignKey(Tag, null=True, on_delete=models.SET_NULL, related_name="guarded")
    tags = models.ManyToManyField(Tag, related_name="plants")
    friends = models.ManyToManyField("self")

    class Meta:  # noqa: D106
        app_label = "project"


class Tree(Plant):
    """Over two tables."""

    rings = models.IntegerField(default=0)

    class Meta:  # noqa: D106
        app_label = "project"


class Herb(Plant):
    """A proxy."""

    class Meta:  # noqa: D106
        app_label = "project"
        proxy = True


class Stake(models.Model):  # type: ignore[misc]
    """Captured, with some actions only."""

    plant = models.ForeignKey(Plant, on_delete=models.CASCADE)
    size = models.IntegerField(default=1)

    class Meta:  # noqa: D106
        app_label = "project"


class Bed(models.Model):  # type: ignore[misc]
    """Captured below the class, while models are still being loaded."""

    name = models.CharField(max_length=100)
    plot = models.ForeignKey(Plot, null=True, on_delete=models.CASCADE)
    plants = models.ManyToManyField(Plant, through="Row")

    class Meta:  # noqa: D106
        app_label = "project"


audit.capture(Bed, exclude=["plot"])


class Row(models.Model):  # type: ignore[misc]
    """Between beds and plants, with a model of its own, which nobody captures."""

    bed = models.ForeignKey(Bed, on_delete=models.CASCADE)
    plant = models.ForeignKey(Plant, on_delete=models.CASCADE)
    depth = models.IntegerField(default=1)

    class Meta:  # noqa: D106
        app_label = "project"
