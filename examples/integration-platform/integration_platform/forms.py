"""What people may write into forms and programs into bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Form

__all__ = ["Address", "Chosen", "Line", "Password", "Secret"]

_VISIBLE = r"^[^\x00-\x1f\x7f]+$"

Line = Annotated[str, Form(min_length=1, max_length=100, pattern=_VISIBLE)]
Address = Annotated[
    str, Form(min_length=3, max_length=254, pattern=r"^[^\x00-\x20\x7f@]+@[^\x00-\x20\x7f@]+$")
]
Password = Annotated[str, Form(min_length=8, max_length=200)]
Secret = Annotated[str, Form(min_length=1, max_length=500, pattern=_VISIBLE)]
Chosen = Annotated[Sequence[str], Form()]
