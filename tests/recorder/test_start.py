"""``audit.start()``: a worker beside the app, one a machine, under every server, that ends with the app."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict

from affidavit.embed import Audit
from affidavit.errors import ConfigError
from affidavit.storage.sqlite.database import migrate_file
from affidavit.supervisor import packed, unpacked
from tests.recorder.apps import App
from tests.recorder.started import eventually, parent_of, served, workers_of

UVICORN = "uvicorn served:asgi --uds {socket} --log-level warning"
GUNICORN = "gunicorn --bind unix:{socket} --graceful-timeout 5 --workers 2"
SERVERS = {
    "uvicorn, workers": f"{UVICORN} --workers 2",
    "gunicorn, WSGI": f"{GUNICORN} served:wsgi",
    "gunicorn, WSGI, threads, preload": f"{GUNICORN} --threads 2 --preload served:wsgi",
    "gunicorn, uvicorn's class": f"{GUNICORN} -k uvicorn.workers.UvicornWorker served:asgi",
}


@pytest.fixture
def sqlite(tmp_path: Path) -> App:
    """An app's database."""
    migrate_file(tmp_path / "app.db")
    return App("sqlite", f"sqlite:///{tmp_path}/app.db", tmp_path)


@pytest.mark.parametrize("server", SERVERS)
def test_one_worker_works_for_all_processes_and_ends_with_them(sqlite: App, server: str) -> None:
    """However many processes a server has, one worker seals their events; SIGTERM leaves none."""
    with served(sqlite, SERVERS[server]) as app:
        app.recorded("a")
        worker = app.one_worker()
        app.sealed(1)
        assert app.workers() == [worker]
        app.end()
        eventually(lambda: not app.workers(), "a worker is left")


def test_a_server_that_reloads_has_a_worker_again(sqlite: App) -> None:
    """The process that is ended for new code takes its worker along, the next one has its own."""
    with served(sqlite, f"{UVICORN} --reload") as app:
        app.recorded("a")
        first = app.one_worker()
        second = app.reloaded("served.py", first)
        assert parent_of(second) != app.process.pid
        app.recorded("b")
        app.sealed(2)
        app.end()
        eventually(lambda: not app.workers(), "a worker is left")


def test_a_slow_import_before_the_fork_does_no_harm(sqlite: App) -> None:
    """Then the process that forks has the worker, also where its own reaper sees the death of that first."""
    with served(sqlite, f"{GUNICORN} --preload served:wsgi", APP_WAITS="1") as app:
        first = app.one_worker()
        assert parent_of(first) == app.process.pid
        app.recorded("a")
        os.kill(first, signal.SIGKILL)
        app.one_worker(beside=first)
        app.recorded("b")
        app.sealed(2)
        assert app.end() == 0
        eventually(lambda: not app.workers(), "a worker is left")


PROGRAM = """
import os, sys, threading, time
from affidavit import Audit, companion
audit = Audit(sys.argv[1])

def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)

"""


def run(app: App, program: str) -> list[str]:
    """Run a program with an ``Audit``; the words that it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AFFIDAVIT_")}
    command = [sys.executable, "-W", "error", "-c", PROGRAM + program, app.url]
    done = subprocess.run(command, cwd=app.folder, env=kept, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split()


def test_who_forks_leaves_the_worker_to_its_child(sqlite: App) -> None:
    """Nothing runs before the fork; after it the child has the worker, and the parent when that is gone."""
    said = run(
        sqlite,
        """
