"""The checks of the entry point on PostgreSQL in less time."""

from __future__ import annotations

from django.db import migrations

from affidavit.django.steps import Steps


class Migration(migrations.Migration):  # type: ignore[misc]
    """Each step has a transaction of its own."""

    atomic = False
    dependencies = [("affidavit", "0001_tables")]  # noqa: RUF012 - as Django has it
    operations = [Steps(sqlite=3, postgresql=8)]  # noqa: RUF012
