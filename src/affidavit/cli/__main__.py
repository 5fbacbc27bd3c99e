"""``python -m affidavit.cli`` is ``affidavit``."""

from __future__ import annotations

import sys

from affidavit.cli import main

sys.exit(main())
