"""Settings of a small project; the database comes from whoever starts the process."""

from __future__ import annotations

import json
import os

SECRET_KEY = "of a test"
USE_TZ = True
DATABASES = {"default": json.loads(os.environ["PROJECT_DATABASE"])}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "affidavit.django"]
MIDDLEWARE = ["affidavit.django.AuditMiddleware"]
ROOT_URLCONF = "tests.recorder.plugin.django_urls"
ALLOWED_HOSTS = ["*"]
AFFIDAVIT = {"organization": "acme"}
