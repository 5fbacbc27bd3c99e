"""Find Chromium for the browser tests, and install it where that needs no question.

The tests drive the browser of the system: Playwright's own download is not used, so that a machine
without access to it runs them too.
"""

from __future__ import annotations

import shutil
import sys

from tools import debian

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""What the systems call it, in the order in which it is looked for."""


def find() -> str | None:
    """Return the path of the first Chromium on PATH, or nothing."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def main() -> int:
    """Make sure that there is a browser; 1 with what to do where there is none."""
    if find() is None and debian.can_install():
        debian.install("chromium")
    if find() is None:
        print(f"No browser: the browser tests need one of {', '.join(NAMES)} on PATH.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
