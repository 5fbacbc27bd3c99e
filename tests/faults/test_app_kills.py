"""SIGKILL of an app in mid-transaction: its events are those of the changes that were committed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from tests.faults.load import eventually
from tests.faults.recording_app import KEYS, keys_of
from tests.recorder.apps import App, app, postgres_engine
from tests.recorder.django.processes import ROOT, manage

__all__ = ["app", "postgres_engine"]

SOAK_KILLS = int(os.environ.get("AFFIDAVIT_SOAK_KILLS", "50"))
"""How many times ``make soak`` kills each program; ``make test`` kills it five times."""
NEVER = -1
KINDS = ["driver", "session", "django"]


class Lives:
    """A program and its lives, each of which ends by SIGKILL."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def one(self, life: int, transactions: int, *, halt: bool, pause: float) -> list[int]:
        """Let it live for so many transactions.

        Args:
            life: its number.
            transactions: until it is killed.
            halt: whether it stands still in the one that follows, with change and event written.
            pause: seconds between the last transaction and the kill of one that does not stand still.

        Returns:
            The keys that the database confirmed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{life} {transactions if halt else NEVER}\n")
        self._process.stdin.flush()
        pid, said = 0, []
        for line in self._process.stdout:
            word, *more = line.split()
            if word == "pid":
                pid = int(more[0])
            elif word == "died":
                assert int(more[0]) == -signal.SIGKILL
                break
            elif word == "open":
                os.kill(pid, signal.SIGKILL)
            else:
                said += keys_of(life, int(word))
                if len(said) == KEYS * transactions and not halt:
                    time.sleep(pause)
                    os.kill(pid, signal.SIGKILL)
        return said


@contextmanager
def running(kind: str, one: App) -> Iterator[Lives]:
    """Start the program, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.recording_app", kind, one.url],
        cwd=ROOT,
        env={**os.environ, **django_variables(one)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Lives(process)
    finally:
        process.communicate(timeout=60)


def databases(one: App) -> dict[str, dict[str, object]]:
    """The setting ``DATABASES`` that leads to an app's database."""
    if one.engine == "sqlite":
        options = {"timeout": 60, "transaction_mode": "IMMEDIATE"}
        return {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(one.file), "OPTIONS": options}
        }
    account, _, place = one.url.removeprefix("postgresql://").partition("@")
    host, _, name = place.partition("/")
    return {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": account,
            "HOST": host.partition(":")[0],
            "PORT": host.partition(":")[2],
        }
    }


def django_variables(one: App) -> dict[str, str]:
    """What the small Django project reads."""
    return {
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "tests.recorder.django.project.settings",
        "PROJECT_DATABASES": json.dumps(databases(one)),
    }


def quiet(one: App) -> bool:
    """Whether nobody works for a program that is dead: PostgreSQL may still carry out its last COMMIT."""
    if one.engine == "sqlite":
        return True
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return one.ask(f"{others} AND backend_type = 'client backend'") == [(0,)]


def kill_apps(kind: str, one: App, kills: int) -> None:
    """Let a program live and die so often, and compare what its database holds."""
    table = "teams"
    if kind == "django":
        table = "project_team"
        made = manage(databases(one), "migrate", "--run-syncdb")
        assert made.returncode == 0, made.stderr
    random = Random(kills)
    said: list[int] = []
    with running(kind, one) as lives:
        for life in range(1, kills + 1):
            transactions, pause = random.randrange(1, 12), random.random() / 100
            said += lives.one(life, transactions, halt=life % 2 == 1, pause=pause)
    eventually(lambda: quiet(one), "the server works for a program that is dead")
    changed = Counter(key for (key,) in one.ask(f"SELECT id FROM {table}"))
    events = Counter(int(json.loads(text)["resources"][0]["id"]) for (text,) in one.events("resources"))
    assert events == changed
    assert set(events.values()) == {1}
    assert set(said) <= set(changed), "what was confirmed is gone"
    halves = Counter((key // 1_000_000, key % 1_000_000 // KEYS) for key in changed)
    assert set(halves.values()) == {KEYS}, "a transaction is there in part"
    # Confirmed, but not said any more: at most the last of each life that did not stand still.
    assert len(changed) - len(said) <= KEYS * (kills // 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_app_that_is_killed_has_an_event_for_each_change_and_no_other(kind: str, app: App) -> None:
    """Five deaths with a transaction open, or at any moment of one: both are there, or neither."""
    kill_apps(kind, app, 5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_apps_that_are_killed_fifty_times(kind: str, app: App) -> None:
    """The same, as often as AFFIDAVIT_SOAK_KILLS says."""
    kill_apps(kind, app, SOAK_KILLS)
