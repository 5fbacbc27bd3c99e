"""Databases that cannot be used, at the command line: what is wrong, what to do, and nothing half written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import chown

import psycopg
import pytest

from affidavit.cli.exits import Exit
from affidavit.storage.postgres import connect as connecting
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.migrate import available, migrate
from tests.postgres import FAST, VERSIONS, Server, server_on
from tests.unit.cli.conftest import Done, Run
from tests.unit.storage.postgres.places import RECORD, address, dump, migrated, step

SECRET = "s3cr3t%2Fpass"
RECORDING = ("record", "user.update", "--organization=acme", "--actor=user:ana", "--resource=user:u1")
READING = ("events", "--organization=acme", "--json")


def failed(done: Done, *words: str) -> None:
    """One line that names what is wrong, and the exit code of a database that cannot be used."""
    assert done.code == Exit.STORAGE, done
    assert done.err.count("\n") == 1
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err


@pytest.fixture(scope="module", params=VERSIONS)
def own(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of our own, to be stopped and spoilt."""
    with server_on(request.param, **FAST) as server:
        yield server


def test_a_database_without_tables_is_not_made_by_a_plan_or_a_check(run: Run, postgres: Server) -> None:
    """The plan names every step; nothing is written."""
    place = address(postgres)
    before = dump(postgres, place)
    planned = run("migrate", "--plan", "--json", "--database", place.url)
    assert [found["number"] for found in planned.documents] == [found.number for found in available()]
    assert dump(postgres, place) == before


def test_a_database_that_no_worker_has_seen_yet_is_sound(run: Run, postgres: Server) -> None:
    """No log, no guard, no index, one event that waits: nothing to complain about."""
    place = migrated(postgres)
    assert run("fsck", "--json", "--database", place.url).documents[0]["sound"] is True
    assert run(*RECORDING, "--database", place.url).code == 0
    assert run("fsck", "--json", "--database", place.url).documents[0]["sound"] is True


def test_another_products_tables_are_named(run: Run, postgres: Server) -> None:
    """Every command says so; the tables stay as they are."""
    place = address(postgres)
    with psycopg.connect(place.url) as connection:
        connection.execute(
            "CREATE TABLE affidavit_events (id integer); INSERT INTO affidavit_events VALUES (7)"
        )
    before = dump(postgres, place)
    for words in (("migrate",), ("migrate", "--plan"), RECORDING, READING):
        failed(run(*words, "--database", place.url), "affidavit_events", "schema of its own")
    assert dump(postgres, place) == before


def test_a_newer_schema_asks_for_an_upgrade(run: Run, postgres: Server) -> None:
    """The server stays away from tables that it does not know."""
    place = address(postgres)
    newest = available()[-1].number
    migrate(place, steps=[*available(), step(newest + 1, "CREATE TABLE affidavit_later (a integer)")])
    for words in (("migrate",), RECORDING, READING):
        failed(run(*words, "--database", place.url), f"at schema {newest + 1}", "upgrade Affidavit")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_another_encoding_is_refused(run: Run, postgres: Server, encoding: str) -> None:
    """Events hold any text."""
    place = address(postgres, words=f"ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'")
    for words in (("migrate",), ("migrate", "--plan"), RECORDING, READING):
        failed(run(*words, "--database", place.url), encoding, "ENCODING 'UTF8'")
    assert "affidavit" not in dump(postgres, place)


@pytest.mark.parametrize(
    "words",
    [
        "LOCALE_PROVIDER icu ICU_LOCALE 'sv-SE' LOCALE 'C.UTF-8'",
        "LOCALE_PROVIDER icu ICU_LOCALE 'und-u-ks-level1' LOCALE 'C.UTF-8'",
        "LOCALE 'C.UTF-8' LOCALE_PROVIDER libc",
    ],
)
def test_any_collation_will_do(run: Run, postgres15: Server, words: str) -> None:
    """Swedish, one without case and accents, and the bytes: names are told apart and sorted all the same."""
    place = address(postgres15, words=words)
    assert run("migrate", "--database", place.url).code == 0
    for actor in ("Zoe", "zoe", "ångström", "angstrom"):
        recorded = run(*RECORDING[:3], f"--actor=user:{actor}", RECORDING[4], "--database", place.url)
        assert recorded.code == 0, recorded
    found = run(*READING, "--actor=zoe", "--database", place.url)
    assert [event["actor"]["id"] for event in found.documents] == ["zoe"]


