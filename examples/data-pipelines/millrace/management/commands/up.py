"""``manage.py up``: everything at once: the tables, the two teams of the example, and the server."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Makes the database, fills it, and serves it."""

    help = __doc__
    requires_system_checks: ClassVar[list[str]] = []  # runserver makes them

    def add_arguments(self, parser: CommandParser) -> None:
        """The same address as ``runserver``."""
        parser.add_argument("address", nargs="?", default="127.0.0.1:8000")

    def handle(self, *_words: Any, address: str, **_options: Any) -> None:
        """Migrate, seed, serve."""
        call_command("migrate", verbosity=0)
        call_command("seed")
        call_command("runserver", address, use_reloader=False)
