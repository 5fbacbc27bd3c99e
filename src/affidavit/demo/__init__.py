"""The demonstration: ninety days of three invented organizations, the same for the same seed and end."""

from __future__ import annotations

from affidavit.demo.generate import DAYS, generate
from affidavit.demo.organizations import ORGANIZATIONS

__all__ = ["DAYS", "ORGANIZATIONS", "generate"]