def test_a_standby_takes_no_writes(run: Run, own: Server) -> None:
    """A server in recovery: what it is, and where to connect instead; the plan can be asked."""
    place = migrated(own)
    own.stop()
    signal = own.data_dir / "standby.signal"
    signal.touch()
    own.start()
    try:
        for words in (("migrate",), RECORDING):
            failed(run(*words, "--database", place.url), "standby", "primary")
        assert run("migrate", "--plan", "--json", "--database", place.url).out == ""
    finally:
        own.stop()
        signal.unlink()
        own.start()
    assert run(*RECORDING, "--database", place.url).code == 0


def test_a_database_that_is_read_only_says_so(run: Run, postgres: Server) -> None:
    """The setting is named, not the statement that failed on it."""
    place = migrated(postgres)
    with postgres.connect() as connection:
        connection.execute(
            f"ALTER DATABASE {place.url.rpartition('/')[2]} SET default_transaction_read_only = on"
        )
    for words in (("migrate",), RECORDING):
        failed(run(*words, "--database", place.url), "default_transaction_read_only")


def test_missing_grants_are_named(run: Run, postgres: Server) -> None:
    """A login that nobody granted anything, with and without tables."""
    with postgres.connect() as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    name = address(postgres).url.rpartition("/")[2]
    failed(run("migrate", "--database", postgres.url(name, user="stranger")), "GRANT USAGE, CREATE ON SCHEMA")
    name = migrated(postgres).url.rpartition("/")[2]
    for words in (RECORDING, READING):
        done = run(*words, "--database", postgres.url(name, user="stranger"))
        failed(done, "stranger lacks SELECT on affidavit_", 'GRANT affidavit_server TO "stranger"')


