"""``audit.start()`` of a Django project, under the server that developers use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from affidavit.storage.sqlite.database import migrate_file
from tests.recorder.apps import App
from tests.recorder.started import eventually, parent_of, served

SETTINGS = """
import os
SECRET_KEY = "of a test"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "project_urls"
WSGI_APPLICATION = "project_wsgi.application"
INSTALLED_APPS = ["affidavit.django"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "app.db"}}
AFFIDAVIT = {"organization": "acme", "data_dir": os.environ["APP_KEYS"]}
USE_TZ = True
"""
WSGI = """
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()

from affidavit.django import audit
from affidavit.recorder.fields import system
audit.start()
audit.record_now("team.update", actor=system("app"), resource=("team", "1"))
"""


@pytest.fixture
def sqlite(tmp_path: Path) -> App:
    """A project's database and files."""
    migrate_file(tmp_path / "app.db")
    (tmp_path / "project_settings.py").write_text(SETTINGS)
    (tmp_path / "project_urls.py").write_text("urlpatterns = []\n")
    (tmp_path / "project_wsgi.py").write_text(WSGI)
    return App("sqlite", f"sqlite:///{tmp_path}/app.db", tmp_path)


def test_runserver_has_one_worker_also_after_a_reload(sqlite: App) -> None:
    """The process that watches the files has none; the one that serves takes its own along when it ends."""
    command = "django runserver 127.0.0.1:0"
    with served(sqlite, command, DJANGO_SETTINGS_MODULE="project_settings") as app:
        first = app.one_worker()
        app.sealed(1)
        assert parent_of(first) != app.process.pid
        before = parent_of(first)
        second = app.reloaded("project_wsgi.py", first)
        assert parent_of(second) != before
        app.sealed(2)
        os.killpg(app.process.pid, signal.SIGTERM)
        app.process.wait(60)
        eventually(lambda: not app.workers(), "a worker is left")
