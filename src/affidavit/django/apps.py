"""The Django app."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig, apps

__all__ = ["AffidavitConfig"]


class AffidavitConfig(AppConfig):  # type: ignore[misc]
    """Tables of its own, without models: they are append-only and written by the recorder alone."""

    name = "affidavit.django"
    label = "affidavit"
    verbose_name = "Audit log"

    def ready(self) -> None:
        """Hear who signs in and out, in a project that has users; capture what models have asked for."""
        from affidavit.django.capture.install import models_are_ready

        models_are_ready()
        if apps.is_installed("django.contrib.auth"):
            from affidavit.django.people import signed

            signals = import_module("django.contrib.auth.signals")
            signals.user_logged_in.connect(signed, dispatch_uid="affidavit")
            signals.user_logged_out.connect(signed, dispatch_uid="affidavit")
