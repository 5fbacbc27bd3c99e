"""Settings; the databases come from whoever starts the process."""

from __future__ import annotations

import json
import os

SECRET_KEY = "of a test"
USE_TZ = True
DATABASES = json.loads(os.environ["PROJECT_DATABASES"])
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "affidavit.django",
    "tests.recorder.django.project",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "affidavit.django.AuditMiddleware",
]
ROOT_URLCONF = "tests.recorder.django.project.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SESSION_ENGINE = "django.contrib.sessions.backends.db"
AFFIDAVIT = {"organization": "acme", "trusted_proxies": ["10.0.0.0/8"]}
