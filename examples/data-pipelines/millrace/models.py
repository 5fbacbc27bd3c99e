"""What the product stores. Everything belongs to a team."""

from __future__ import annotations

import hashlib
import secrets

from django.conf import settings
from django.db import models
from django.utils import timezone

PERMISSIONS = {
    "pipelines:run": "Run pipelines and write notes",
    "pipelines:manage": "Switch pipelines on and off",
    "connections:manage": "Add, change and delete connections",
    "members:manage": "Add people and give them roles",
    "roles:manage": "Say what a role may do",
    "tokens:manage": "Create and revoke API tokens",
    "team:manage": "Change the settings of the team",
}
"""What a role may do, and how people say it."""

ABILITIES = {
    "pipelines:read": "Read pipelines and runs",
    "pipelines:run": "Run pipelines",
    "pipelines:manage": "Switch pipelines on and off",
    "connections:read": "Read connections",
}
"""What an API token may do."""


class Team(models.Model):
    """A customer."""

    slug = models.SlugField(max_length=40, primary_key=True)
    name = models.CharField(max_length=80)
    region = models.CharField(max_length=20, default="eu-west")

    class Meta:
        db_table = "team"


class Role(models.Model):
    """What some people of a team may do."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="roles")
    name = models.CharField(max_length=40)
    permissions = models.JSONField(default=list)

    class Meta:
        db_table = "role"
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="role_name")]
        ordering = ["name"]

    def __str__(self) -> str:
        return str(self.name)


class Member(models.Model):
    """Somebody of a team; the account is Django's own."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True)
    team = models.ForeignKey(Team, models.CASCADE, related_name="members")
    role = models.ForeignKey(Role, models.PROTECT, related_name="members")

    class Meta:
        db_table = "member"
        ordering = ["user__first_name", "pk"]

    @property
    def name(self) -> str:
        """As it is shown."""
        return self.user.get_full_name() or self.user.username

    @property
    def email(self) -> str:
        """What they sign in with."""
        return str(self.user.email)

    @property
    def rank(self) -> str:
        """``admin`` where they manage the team, else ``viewer``."""
        return "admin" if self.may("team:manage") else "viewer"

    def may(self, permission: str) -> bool:
        """Whether their role says so."""
        return permission in self.role.permissions


class ApiToken(models.Model):
    """What a program calls the API with. Of the token itself only a hash is kept."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=60)
    start = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    abilities = models.JSONField(default=list)
    last_used = models.DateTimeField(null=True)
    revoked = models.BooleanField(default=False)

    class Meta:
        db_table = "api_token"
        ordering = ["revoked", "name"]

    @staticmethod
    def digest_of(text: str) -> str:
        """What is kept of a token."""
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def of(cls, team: Team, name: str, abilities: list[str]) -> tuple[ApiToken, str]:
        """A new token, not stored yet, and its text, which nobody sees again."""
        text = f"mill_{secrets.token_urlsafe(32)}"
        made = cls(team=team, name=name, start=text[:9], digest=cls.digest_of(text), abilities=abilities)
        return made, text


class Connection(models.Model):
    """A place that data comes from or goes to, with what opens it; a real product has a vault for that."""

    KINDS = [
        ("postgres", "PostgreSQL"),
        ("s3", "S3 bucket"),
        ("snowflake", "Snowflake"),
        ("http", "HTTP API"),
    ]

    team = models.ForeignKey(Team, models.CASCADE, related_name="connections")
    name = models.CharField(max_length=60)
    kind = models.CharField(max_length=20, choices=KINDS)
    host = models.CharField(max_length=120)
    account = models.CharField(max_length=60, blank=True)
    secret = models.CharField(max_length=200)

    class Meta:
        db_table = "connection"
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="connection_name")]
        ordering = ["name"]


class Pipeline(models.Model):
    """Moves data from one connection to another."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="pipelines")
    slug = models.SlugField(max_length=60)
    name = models.CharField(max_length=80)
    source = models.ForeignKey(Connection, models.PROTECT, related_name="feeds")
    destination = models.ForeignKey(Connection, models.PROTECT, related_name="fed_by")
    schedule = models.CharField(max_length=40, default="every hour")
    enabled = models.BooleanField(default=True)

    class Meta:
        db_table = "pipeline"
        constraints = [models.UniqueConstraint(fields=["team", "slug"], name="pipeline_slug")]
        ordering = ["name"]

    @property
    def last_run(self) -> Run | None:
        """The newest."""
        return self.runs.first()


class Run(models.Model):
    """One run of a pipeline."""

    pipeline = models.ForeignKey(Pipeline, models.CASCADE, related_name="runs")
    trigger = models.CharField(max_length=10)
    status = models.CharField(max_length=10, default="success")
    rows = models.PositiveIntegerField(default=0)
    note = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "run"
        ordering = ["-pk"]
