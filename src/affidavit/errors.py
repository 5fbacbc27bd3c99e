"""Every error that Affidavit raises, in one tree.

::

    AffidavitError
    ├── Refused                     the caller's input breaks a rule
    │   ├── InvalidEvent            one or more events break the event model (HTTP 422)
    │   ├── InvalidCatalog          a catalog or a metadata schema breaks its rules (HTTP 422)
    │   ├── InvalidQuery            a parameter, filter or token breaks its rule (HTTP 400)
    │   ├── TooLarge                a body or batch above its limit (HTTP 413)
    │   ├── IdConflict              other content under an existing id (HTTP 409)
    │   └── RejectedRecord          a source record that cannot be imported (ingest.rejects)
    ├── AccessRefused
    │   ├── NotSignedIn             no credential, or one that is unknown, expired or revoked (HTTP 401)
    │   ├── MissingAbility          a credential without the ability that is asked for (HTTP 403)
    │   └── NotFound                absent, or outside the credential's scope (HTTP 404)
    │       └── Pruned              an event whose row was taken away on purpose (HTTP 404)
    ├── NotPublished                no signed checkpoint covers it yet (HTTP 409)
    ├── ContextMissing              something was said about a context, and there is none
    ├── WrongTransaction            events cannot be recorded with the connection or session as it is
    ├── ConfigError                 a setting that is unknown or breaks its rule
    ├── IndexUnavailable            the index was deleted or broke; reads go on without it
    ├── LogError                    sequencing or signing had to stop; recording goes on
    │   ├── LogMismatch             events, log and guard are not of one history
    │   ├── LogMoved                somebody else grew the tree meanwhile; load it again
    │   ├── RowTooNew               the next event was written by a newer version
    │   ├── GuardRefused            the guard is missing, behind, or saw another history
    │   ├── WitnessError            a witness did not cosign (log.witness_client)
    │   ├── KeyMissing              the signing key is not there
    │   └── KeyUnusable             others can read the signing key, or it is damaged
    └── StorageError                the database refused or failed (HTTP 503)
        ├── StorageBusy             another process holds the write lock for too long
        ├── StorageFull             no space left
        ├── SpoolFull               the spool has no room for what should wait in it
        ├── StorageReadOnly         the database or its folder cannot be written
        ├── UnreadableText          a text in the database is not UTF-8
        ├── SchemaMissing           no Affidavit tables: run ``affidavit migrate``
        ├── SchemaTooNew            made by a newer version of Affidavit
        ├── SchemaChanged           a migration that was applied has other text now
        ├── NotOurs                 other tables or functions stand under the names of ours
        └── NotADatabase            not an SQLite file, or a damaged one

The docstring of a class is its default message. ``category`` is the label that metrics use.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

__all__ = [
    "AccessRefused",
    "AffidavitError",
    "ConfigError",
    "ContextMissing",
    "FieldError",
    "GuardRefused",
    "IdConflict",
    "IndexUnavailable",
    "InvalidCatalog",
    "InvalidEvent",
    "InvalidQuery",
    "KeyMissing",
    "KeyUnusable",
    "LogError",
    "LogMismatch",
    "LogMoved",
    "MissingAbility",
    "NotADatabase",
    "NotFound",
    "NotOurs",
    "NotPublished",
    "NotSignedIn",
    "Pruned",
    "Refused",
    "RowTooNew",
    "SchemaChanged",
    "SchemaMissing",
    "SchemaTooNew",
    "SpoolFull",
    "StorageBusy",
    "StorageError",
    "StorageFull",
    "StorageReadOnly",
    "TooLarge",
    "UnreadableText",
    "WrongTransaction",
]

VALUE_CHARACTERS = 100
"""How much of a refused value an error quotes."""


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One broken rule, in the shape of ``errors[]`` of a problem document.

    Attributes:
        pointer: JSON pointer (RFC 6901) to the field, such as ``/events/3/actor/id``; the name of
            the parameter for a query.
        rule: the rule that was broken, a word in snake case such as ``too_long``.
        message: one sentence that tells the caller what to do.
        value: the value, cut at 100 characters and masked where its key looks like a secret.
    """

    pointer: str
    rule: str
    message: str
    value: Any = None


