"""A program that records with its change, run by test_app_kills.py, which kills it.

It starts once and forks for each life: ``LIFE HALT`` on its standard input. A life says ``pid N``, then the
number of each transaction that its database has confirmed. In the transaction ``HALT`` it says ``open`` when
change and event are written and waits there, in mid-transaction. When a life is over its parent says
``died STATUS``.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any

from affidavit.embed import Audit
from affidavit.recorder.fields import system

__all__ = ["KEYS", "keys_of"]

KEYS = 3
"""Changes of a transaction, each with its event."""
ME = system("app")

Transaction = Callable[[Sequence[int]], AbstractContextManager[None]]
"""Changes something for each key and records it; the end of the block commits."""


def keys_of(life: int, number: int) -> list[int]:
    """The keys of one transaction; no other one has them."""
    first = life * 1_000_000 + number * KEYS
    return list(range(first, first + KEYS))


def on_driver(url: str) -> Transaction:
    """A plain connection."""
    audit = Audit(url, organization="acme")
    connection: Any
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60)
    else:
        import psycopg

        connection = psycopg.connect(url)

    @contextmanager
    def transaction(keys: Sequence[int]) -> Iterator[None]:
        for key in keys:
            connection.execute(f"INSERT INTO teams (id, name) VALUES ({key}, 'team')")
            audit.record(connection, "team.create", actor=ME, resource=("team", key))
        yield
        connection.commit()

    return transaction


def on_session(url: str) -> Transaction:
    """A session of SQLAlchemy."""
    from sqlalchemy import Column, Integer, Text, create_engine
    from sqlalchemy.orm import DeclarativeBase, Session

    class Base(DeclarativeBase):
        pass

    class Team(Base):
        __tablename__ = "teams"
        id = Column(Integer, primary_key=True)
        name = Column(Text, nullable=False)

    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    audit = Audit(engine, organization="acme")
    audit.register(Team, type="team", name="name")

    @contextmanager
    def transaction(keys: Sequence[int]) -> Iterator[None]:
        with Session(engine) as session:
            for key in keys:
                team = Team(id=key, name="team")
                session.add(team)
                audit.record(session, "team.create", actor=ME, resource=team)
            session.flush()
            yield
            session.commit()

    return transaction


def on_django(_url: str) -> Transaction:
    """An atomic block of Django."""
    import django

    django.setup()
    from django.db import transaction as django_transaction

    from affidavit.django import audit
    from tests.recorder.django.project.models import Team

    @contextmanager
    def transaction(keys: Sequence[int]) -> Iterator[None]:
        with django_transaction.atomic():
            for key in keys:
                team = Team.objects.create(pk=key, name="team")
                audit.record("team.create", actor=ME, resource=team)
            yield

    return transaction


IMPORTED = {
    "driver": ("affidavit.recorder.adapters.sqlite", "affidavit.recorder.adapters.psycopg"),
    "session": ("sqlalchemy.orm", "affidavit.recorder.adapters.sessions"),
    "django": ("affidavit.django.settings",),
}
KINDS = {"driver": on_driver, "session": on_session, "django": on_django}


def say(*words: object) -> None:
    """A line in one piece: whoever is killed has said all of it or nothing."""
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


def live(transaction: Transaction, life: int, halt: int) -> None:
    """Record until somebody comes and kills."""
    say("pid", os.getpid())
    for number in itertools.count():
        with transaction(keys_of(life, number)):
            if number == halt:
                say("open")
                time.sleep(3_600)
        say(number)


def main(kind: str, url: str) -> None:
    """Fork for each line that comes in; everything is imported once, and nothing is connected before."""
    for module in IMPORTED[kind]:
        import_module(module)
    if kind == "django":
        import_module("django").setup()
    for line in sys.stdin:
        life, halt = map(int, line.split())
        pid = os.fork()
        if not pid:
            try:
                live(KINDS[kind](url), life, halt)
            except BaseException:  # noqa: BLE001 - a life never goes on as its parent
                traceback.print_exc()
            finally:
                os._exit(1)
        say("died", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
