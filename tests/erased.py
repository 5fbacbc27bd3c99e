"""An instance on a real database with everything that erasure needs; the worker is a loop here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from affidavit.access.operator import local_credential
from affidavit.access.scope import Credential
from affidavit.config import Settings
from affidavit.core.event import Actor, Draft
from affidavit.core.row import StoredEvent
from affidavit.log.fsck import Findings
from affidavit.log.tasks import Task
from affidavit.recorder.intake import Rights
from affidavit.wiring import clock, open_follower, open_store, open_upkeep
from affidavit.wiring.fsck import check_everything

__all__ = ["ACME", "KIM", "House", "forms_of", "leaks", "leaks_in_tables"]

ACME = "acme"
KIM: Credential = local_credential("kim")
"""Who asks for erasures."""


class House:
    """One instance.

    Args:
        folder: of all files.
        database: URL of a PostgreSQL database with a current schema; ``None`` takes SQLite in the folder.
    """

    def __init__(self, folder: Path, database: str | None = None) -> None:
        folder.mkdir(exist_ok=True, parents=True)
        self.settings = Settings(data_dir=folder)
        if database is not None:
            self.settings = Settings(data_dir=folder, database=database)
        self.folder = folder
        self.database = database
        self.open(migrate=True)

    def open(self, *, migrate: bool = False) -> None:
        """Open everything, again after :meth:`close`."""
        self.instance = open_store(self.settings, migrate=migrate)
        self.upkeep = open_upkeep(self.settings, at_once=True)
        self.follower = open_follower(self.settings)

    def close(self) -> None:
        """Close every file."""
        self.follower.close()
        self.upkeep.close()
        self.instance.close()

    def record(self, action: str = "user.update", *, organization: str = ACME, **fields: Any) -> str:
        """Record an event; its id."""
        fields.setdefault("actor", Actor(type="user", id="bob"))
        rights = Rights(may_import=True, may_set_id=True)
        drafts = [Draft(action=action, **fields)]
        (made,) = self.instance.intake.record(drafts, organization=organization, rights=rights)
        return made.id.hex()

    def work(self) -> None:
        """One round of the worker."""
        self.upkeep.step()
        self.follower.step()
        self.follower.tidy()

    def seal(self) -> None:
        """Work until everything has a leaf that is published, and is indexed."""
        while self.instance.database.waiting().events or not all(
            event.place and event.place.published for event in self.events()
        ):
            self.work()

    def events(self) -> list[StoredEvent]:
        """All events with their places."""
        store = self.instance.database.events
        events = store.after(0, 100_000)
        places = self.instance.log.places(events)
        for event in events:
            event.place = places.get(event.seq)
        return events

    def find(self, event_id: str) -> StoredEvent:
        """The event with this id."""
        return next(event for event in self.events() if event.id.hex() == event_id)

    def of(self, action: str) -> list[StoredEvent]:
        """The events with this action."""
        return [event for event in self.events() if event.action == action]

    def order(self, subject: str, **more: Any) -> Task:
        """Ask for an erasure."""
        more.setdefault("by", KIM)
        return self.instance.erasures.request(ACME, subject=subject, basis="case 17", **more)

    def finish(self, task: Task) -> Task:
        """Work until it has ended."""
        for found in self.looks(task):
            if found.ended:
                return found
            self.work()
        raise AssertionError("unreachable")

    def looks(self, task: Task) -> Iterator[Task]:
        """The task as it stands, at each look, for a minute at most."""
        end = clock() + 60_000_000
        found = self.instance.tasks.get(task.id)
        while found is not None and clock() < end:
            yield found
            found = self.instance.tasks.get(task.id)
        raise AssertionError(f"the task does not end: {found}")

    def erase(self, subject: str, **more: Any) -> Task:
        """Ask for an erasure and work until it is done."""
        done = self.finish(self.order(subject, **more))
        assert done.state == "done", done
        return done

    def fsck(self) -> Findings:
        """Check everything."""
        return check_everything(self.settings)

    def leaks(self, text: str) -> list[str]:
        """Every file and every table in which a text stands in any form and any case."""
        found = leaks(self.folder, text)
        return found if self.database is None else found + leaks_in_tables(self.database, text)

    def literal(self, event_id: str) -> str:
        """An event's id in a statement."""
        return f"x'{event_id}'" if self.database is None else f"'{event_id}'"

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Read the database in SQL."""
        if self.database is not None:
            with psycopg.connect(self.database, autocommit=True) as session:
                return session.execute(statement.encode()).fetchall()
        with closing(sqlite3.connect(self.settings.database_path or "")) as connection:
            return connection.execute(statement).fetchall()

    def edit(self, *statements: str) -> None:
        """Change the database as somebody with SQL who knows about permits."""
        permit = "INSERT INTO affidavit_permit VALUES ('acme', 'erasure', 'x', NULL, NULL)"
        self.run(permit, *statements, "DELETE FROM affidavit_permit")

    def run(self, *statements: str) -> None:
        """Run statements one after the other."""
        if self.database is not None:
            with psycopg.connect(self.database, autocommit=True) as session:
                for statement in statements:
                    session.execute(statement.encode())
            return
        connection = sqlite3.connect(self.settings.database_path or "", isolation_level=None)
        with closing(connection):
            for statement in statements:
                connection.execute(statement)


def forms_of(text: str) -> dict[str, bytes]:
    """The ways in which a text may stand in a file, by name."""
    from base64 import b64encode

    forms = {
        "as it is": text.encode(),
        "UTF-16, little end first": text.encode("utf-16-le"),
        "UTF-16, big end first": text.encode("utf-16-be"),
        "escaped for JSON": "".join(f"\\u{ord(character):04x}" for character in text).encode(),
    }
    # In base64 a text looks different at each of three offsets; what stays the same is its middle.
    for offset in range(3):
        encoded = b64encode(b"\0" * offset + text.encode())
        forms[f"base64, offset {offset}"] = encoded[(8 * offset + 5) // 6 : -4]
    return forms


def leaks(folder: Path, text: str) -> list[str]:
    """Every file in which a text stands in any form and any case."""
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        folded = content.lower()
        for name, form in forms_of(text).items():
            if form in content or form.lower() in folded:
                found.append(f"{path.name}: {name}")
    return found


def leaks_in_tables(database: str, text: str) -> list[str]:
    """Every table of a PostgreSQL database in which a text stands in any form and any case."""
    found = []
    with psycopg.connect(database, autocommit=True) as session:
        tables = session.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        ).fetchall()
        assert len(tables) > 20
        for (table,) in tables:
            with session.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
                content = b"".join(bytes(piece) for piece in copy).lower()
            for name, form in forms_of(text).items():
                if form.lower() in content or form.hex().encode() in content:
                    found.append(f"{table}: {name}")
    return found
