"""Affidavit: the audit log that any product can adopt and any auditor can check."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
