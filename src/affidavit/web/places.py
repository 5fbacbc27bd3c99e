"""Paths of the API below the application's root."""

from __future__ import annotations

from typing import Final

__all__ = ["API"]

API: Final = "/api/v1"
"""What the paths of the API begin with."""
