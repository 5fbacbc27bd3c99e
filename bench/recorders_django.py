"""Django: the same change under each recorder, in a process of its own with settings of its own."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

from bench.recorders_by_hand import ACTION, COLUMNS, values
from bench.recorders_plain import CHANGES, CUSTOMERS, HUNDRED, NAME

__all__ = ["OnDjango"]

_APPS: Final = {
    "ours": ["affidavit.django"],
    "capture": ["affidavit.django"],
    "triggers": ["affidavit.django"],
    "auditlog": ["auditlog"],
    "simple_history": ["simple_history"],
    "pghistory": ["pgtrigger", "pghistory"],
}
_MIDDLEWARE: Final = {
    "ours": "affidavit.django.AuditMiddleware",
    "capture": "affidavit.django.AuditMiddleware",
    "triggers": "affidavit.django.AuditMiddleware",
    "auditlog": "auditlog.middleware.AuditlogMiddleware",
    "simple_history": "simple_history.middleware.HistoryRequestMiddleware",
    "pghistory": "pghistory.middleware.HistoryMiddleware",
}
_TABLES: Final = {
    "auditlog": ("auditlog_logentry",),
    "simple_history": ("recorders_shop_historicalcustomer",),
    "pghistory": ("recorders_shop_customerevent", "recorders_shop_customertagevent"),
}
_PACKAGES: Final = {
    "auditlog": "django-auditlog",
    "easyaudit": "django-easy-audit",
    "simple_history": "django-simple-history",
    "pghistory": "django-pghistory",
}
_SETUP: Final = {
    "ours": "`audit.record(...)` in the atomic block of each change",
    "capture": "`audit.capture(Customer)`",
    "triggers": "`audit.carry(connection)` in each block, the SQL of `trigger_sql(connection, table)` for"
    " both tables",
    "auditlog": '`auditlog.register(Customer, m2m_fields={"tags"})`',
    "simple_history": "`HistoricalRecords(m2m_fields=[tags])`",
    "pghistory": "`@pghistory.track(InsertEvent(), UpdateEvent(), DeleteEvent())` (the default is without"
    " `DeleteEvent`), and for the tags a tracked proxy of the table between",
}


class OnDjango:
    """A project with one recorder.

    Args:
        side: ``bare``, ``hand``, ``ours``, ``capture``, ``triggers``, or a peer.
        engine: ``sqlite`` or ``postgresql``.
        url: of an empty database; one with our tables where the side is ``bare`` or ``hand``.
    """

    def __init__(self, side: str, engine: str, url: str) -> None:
        self.side = side
        self.name = engine
        self.url = url
        self.tables = _TABLES.get(side, ("affidavit_events",))
        self.setup = _SETUP.get(side, "")
        self.versions = {"Django": version("django")}
        if side in _PACKAGES:
            self.versions[_PACKAGES[side]] = version(_PACKAGES[side])
        self.models: Any = None
        self._folder = TemporaryDirectory(prefix="bench-migrations-")

    def open(self) -> None:
        """Start the project and make its tables, then let the recorder watch."""
        import django
        from django.conf import settings
        from django.core.management import call_command

        home = Path(self._folder.name) / "recorders_migrations"
        home.mkdir()
        (home / "__init__.py").touch()
        sys.path.append(self._folder.name)
        settings.configure(**self._settings())
        django.setup()
        # As in a project: what a recorder adds to the models, triggers too, comes from its migrations.
        call_command("makemigrations", "recorders_shop", verbosity=0, interactive=False)
        call_command("migrate", verbosity=0, interactive=False)
        from bench.recorders_shop import models

        self.models = models
        models.Customer.objects.bulk_create(
            models.Customer(name=NAME, email=f"office{n}@example.com", notes="since 1842")
            for n in range(CUSTOMERS)
        )
        models.Tag.objects.bulk_create(models.Tag(name=name) for name in ("a", "b", "c"))
        self._watch()

    def _settings(self) -> dict[str, Any]:
        apps = _APPS.get(self.side, [])
        middleware = [_MIDDLEWARE[self.side]] if self.side in _MIDDLEWARE else []
        extra: dict[str, Any] = {}
        if self.side == "easyaudit":
            from bench import recorders_easyaudit as easy

            self.tables, self.setup = easy.TABLES, easy.SETUP
            extra = dict(easy.SETTINGS)
            apps, middleware = extra.pop("INSTALLED_APPS"), extra.pop("MIDDLEWARE")
        if self.side in ("ours", "capture", "triggers"):
            extra["AFFIDAVIT"] = {"organization": "acme"}
        return {
            "RECORDER": self.side,
            "SECRET_KEY": "of a bench",
            "USE_TZ": True,
            "DATABASES": {"default": self._database()},
            "MIGRATION_MODULES": {"recorders_shop": "recorders_migrations"},
            "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
            "INSTALLED_APPS": [
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "django.contrib.sessions",
                *apps,
                "bench.recorders_shop",
            ],
            "MIDDLEWARE": [
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                *middleware,
            ],
            **extra,
        }

    def _database(self) -> dict[str, Any]:
        if self.name == "sqlite":
            return {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": self.url.removeprefix("sqlite:///"),
                "CONN_MAX_AGE": None,
                "OPTIONS": {
                    "timeout": 30,
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL",
                },
            }
        parts = urlsplit(self.url)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path[1:],
            "USER": parts.username,
            "HOST": parts.hostname,
            "PORT": str(parts.port),
            "CONN_MAX_AGE": None,
        }

    def _watch(self) -> None:
        customer = self.models.Customer
        if self.side == "auditlog":
            from auditlog.registry import auditlog  # type: ignore[import-not-found]

            auditlog.register(customer, m2m_fields={"tags"})
        if self.side in ("ours", "capture", "triggers"):
            from affidavit.django import audit

            self.audit: Any = audit
            audit.register(customer, type="customer", name="name")
            if self.side == "capture":
                audit.capture(customer)
            if self.side == "triggers":
                self._install()

    def _install(self) -> None:
        from django.db import connection, transaction

        from affidavit.recorder.capture.triggers import trigger_sql

        between = self.models.Customer.tags.through._meta.db_table
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(trigger_sql(connection, "customers", type="customer", name="name"))
            cursor.execute(trigger_sql(connection, between))

    def begun(self) -> None:
        """A block has begun: tell our triggers who acts."""
        if self.side == "triggers":
            from django.db import connection

            self.audit.carry(connection)

    def _save(self, customer: Any) -> None:
        """Change a customer, and record it where this is done by hand or by us."""
        before = customer.plan, customer.seats
        customer.plan = "pro" if customer.plan == "free" else "free"
        customer.seats += 1
        customer.save()
        if self.side not in ("hand", "ours"):
            return
        changes = {"plan": (before[0], customer.plan), "seats": (before[1], customer.seats)}
        if self.side == "hand":
            self.models.Event.objects.create(**self._row(customer.pk, customer.name, changes))
        else:
            self.audit.record(ACTION, resource=customer, changes=changes)

    def _row(self, key: int, name: str, changes: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
        return dict(zip(COLUMNS, values(self.name, key, name, changes), strict=True))

    def one(self, times: int) -> None:
        """An object changed, and its event."""
        from django.db import transaction

        for number in range(1, times + 1):
            with transaction.atomic():
                self.begun()
                self._save(self.models.Customer.objects.get(pk=number))

    def saves(self, times: int) -> None:
        """A hundred objects changed in a transaction, each with its event."""
        from django.db import transaction

        for number in range(times):
            with transaction.atomic():
                self.begun()
                first = number * HUNDRED % CUSTOMERS
                for customer in self.models.Customer.objects.filter(pk__gt=first, pk__lte=first + HUNDRED):
                    self._save(customer)

    def hundred(self, times: int) -> None:
        """A change and a hundred events, one after the other."""
        from django.db import transaction

        for number in range(1, times + 1):
            with transaction.atomic():
                self.models.Customer.objects.filter(pk=number).update(seats=9)
                for key in range(1, HUNDRED + 1):
                    if self.side == "ours":
                        self.audit.record(ACTION, resource=("customer", key, NAME), changes=CHANGES)
                    else:
                        self.models.Event.objects.create(**self._row(key, NAME, CHANGES))

    def together(self, times: int) -> None:
        """A change and a hundred events at once."""
        from django.db import transaction

        for number in range(1, times + 1):
            with transaction.atomic():
                self.models.Customer.objects.filter(pk=number).update(seats=9)
                keys = range(1, HUNDRED + 1)
                if self.side == "ours":
                    from bench.recorders_ours import fields_of

                    self.audit.record_many(ACTION, fields_of(keys, NAME, CHANGES))
                else:
                    self.models.Event.objects.bulk_create(
                        self.models.Event(**self._row(key, NAME, CHANGES)) for key in keys
                    )

    def operation(self, name: str) -> Any:
        """Do something of the table in the docs; how many rows it changed."""
        from bench.recorders_queries import OF_QUERYSETS

        return OF_QUERYSETS[name](self)

    def close(self) -> None:
        """Drop the migrations."""
        self._folder.cleanup()
