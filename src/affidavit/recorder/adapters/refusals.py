"""What PostgreSQL refused, as one of our errors, whichever driver carried it."""

from __future__ import annotations

from affidavit.errors import FieldError, IdConflict, InvalidEvent, SchemaMissing, StorageReadOnly

__all__ = ["refusal"]

_UNDEFINED_FUNCTION = "42883"
_INVALID_SCHEMA = "3F000"
_INSUFFICIENT_PRIVILEGE = "42501"


def refusal(state: str | None, message: str, *, field: str = "", rule: str = "") -> Exception | None:
    """Our error for a code of PostgreSQL, ``None`` where the driver's own says enough.

    Args:
        state: SQLSTATE.
        message: the server's sentence.
        field: pointer to the field that our function refused.
        rule: that it breaks.
    """
    if state == "YA422":
        return InvalidEvent((FieldError(field, rule, message),), message)
    if state == "YA409":
        return IdConflict(message, (FieldError(field, rule, message),))
    if state in (_UNDEFINED_FUNCTION, _INVALID_SCHEMA):
        return SchemaMissing(
            "The database has no function affidavit_record_v1 in the schema of this Audit; run: affidavit"
            f" migrate ({message})"
        )
    if state == _INSUFFICIENT_PRIVILEGE:
        return StorageReadOnly(f"The database role may not record ({message}); GRANT affidavit_writer TO it.")
    return None
