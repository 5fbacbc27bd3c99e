"""Install packages of Debian, where that needs no question: as root."""

from __future__ import annotations

import os
import shutil
import subprocess

__all__ = ["can_install", "install"]


def can_install() -> bool:
    """Whether :func:`install` may be tried."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(*packages: str) -> None:
    """Install packages of Debian, without what they recommend.

    Raises:
        subprocess.CalledProcessError: apt-get failed; its own message is on the terminal.
    """
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "-o", "DPkg::Lock::Timeout=300", *words], check=True, env=environment)
