"""Pushing catalogs: what could not be read again is refused before anything is stored."""

from __future__ import annotations

import pytest

from affidavit.access.catalogs import CatalogSettings
from affidavit.access.events import AccessEvents
from affidavit.access.operator import local_credential
from affidavit.core.catalog import CatalogSet, EventType
from affidavit.errors import InvalidCatalog
from affidavit.storage.sql.settings import SqlCatalogs
from tests.unit.access.settings_store import Settings


def test_a_catalog_of_reserved_actions_is_refused(settings: Settings) -> None:
    """Every process reads what was pushed; one that none can read would stop them all."""
    store = SqlCatalogs(settings.database)
    catalogs = CatalogSettings(store, AccessEvents(settings._prepare), clock=settings.clock)
    ours = CatalogSet([EventType(action="audit.erasure.requested", title="Erasure")])
    with pytest.raises(InvalidCatalog) as refused:
        catalogs.push("evil", ours, local_credential("ana"))
    assert [error.rule for error in refused.value.errors] == ["reserved"]
    assert store.current() == []
    assert settings.actions() == []
    fine = CatalogSet([EventType(action="invoice.refund", title="Refund")])
    assert catalogs.push("billing", fine, local_credential("ana")).added == ("invoice.refund",)
    assert len(store.current()) == 1