companion.AT_FIRST = companion.AFTER_FORK = 3600
started = audit.start()
assert started.pid is None and not os.path.exists("affidavit-data")
child = os.fork()
if child == 0:
    until(lambda: started.pid)
    print("child", started.pid, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", started.pid, flush=True)
companion.AFTER_FORK = 0
if os.fork() == 0:
    os._exit(0)
os.wait()
until(lambda: started.pid)
print("parent", started.pid, flush=True)
""",
    )
    assert said[0::2] == ["child", "parent", "parent"]
    assert said[3] == "None"
    assert len({said[1], said[5], "None"}) == 3
    eventually(lambda: not workers_of(sqlite.folder), "a worker is left")


def test_a_process_that_has_the_worker_keeps_it_when_it_forks(sqlite: App) -> None:
    """A pool of processes that an app forks takes its worker over only when the app itself stops."""
    said = run(
        sqlite,
        """
companion.FORKED = 0
started = audit.start()
until(lambda: started.pid)
print(started.pid, flush=True)
ours, theirs = os.pipe()
child = os.fork()
if child == 0:
    time.sleep(1)
    print(started.pid, flush=True)
    os.write(theirs, b"x")
    until(lambda: started.pid)
    print("child", started.pid, flush=True)
    os._exit(0)
os.read(ours, 1)
print(started.pid, flush=True)
audit.stop()
os.waitpid(child, 0)
""",
    )
    assert said[1] == "None"
    assert said[0] == said[2] != "None"
    assert said[3] == "child", "it has not taken over when the parent stopped"


def test_starting_twice_is_starting_once_and_stopping_ends_it(sqlite: App) -> None:
    """One worker of one ``Audit``; none after ``stop``, ``close`` or the block, until the next start."""
    said = run(
        sqlite,
        """
audit.stop()
started = audit.start()
assert audit.start() is started
until(lambda: started.pid)
first = started.pid
audit.stop()
audit.stop()
assert started.pid is None
for end in (audit.close, None):
    with audit.start() as other:
        until(lambda: other.pid)
        print(other.pid, flush=True)
        if end:
            end()
            assert other.pid is None
    assert other.pid is None
print(first, threading.active_count())
""",
    )
    assert len(set(said[:3])) == 3
    assert said[3] == "1", "a thread is left"
    assert not workers_of(sqlite.folder)


def test_two_audits_of_one_database_have_one_worker(sqlite: App) -> None:
    """The lock of the data directory lets one have it, in one process as in several."""
    said = run(
        sqlite,
        """
other = Audit(sys.argv[1])
one, two = audit.start(), other.start()
until(lambda: one.pid or two.pid)
time.sleep(1.5)
print(one.pid, two.pid)
(audit if one.pid else other).stop()
until(lambda: one.pid or two.pid)
print(one.pid, two.pid)
""",
    )
    assert said.count("None") == 2
    assert (said[0] == "None") != (said[2] == "None"), "the other one has not taken over"


def test_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No place for the keys, an unknown setting, a bad value, a folder that is none: each is named."""
    for name in os.environ:
        if name.startswith("AFFIDAVIT_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    there = Audit(f"sqlite:///{tmp_path}/app.db")
    with pytest.raises(ConfigError, match=r"data_dir=\.\.\. or set AFFIDAVIT_DATA_DIR"):
        Audit("postgresql://app@localhost/app").start()
    with pytest.raises(ConfigError, match="unknown setting 'data_dri'"):
        there.start(data_dri=tmp_path)
    with pytest.raises(ConfigError, match=r"argument log_level.*not 'loud'"):
        there.start(log_level="loud")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        Audit(f"sqlite:///{tmp_path}/app.db", data_dir=tmp_path / "file" / "keys").start()
    monkeypatch.setenv("AFFIDAVIT_DATA_DRI", "x")
    with pytest.raises(ConfigError, match="unknown environment variable AFFIDAVIT_DATA_DRI"):
        there.start()
    assert not (tmp_path / "affidavit-data").exists(), "nothing was made for what was refused"


def test_the_worker_is_of_the_database_that_the_audit_was_given(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL, an engine, a function that opens a connection; the environment says where the keys are."""
    monkeypatch.setenv("AFFIDAVIT_DATA_DIR", "keys")
    monkeypatch.setenv("AFFIDAVIT_GUARD", str(app.folder / "guard.db"))
    monkeypatch.chdir(app.folder)
    engine = sqlalchemy.create_engine(app.sqlalchemy_url)
    for given in (app.url, engine):
        settings = Audit(given, schema="audit").settings()
        assert (settings.database, settings.schema) == (app.url, "audit")
        assert settings.data_dir == app.folder / "keys"
        assert settings.guard_path == app.folder / "guard.db"
    engine.dispose()
    opened = Audit(app.connect)
    if app.engine == "sqlite":
        assert opened.settings().database == app.url
    else:
        found, wanted = (conninfo_to_dict(url) for url in (opened.settings().database, app.url))
        assert {name: found.get(name) for name in wanted} == wanted
    assert opened.settings(database=app.url).database == app.url


def test_keys_are_beside_an_sqlite_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is where the command line looks from that folder; what the app names goes before it."""
    monkeypatch.chdir(tmp_path)
    settings = Audit("sqlite:///app.db", spool="other-spool.db").settings()
    assert settings.database == f"sqlite:///{tmp_path}/app.db"
    assert settings.data_dir == tmp_path / "affidavit-data"
    assert settings.spools == (tmp_path / "other-spool.db",)
    assert unpacked(packed(settings)) == settings
    assert Audit("sqlite:///app.db", data_dir="keys").settings().data_dir == tmp_path / "keys"
    monkeypatch.setenv("AFFIDAVIT_DATA_DIR", "/somewhere")
    assert Audit("sqlite:///app.db").settings().data_dir == Path("/somewhere")
