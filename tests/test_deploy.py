"""What deploy/ and docs/howto/deploy.md start exists: each command, flag, setting and file of them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from affidavit.cli import build
from affidavit.config import load
from tests.e2e.program import Program
from tests.postgres import Server
from tests.recorder.started import eventually

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "howto" / "deploy.md"
COMPOSE = ["compose.yml", "compose.postgresql.yml"]
UNITS = ["affidavit.service", "affidavit-worker.service"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def instructions(name: str) -> list[str]:
    """What follows an instruction of the Dockerfile."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def composed(name: str) -> dict[str, Any]:
    """A compose file."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return found


def words_of(text: str) -> Iterator[list[str]]:
    """What follows the program wherever a line runs it, also by ``docker compose exec`` or ``runuser``."""
    for line in text.splitlines():
        words = shlex.split(line.lstrip("$ "), comments=True)
        runs = [at for at, word in enumerate(words) if word in ("affidavit", "/opt/affidavit/bin/affidavit")]
        if runs and words[0] in ("affidavit", "docker", "runuser"):
            yield words[runs[-1] + 1 :]


def commands() -> list[tuple[str, list[str]]]:
    """Every command line of the program in these files, by file."""
    found = [("Dockerfile", eval(words)) for words in instructions("CMD")]  # a JSON array
    for name in COMPOSE:
        ours = [each for each in composed(name)["services"].values() if each["image"] == "affidavit"]
        found += [(name, each["command"]) for each in ours]
    for name in UNITS:
        started = re.findall(r"^ExecStart=(.*)$", (DEPLOY / name).read_text(encoding="utf-8"), re.MULTILINE)
        found += [(name, shlex.split(line)[1:]) for line in started]
    shown = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    texts = {"deploy.md": "".join(shown)} | {
        name: "\n".join(re.findall(r"^#   (.*)$", (DEPLOY / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in [*COMPOSE, *UNITS]
    }
    found += [(name, words) for name, text in texts.items() for words in words_of(text)]
    return found


def test_every_command_and_flag_is_one_of_the_program() -> None:
    """The command line takes each of them as it stands; nothing is run."""
    app = build()
    given = commands()
    for name, words in given:
        chosen, _, unbound = app.parse_args(words, print_error=False, exit_on_error=False)
        assert chosen.__module__.startswith("affidavit.cli."), (name, words)
        assert not unbound
    said = [" ".join(words[:2]) for _, words in given]
    assert {name for name, _ in given} == {"Dockerfile", *COMPOSE, *UNITS, "deploy.md"}
    assert {"serve", "migrate", "worker", "login", "doctor --database", "migrate --plan"} <= set(said)


def test_a_flag_that_is_none_is_noticed() -> None:
    """The check can fail."""
    with pytest.raises(Exception, match="Unknown option"):
        build().parse_args(["serve", "--keys", "x"], print_error=False, exit_on_error=False)


def test_every_setting_is_one_of_the_program() -> None:
    """Variables of image, services and units are known, and their values keep the rules."""
    variables = dict(re.findall(r"(AFFIDAVIT_\w+)=(\S+)", " ".join(instructions("ENV"))))
    assert set(variables) == {"AFFIDAVIT_DATA_DIR", "AFFIDAVIT_GUARD", "AFFIDAVIT_LISTEN"}
    for name in UNITS:
        text = (DEPLOY / name).read_text(encoding="utf-8")
        variables |= dict(re.findall(r"^Environment=(AFFIDAVIT_\w+)=(.*)$", text, re.MULTILINE))
    load({}, variables, folder=DEPLOY)
    for name in COMPOSE:
        for each in composed(name)["services"].values():
            ours = {key: _default(value) for key, value in each.get("environment", {}).items()}
            load({}, {key: value for key, value in ours.items() if key[:9] == "AFFIDAVIT"}, folder=DEPLOY)
    named = re.findall(
        r"`(?:setting )?(public_url|trusted_proxies|spools)`", PAGE.read_text(encoding="utf-8")
    )
    assert set(named) == {"public_url", "trusted_proxies", "spools"}


def _default(value: str) -> str:
    """What compose puts instead of ``${NAME:-default}``."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.mark.parametrize("name", COMPOSE)
