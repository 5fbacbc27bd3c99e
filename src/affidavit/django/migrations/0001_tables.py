"""The tables of the first release."""

from __future__ import annotations

from django.db import migrations

from affidavit.django.steps import Steps


class Migration(migrations.Migration):  # type: ignore[misc]
    """Each step has a transaction of its own."""

    initial = True
    atomic = False
    operations = [Steps(sqlite=3, postgresql=7)]  # noqa: RUF012 - as Django has it
