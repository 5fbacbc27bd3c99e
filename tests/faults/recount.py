"""What an index must hold, counted again from the events: every key, count and address, no more."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

from affidavit.storage.sqlite.terms import email_hash, terms_of
from tests.properties.naive import read_all

HOUR = 3_600_000_000


def check_index(database: Path, index: Path) -> None:
    """Compare an index, up to its watermark, with the events. No process may be writing to either."""
    file = sqlite3.connect(index)
    try:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        key, watermark, id_ = file.execute("SELECT key, seq, id FROM affidavit_index").fetchone()
        events = [event for event in read_all(database) if event.seq <= watermark]
        keys: set[bytes] = set()
        emails: set[tuple[str, bytes, str]] = set()
        hours: Counter[tuple[str, int, str, str, str]] = Counter()
        for event in events:
            actor, resources, context, _, _ = event.texts
            found = terms_of(key, event.organization, event.clear["parent_id"], actor, resources, context)
            keys.update(prefix + event.id for prefix in found.keys)
            emails.update((event.organization, email_hash(key, mail), who) for mail, who in found.emails)
            clear = event.clear
            hour = event.occurred_at // HOUR
            hours[event.organization, hour, clear["action"], clear["outcome"], clear["severity"]] += 1
        listed = file.execute(
            "SELECT t.k FROM affidavit_terms AS t JOIN affidavit_runs AS r ON r.run = t.run"
        ).fetchall()
        assert len(listed) == len(keys), "a key is missing, or stands twice"
        assert {k for (k,) in listed} == keys
        counted = {row[:5]: row[5] for row in file.execute("SELECT * FROM affidavit_hourly")}
        assert counted == hours
        assert set(file.execute("SELECT organization, hash, actor_id FROM affidavit_emails")) == emails
        if events:
            assert (events[-1].seq, events[-1].id) == (watermark, id_)
        runs = file.execute("SELECT run, keys, low, high FROM affidavit_runs").fetchall()
        for run, number, low, high in runs:
            ids = [k[-16:] for (k,) in file.execute("SELECT k FROM affidavit_terms WHERE run = ?", (run,))]
            assert len(ids) == number
            assert low <= min(ids) <= max(ids) <= high
    finally:
        file.close()
