"""Print the reference page of the ready-made catalogs: ``python -m affidavit.catalogs > FILE``."""

from __future__ import annotations

import sys

from affidavit.catalogs.reference import markdown

sys.stdout.write(markdown())