def test_what_a_compose_file_names_is_there(name: str) -> None:
    """Volumes, services that others wait for, the Dockerfile and mounted files."""
    document = composed(name)
    services = document["services"]
    for service in services.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in document["volumes"]
        assert set(service.get("depends_on", ())) <= set(services)
        built = service.get("build")
        if built:
            assert (DEPLOY / built["context"] / built["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    kept = {mount.split(":")[1] for mount in services["affidavit"]["volumes"]}
    assert kept == {*eval(instructions("VOLUME")[0])}


def test_the_image_is_made_of_what_is_here() -> None:
    """Each file that it copies exists; each of those that the package is built from is copied."""
    copied = [words.split()[:-1] for words in instructions("COPY") if not words.startswith("--from")]
    sources = {source for words in copied for source in words}
    assert all((ROOT / source).exists() for source in sources)
    assert sources == {"requirements/server.txt", "pyproject.toml", "README.md", "LICENSE", "src"}


def test_what_was_not_run_says_so() -> None:
    """In each file, and on the page."""
    for name in ["Dockerfile", *COMPOSE, *UNITS]:
        assert "NOT RUN" in (DEPLOY / name).read_text(encoding="utf-8"), name
    assert PAGE.read_text(encoding="utf-8").count("**not run**") == 2


def test_the_image_is_healthy_while_the_server_answers(tmp_path: Path) -> None:
    """The check that the image runs succeeds beside a server that works, and fails when it has ended."""
    (words,) = re.findall(r"CMD (\[.*\])$", instructions("HEALTHCHECK")[0])
    _, option, program = eval(words)
    with Program(tmp_path).serving() as running:
        here = program.replace("http://127.0.0.1:8484", running.address)
        assert here != program
        healthy = [sys.executable, option, here]
        eventually(lambda: subprocess.run(healthy, check=False).returncode == 0, "it is never healthy")
    dead = subprocess.run([sys.executable, option, here], check=False, capture_output=True)
    assert dead.returncode != 0


def test_the_login_of_the_server_is_made_once_and_gets_its_password_each_time(postgres: Server) -> None:
    """A member of the server's role and of no other, also with quotes in the password."""
    from affidavit.testing.postgres import PostgresEngine

    engine = PostgresEngine(postgres, clock=None)
    url = engine.create()
    try:
        for password in ("first", "it's \"quoted\" \\ :'here'"):
            command = [psql(), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]
            subprocess.run(
                [*command, "--file", str(DEPLOY / "make-login.sql"), url],
                env={**os.environ, "SERVER_PASSWORD": password},
                check=True,
            )
        with postgres.connect() as session:
            roles = session.execute(
                "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid"
                " WHERE m.member = 'audit'::regrole"
            ).fetchall()
            (kept,) = session.execute(
                "SELECT rolcanlogin AND rolpassword LIKE 'SCRAM%' FROM pg_authid WHERE rolname = 'audit'"
            ).fetchall()
        assert (roles, kept) == ([("affidavit_server",)], (True,))
    finally:
        engine.close()
        with postgres.connect() as session:
            session.execute("DROP ROLE IF EXISTS audit")


def psql() -> str:
    """The client; psql of the system is in the path, or beside its server."""
    found = shutil.which("psql") or "/usr/lib/postgresql/15/bin/psql"
    assert Path(found).exists(), "psql is missing; install postgresql-client"
    return found


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_the_unit(name: str, tmp_path: Path) -> None:
    """systemd-analyze finds nothing wrong, where there is one; else what is written is looked at alone."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    assert "/opt/affidavit/bin/affidavit" in text
    assert re.search(r"^Restart=(on-failure|always)$", text, re.MULTILINE)
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    text = text.replace("/opt/affidavit/bin/affidavit", str(Path(sys.executable).parent / "affidavit"))
    text = re.sub(r"^(User|Group)=.*\n", "", text, flags=re.MULTILINE)
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
