"""Which organizations a page is about: the one that the address names, or one that the visitor may choose.

Every answer goes through :func:`~affidavit.access.scope.scope_of`; this module only decides which question to
put to it, and which names stand in the select.
"""

from __future__ import annotations

from collections.abc import Iterator

from affidavit.access.abilities import LIST
from affidavit.access.scope import ALL, Credential, Scope, scope_of
from affidavit.core.credentials import INSTANCE
from affidavit.core.ids import format_id
from affidavit.core.query import parse_params
from affidavit.core.row import StoredEvent
from affidavit.errors import NotFound
from affidavit.web.instance import Instance
from affidavit.web.ui.question import EVERY, Question

__all__ = ["choices", "find_event", "has_parts", "may_list", "scope_of_question"]


def may_list(credential: Credential) -> Credential:
    """The credential itself where it may read.

    Raises:
        NotFound: it may not, and for it the page does not exist.
    """
    if LIST not in credential.abilities:
        raise NotFound()
    return credential


def choices(instance: Instance, credential: Credential) -> tuple[str, ...]:
    """The organizations to choose from. May ask the store."""
    if credential.organizations is ALL:
        return (*(entry.name for entry in instance.organizations.list(ALL)), INSTANCE)
    return credential.organizations


def scope_of_question(instance: Instance, credential: Credential, question: Question) -> Scope:
    """What the table may show. May ask the store.

    Raises:
        InvalidQuery: all organizations without both dates, or a name that breaks its rule.
        NotFound: an organization outside the credential's scope, or unknown.
    """
    if question.organization in (None, EVERY):
        bounded = question.organization == EVERY and question.bounded
        return scope_of(credential, LIST, bounded=bounded)
    return scope_of(credential, LIST, organization=question.organization, known=instance.organizations.exists)


def find_event(
    instance: Instance, credential: Credential, event_id: bytes, organization: str | None
) -> tuple[Scope, StoredEvent]:
    """An event in the organization named, or in any that the credential reaches. May ask the store.

    Raises:
        NotFound: there is none that this credential may see.
    """
    for scope in _scopes(instance, credential, organization):
        try:
            return scope, instance.reader.get(scope.organizations, event_id)
        except NotFound:
            continue
    raise NotFound()


def has_parts(instance: Instance, event: StoredEvent) -> bool:
    """Whether an event that was found is the parent of others, of its organization. May ask the store."""
    asked = parse_params([("parent_id", format_id(event.id))])
    return bool(instance.reader.page((event.organization,), asked, limit=1).events)


def _scopes(instance: Instance, credential: Credential, organization: str | None) -> Iterator[Scope]:
    if organization is not None:
        yield scope_of(credential, LIST, organization=organization, known=instance.organizations.exists)
    elif credential.organizations is ALL:
        yield scope_of(credential, LIST, bounded=True)  # an id holds its moment: the question is bounded
    else:
        for name in credential.organizations:
            yield scope_of(credential, LIST, organization=name)
