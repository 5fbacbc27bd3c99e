"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["AffidavitConfig"]


class AffidavitConfig(AppConfig):  # type: ignore[misc]
    """Tables of its own, without models: they are append-only and written by the recorder alone."""

    name = "affidavit.django"
    label = "affidavit"
    verbose_name = "Audit log"