class AffidavitError(Exception):
    """Something went wrong in Affidavit."""

    category: ClassVar[str] = "internal"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it comes through a process pool whatever its class takes to be made."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[AffidavitError], args: tuple[Any, ...], state: dict[str, Any]) -> AffidavitError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class Refused(AffidavitError):
    """The request breaks a rule; nothing was stored."""

    category = "refused"

    def __init__(self, message: str | None = None, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors


class InvalidEvent(Refused):
    """The event breaks a rule of the event model; nothing was stored."""

    category = "invalid_event"

    def __init__(self, errors: tuple[FieldError, ...] | str, message: str | None = None) -> None:
        if isinstance(errors, str):
            # Made again from its sentence alone, as task queues do that keep errors as JSON.
            message, errors = errors, ()
        if message is None and errors:
            first = errors[0]
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            message = f"{first.pointer}: {first.message}{more}"
        super().__init__(message, errors)


class InvalidCatalog(Refused):
    """The catalog breaks a rule; nothing of it was taken over."""

    category = "invalid_catalog"

    def __init__(self, errors: tuple[FieldError, ...], name: str | None = None) -> None:
        told = "; ".join(f"{error.pointer}: {error.message} ({error.value!r})" for error in errors[:5])
        more = f" (and {len(errors) - 5} more)" if len(errors) > 5 else ""
        super().__init__(f"{name or 'The catalog'}: {told}{more}", errors)


class InvalidQuery(Refused):
    """A parameter of the question breaks its rule."""

    category = "invalid_query"

    @classmethod
    def of(cls, parameter: str, rule: str, message: str, value: Any = None) -> InvalidQuery:
        """Make the error for one parameter."""
        return cls(f"{parameter}: {message}", (FieldError(parameter, rule, message, value),))


class TooLarge(Refused):
    """The body is larger than 16 MiB; send smaller batches."""

    category = "too_large"


class IdConflict(Refused):
    """Another event with other content stands under this id; nothing was stored."""

    category = "conflict"


class AccessRefused(AffidavitError):
    """Access was refused."""

    category = "access"


class NotSignedIn(AccessRefused):
    """A valid token or session is needed."""

    category = "not_signed_in"


class MissingAbility(AccessRefused):
    """The credential lacks the ability that this needs."""

    category = "missing_ability"

    def __init__(self, ability: str) -> None:
        super().__init__(f"This needs the ability {ability}, which the credential does not have.")
        self.ability = ability


class NotFound(AccessRefused):
    """There is nothing here, or nothing that this credential may see."""

    category = "not_found"


class Pruned(NotFound):
    """The event was pruned; only the hash of its leaf is kept."""

    category = "pruned"


class NotPublished(AffidavitError):
    """No signed checkpoint covers this yet; ask again in some seconds."""

    category = "not_published"


class ContextMissing(AffidavitError):
    """There is no context here; add the middleware or use: with audit.context(...)."""

    category = "context"


class WrongTransaction(AffidavitError):
    """Events cannot be recorded with this connection or session as it is; nothing was recorded."""

    category = "transaction"


class ConfigError(AffidavitError):
    """A setting breaks its rule."""

    category = "config"


class IndexUnavailable(AffidavitError):
    """The index file is gone or unreadable; answers come from the event table until it is rebuilt."""

    category = "index"


class LogError(AffidavitError):
    """The log had to stop; recording goes on."""

    category = "log"


class LogMismatch(LogError):
    """Events, log and guard are not of one history: a file was restored, replaced or edited."""

    category = "log_mismatch"


class LogMoved(LogError):
    """A tree was grown by somebody else meanwhile; nothing was stored."""

    category = "log_moved"


class RowTooNew(LogError):
    """The next event was written by a newer version of Affidavit; upgrade the worker."""

    category = "row_too_new"


class GuardRefused(LogError):
    """The guard does not accept the new checkpoint; nothing is signed until that is settled."""

    category = "guard"


class KeyMissing(LogError):
    """The signing key is missing; nothing is signed until it is back."""

    category = "log_key"


class KeyUnusable(LogError):
    """The signing key cannot be used; nothing is signed until that is settled."""

    category = "log_key"


class StorageError(AffidavitError):
    """The database failed; nothing of this request was stored."""

    category = "storage"


class StorageBusy(StorageError):
    """Another process holds the database's write lock; try again."""

    category = "storage_busy"


class StorageFull(StorageError):
    """No space is left for the database; nothing of this request was stored."""

    category = "storage_full"


class SpoolFull(StorageError):
    """The spool has no room; nothing of this was taken."""

    category = "spool_full"


class StorageReadOnly(StorageError):
    """The database cannot be written; check the owner and mode of the file and its folder."""

    category = "storage_read_only"


class UnreadableText(StorageError):
    """A text in the database is not UTF-8; somebody wrote it by SQL."""

    category = "storage_text"


class SchemaMissing(StorageError):
    """The database has no Affidavit tables; make them with: affidavit migrate."""

    category = "schema_missing"


class SchemaTooNew(StorageError):
    """The database was made by a newer version of Affidavit; upgrade the program."""

    category = "schema_too_new"


class SchemaChanged(StorageError):
    """A migration that was applied to this database has another text in this version."""

    category = "schema_changed"


class NotOurs(StorageError):
    """Tables or functions that Affidavit did not make stand under the names of its own."""

    category = "not_ours"


class NotADatabase(StorageError):
    """The file is not an SQLite database, or it is damaged."""

    category = "not_a_database"
