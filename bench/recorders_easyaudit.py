"""django-easy-audit for the comparison, in a file of its own: it is under the GPL.

Only the Python of ``.venv-bench`` gets to see it, in a process of its own; this file is in neither wheel nor
source archive.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["SETTINGS", "SETUP", "TABLES"]

TABLES: Final = ("easyaudit_crudevent",)
SETUP: Final = "`easyaudit` in `INSTALLED_APPS`, its middleware, `DJANGO_EASY_AUDIT_PROPAGATE_EXCEPTIONS`"
SETTINGS: Final[dict[str, Any]] = {
    "INSTALLED_APPS": ["easyaudit"],
    "MIDDLEWARE": ["easyaudit.middleware.easyaudit.EasyAuditMiddleware"],
    "DJANGO_EASY_AUDIT_PROPAGATE_EXCEPTIONS": True,
    # The table says what became of it; the traceback is not wanted on the bench's own output.
    "LOGGING": {"version": 1, "loggers": {"easyaudit": {"level": "CRITICAL", "handlers": []}}},
}
