"""The command of the product: ``python manage.py up`` makes the database, fills it and serves it."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millrace.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
