"""``manage.py audit_retention``: the clean-up job, for cron."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from affidavit.django.settings import database_url, given, schema


class Command(BaseCommand):  # type: ignore[misc]
    """Runs ``affidavit retention run`` on the project's database, in a process of its own."""

    help = (
        "Let what is recorded expire by the policies of its organization: affidavit retention run. Rows are"
        " never just deleted: what is taken out stays explained in the log."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Of ``affidavit retention run``."""
        parser.add_argument("--organization", help="Of one organization only.")
        parser.add_argument("--dry-run", action="store_true", help="Only count what would be done.")
        parser.add_argument("--database", help="Alias of the database; by default AFFIDAVIT['using'].")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run it.

        Raises:
            CommandError: the server's packages are missing, or it failed; its own message is printed.
        """
        if find_spec("cyclopts") is None:
            raise CommandError("The command line is not installed: pip install 'affidavit[server]'")
        url = database_url(connections[options["database"] or given().get("using", "default")])
        if url is None:
            raise CommandError("A database in memory has no log that anything could expire from.")
        words = ["--dry-run"] if options["dry_run"] else []
        if options["organization"]:
            words += ["--organization", options["organization"]]
        done = subprocess.run(
            [sys.executable, "-m", "affidavit.cli", "retention", "run", *words],
            # In the environment, as everybody may read the arguments of a process.
            env={**os.environ, "AFFIDAVIT_DATABASE": url, "AFFIDAVIT_SCHEMA": schema()},
            capture_output=True,
            text=True,
            check=False,
        )
        self.stdout.write(done.stdout, ending="")
        self.stderr.write(done.stderr, ending="")
        if done.returncode:
            raise CommandError("affidavit retention run failed", returncode=done.returncode)