def test_a_lock_of_somebodys_migration_is_not_waited_for_forever(
    run: Run, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording and reading give up and say why; when the lock is gone the same works."""
    monkeypatch.setattr(connecting, "LOCK_SECONDS", 1)
    place = migrated(postgres)
    with psycopg.connect(place.url) as holder:
        holder.execute("LOCK TABLE affidavit_events IN ACCESS EXCLUSIVE MODE")
        for words in (RECORDING, READING):
            failed(run(*words, "--database", place.url), "is locked by somebody else", "try again")
    assert run(*READING, "--database", place.url).out == ""
    assert run(*RECORDING, "--database", place.url).code == 0


TYPOS: dict[str, tuple[Callable[[str], str], str]] = {
    "no such host": (lambda url: url.replace("127.0.0.1", "no-such-host.invalid"), "no-such-host.invalid"),
    "no server": (lambda url: url.replace(url.rpartition(":")[2].partition("/")[0], "1"), "127.0.0.1:1"),
    "no such database": (lambda url: url + "x", "does not exist"),
    "no such role": (lambda url: url.replace("postgres:", "nobody_here:"), "nobody_here"),
    "no such parameter": (lambda url: url + "?sslmod=require", "unknown"),
}


@pytest.mark.parametrize("typo", TYPOS)
def test_a_typo_in_the_url_is_found_without_showing_the_password(
    run: Run, postgres: Server, typo: str
) -> None:
    """Host, port, database, role, parameter: the error names it."""
    spoil, named = TYPOS[typo]
    url = spoil(migrated(postgres).url.replace("postgres@", f"postgres:{SECRET}@"))
    for words in (("migrate",), RECORDING, READING):
        done = run(*words, "--database", url)
        failed(done, named)
        assert "s3cr3t" not in done.err + done.out


@pytest.mark.parametrize(
    "url", ["postgresql://ana:s3cr3t/x@h/d", "postgres//ana:s3cr3t@h/d", "ana:s3cr3t@h/d"]
)
def test_a_url_that_cannot_be_read_is_refused_unseen(run: Run, url: str) -> None:
    """Nothing of the password, in no command and in no setting that is shown."""
    for words in (("migrate",), RECORDING, ("doctor",), ("config",), ("config", "--json")):
        done = run(*words, "--database", url)
        assert done.code != 0
        assert "s3cr3t" not in done.err + done.out
        assert "database" in done.err


def test_a_wrong_password_is_not_shown(run: Run, own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a command nor with the traceback of AFFIDAVIT_DEBUG."""
    place = migrated(own)
    with own.connect() as connection:
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'another'")
    rules = own.data_dir / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all locked all scram-sha-256\n{before}")
    own.stop()
    own.start()
    url = place.url.replace("postgres@", f"locked:{SECRET}@")
    done = run("migrate", "--database", url)
    failed(done, "password authentication failed", "locked")
    monkeypatch.setenv("AFFIDAVIT_DEBUG", "1")
    loud = run("migrate", "--database", url)
    assert "Traceback" in loud.err
    for text in (done.err, done.out, loud.err, loud.out, own.log):
        assert "s3cr3t" not in text


def test_a_password_is_masked_where_settings_are_shown(run: Run) -> None:
    """In the URL and among its parameters."""
    for url in (f"postgresql://ana:{SECRET}@h/d", f"postgresql://ana@h/d?password={SECRET}"):
        done = run("config", "--json", "--database", url)
        assert done.code == 0
        assert "***" in done.out
        assert "s3cr3t" not in done.out + done.err


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """A server whose tables lie on a file system of 64 MB."""
    if os.geteuid() != 0:
        pytest.skip("a file system of its own takes root")
    with server_on("18", **FAST) as server:
        disk = server.folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
        if server.user is not None:
            chown(disk, server.user)
        try:
            with server.connect() as connection:
                connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            yield server
            server.stop("immediate")
        finally:
            subprocess.run(["umount", disk], check=True)


def fill(server: Server) -> Path:
    """Take all space that is left."""
    filler = server.folder / "disk" / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65_536)) == 65_536:
                pass
        except OSError:
            pass
    return filler


def test_a_full_disk_is_named_and_nothing_is_half_done(run: Run, small: Server) -> None:
    """A migration and recording: refused whole, and done when there is space again."""
    place = address(small, words="TABLESPACE small")
    migrate(place, steps=available()[:1])
    filler = fill(small)
    failed(run("migrate", "--database", place.url), "no space left")
    filler.unlink()
    after = {found.number for found in available()[1:]}
    assert {found["number"] for found in run("migrate", "--json", "--database", place.url).documents} <= after
    assert run("migrate", "--plan", "--json", "--database", place.url).out == ""
    filler = fill(small)
    recorded, refused = 0, 0
    for _ in range(40):
        with psycopg.connect(place.url) as connection:
            try:
                connection.execute(RECORD.replace('"u1"', f'"{"u" * 120}"'))
                recorded += 1
            except psycopg.errors.DiskFull:
                connection.rollback()
                refused += 1
    done = run(*RECORDING, "--database", place.url)
    assert refused > 0 or done.code == Exit.STORAGE
    if done.code:
        failed(done, "no space left")
    filler.unlink()
    with psycopg.connect(place.url) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM affidavit_events WHERE action = 'team.update'),"
            " (SELECT count(*) FROM affidavit_events) = (SELECT count(*) FROM affidavit_pending)"
        ).fetchall()
    assert found == [(recorded, True)]
    assert run(*RECORDING, "--database", place.url).code == 0


def test_addresses_show_no_password() -> None:
    """Not in a traceback, a log line or a repr."""
    assert "s3cr3t" not in repr(Address(f"postgresql://ana:{SECRET}@h/d"))
    assert "s3cr3t" not in str(Address("postgresql://ana:s3cr3t/x@h/d"))
