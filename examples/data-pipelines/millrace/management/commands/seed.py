"""``manage.py seed``: two teams with people, pipelines and tokens, where there is none yet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from millrace.models import PERMISSIONS, ApiToken, Connection, Member, Pipeline, Role, Run, Team

PASSWORD = "over the weir"
"""Of everybody in the example."""

ROLES = {
    "Admin": list(PERMISSIONS),
    "Engineer": ["pipelines:run", "pipelines:manage", "connections:manage"],
    "Analyst": ["pipelines:run"],
}
PEOPLE = {
    "harbor": [
        ("Ines Duarte", "ines@harbor.example", "Admin"),
        ("Tomas Lind", "tomas@harbor.example", "Engineer"),
        ("Noor Haddad", "noor@harbor.example", "Analyst"),
    ],
    "lumen": [("Kofi Mensah", "kofi@lumen.example", "Admin")],
}
TEAMS = {"harbor": "Harbor Foods", "lumen": "Lumen Energy"}
CONNECTIONS = [
    ("orders", "postgres", "orders.internal:5432", "reader"),
    ("web events", "http", "events.internal", "collector"),
    ("warehouse", "snowflake", "acme.snowflakecomputing.example", "loader"),
    ("archive", "s3", "archive-bucket", "uploader"),
]
PIPELINES = [
    ("orders-to-warehouse", "Orders to warehouse", "orders", "warehouse", "every hour", True),
    ("clicks-to-warehouse", "Clicks to warehouse", "web events", "warehouse", "every 15 minutes", True),
    ("orders-archive", "Orders archive", "orders", "archive", "every night", False),
    ("clicks-archive", "Clicks archive", "web events", "archive", "every night", True),
]
EVERY = {
    "every 15 minutes": timedelta(minutes=15),
    "every hour": timedelta(hours=1),
    "every night": timedelta(days=1),
}


class Command(BaseCommand):
    """Fills an empty database."""

    help = __doc__
    requires_system_checks: ClassVar[list[str]] = []  # only models are loaded, not the product

    def handle(self, *_words: Any, **_options: Any) -> None:
        """Make what is missing and say how to sign in."""
        if not Team.objects.exists():
            with transaction.atomic():
                for slug, name in TEAMS.items():
                    _fill(Team.objects.create(slug=slug, name=name))
        self.stdout.write("Sign in with one of these addresses and the password " + repr(PASSWORD) + ":")
        for member in Member.objects.select_related("team", "role", "user"):
            self.stdout.write(f"  {member.email:22} {member.role.name} of {member.team.name}")


def _fill(team: Team) -> None:
    roles = {name: Role.objects.create(team=team, name=name, permissions=may) for name, may in ROLES.items()}
    users = get_user_model().objects
    password = make_password(PASSWORD)
    for name, email, role in PEOPLE[team.slug]:
        user = users.create(username=email, email=email, first_name=name, password=password)
        Member.objects.create(user=user, team=team, role=roles[role])
    Connection.objects.bulk_create(
        Connection(team=team, name=name, kind=kind, host=host, account=account, secret="of an example")
        for name, kind, host, account in CONNECTIONS
    )
    now = timezone.now().replace(microsecond=0)
    places = {each.name: each for each in team.connections.all()}
    for slug, name, source, destination, schedule, enabled in PIPELINES:
        pipeline = Pipeline.objects.create(
            team=team, slug=slug, name=name, schedule=schedule, enabled=enabled,
            source=places[source], destination=places[destination],
        )  # fmt: skip
        Run.objects.bulk_create(
            Run(
                pipeline=pipeline,
                trigger="schedule",
                rows=1_180 + 211 * number,
                started_at=now - timedelta(minutes=26) - (3 - number) * EVERY[schedule],
            )
            for number in range(4)
        )
    token, _text = ApiToken.of(team, "nightly sync", ["pipelines:read", "pipelines:run"])
    token.save()
