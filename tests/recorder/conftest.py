"""What tests of the recorder share."""

from __future__ import annotations

from tests.recorder.apps import app, postgres_engine

__all__ = ["app", "postgres_engine"]
