"""Catalogs: declared as classes, checked when declared, merged, stored as one document."""

from __future__ import annotations

import json
import timeit
from typing import Any

import pytest

from affidavit.core.catalog import Catalog, CatalogSet, EventType, check_metadata, readable
from affidavit.core.schema import fields
from affidavit.errors import InvalidCatalog


class Billing(Catalog, prefix="billing", title="Billing", groups={"invoice": "Invoices"}):
    """A user's catalog, as in the documentation."""

    refund = EventType(
        "invoice.refund",
        title="Invoice refunded",
        severity="warning",
        requires=["reason"],
        mask=["iban"],
        metadata_schema=fields("amount", amount=float),
    )
    pay = EventType("invoice.pay", "Invoice paid")


class Invoices(Catalog):
    """Without a prefix, actions are written in full."""

    send = EventType("invoice.send", "Invoice sent")
    many = (
        EventType("invoice.bulk.send", "Invoices sent"),
        EventType("invoice.bulk.delete", "Invoices deleted"),
    )


def test_the_prefix_is_put_before_the_action() -> None:
    """``Billing.refund.action`` is the full dotted name, and the class lists its types in order."""
    assert Billing.refund.action == "billing.invoice.refund"
    assert Billing.refund.requires == ("reason",)
    assert [item.action for item in Billing.event_types] == ["billing.invoice.refund", "billing.invoice.pay"]
    assert [item.action for item in Invoices.event_types] == [
        "invoice.send",
        "invoice.bulk.send",
        "invoice.bulk.delete",
    ]


@pytest.mark.parametrize(
    ("declared", "rule", "told"),
    [
        (EventType("Invoice.refund", "T"), "pattern", "billing.Invoice.refund"),
        (EventType("invoice..refund", "T"), "pattern", "two or more segments"),
        (EventType("a" * 130, "T"), "pattern", "3 to 128"),
        (EventType("a.b\n", "T"), "pattern", "a-z"),
        (EventType("a.b", ""), "length", "title"),
        (EventType("a.b", "T" * 201), "length", "title"),
        (EventType("a.b", "T", severity="high"), "enum", "info, warning, critical"),  # type: ignore[arg-type]
        (EventType("a.b", "T", requires=["resource"]), "unknown_field", "did you mean resources?"),
        (EventType("a.b", "T", requires=["action"]), "unknown_field", "cannot|can be required"),
        (EventType("a.b", "T", mask=[""]), "key", "name of a key"),
        (EventType("a.b", "T", metadata_schema={"pattern": "x"}), "unknown_keyword", "is not among"),
    ],
)
def test_a_wrong_declaration_names_its_fault(declared: EventType, rule: str, told: str) -> None:
    """A catalog with a fault cannot be declared, and the error names class, action, rule and value."""
    with pytest.raises(InvalidCatalog) as caught:
        type("Wrong", (Catalog,), {"wrong": declared}, prefix="billing")
    assert rule in {error.rule for error in caught.value.errors}
    assert any(part in caught.value.message for part in told.split("|"))
    assert caught.value.message.startswith("Wrong: /types/billing.")


@pytest.mark.parametrize("prefix", ["audit", "log", "access", "detection"])
def test_reserved_prefixes_are_ours(prefix: str) -> None:
    """A user's catalog cannot name an action under one of the four reserved prefixes."""
    with pytest.raises(InvalidCatalog, match="own"):
        type("Wrong", (Catalog,), {"wrong": EventType("token.created", "T")}, prefix=prefix)


def test_a_duplicate_within_one_catalog_is_refused() -> None:
    """The same action twice in one class is an error, not a silent choice."""
    with pytest.raises(InvalidCatalog, match="declared twice"):
        type("Wrong", (Catalog,), {"one": EventType("a.b", "T"), "two": EventType("a.b", "U")})


def test_every_fault_is_named_at_once() -> None:
    """One error holds all faults of the class."""
    with pytest.raises(InvalidCatalog) as caught:
        type("Wrong", (Catalog,), {"one": EventType("A.b", ""), "two": EventType("c.d", "", requires=["x"])})
    assert len(caught.value.errors) == 4


def test_titles_and_groups() -> None:
    """Titles come from the catalog; what it does not name is made readable."""
    catalogs = CatalogSet.of(Billing, Invoices)
    assert catalogs.title("billing.invoice.refund") == "Invoice refunded"
    assert catalogs.title("billing.invoice.void") == "Billing invoice void"
    assert catalogs.group_title("billing") == "Billing"
    assert catalogs.group_title("api_token") == "API token"
    assert catalogs.groups() == [("billing", "Billing"), ("invoice", "Invoices")]
    assert catalogs.event_type("billing.invoice.void") is None
    assert "billing.invoice.pay" in catalogs
    assert len(catalogs) == 5


def test_readable_never_fails() -> None:
    """Any text gets a readable form, an odd action included."""
    assert readable("aws.iam.create_user") == "AWS IAM create user"
    assert readable("k8s.pods.exec.create") == "Kubernetes pods exec create"
    assert readable("-.-") == "-.-"
    assert readable("x") == "X"


def test_the_later_catalog_counts() -> None:
    """A user's catalog laid over a ready-made one adjusts a type, its group's title and its severity."""

    class Mine(Catalog, prefix="invoice", title="Bills"):
        """Adjusts one type of another catalog."""

        send = EventType("send", "Bill sent", severity="critical")

    merged = CatalogSet.of(Billing, Invoices).merge(CatalogSet.of(Mine))
    assert merged.title("invoice.send") == "Bill sent"
    assert merged.group_title("invoice") == "Bills"
    assert merged.severity("invoice.send", "success") == "critical"
    assert merged.title("billing.invoice.pay") == "Invoice paid"


def test_severity_is_raised_and_can_be_adjusted() -> None:
    """Classifier and caller raise a catalogued severity; ``classified=False`` leaves it to the catalog."""

    class Quiet(Catalog, prefix="auth"):
        """A product for which a failed login is routine."""

        failed = EventType("login.failed", "Login failed", severity="info", classified=False)

    catalogs = CatalogSet.of(Quiet, Billing)
    assert catalogs.severity("auth.login.failed", "failure") == "info"
    assert catalogs.severity("auth.login.failed", "failure", "warning") == "warning"
    assert catalogs.severity("auth.other.failed", "failure") == "critical"
    assert catalogs.severity("billing.invoice.refund", "success") == "warning"
    assert catalogs.severity("billing.invoice.refund", "success", "info") == "warning"
    assert catalogs.severity("billing.invoice.pay", "success") == "info"


def test_the_document_goes_there_and_back() -> None:
    """A set written as JSON and read again is the same set, every attribute of every type included."""
    catalogs = CatalogSet.of(Billing, Invoices)
    again = CatalogSet.from_document(json.loads(json.dumps(catalogs.to_document())))
    assert again == catalogs
    assert again.types() == catalogs.types()
    assert again.groups() == catalogs.groups()
    assert again.event_type("billing.invoice.refund") == Billing.refund
    assert CatalogSet().to_document() == {"version": 1, "groups": {}, "types": []}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"version": 2, "groups": {}, "types": []},
        {"version": 1, "groups": {}, "types": [], "more": 1},
        {"version": 1, "groups": {"A.b": "x"}, "types": []},
        {"version": 1, "groups": {"a": ""}, "types": []},
        {"version": 1, "groups": {}, "types": [{"action": "a.b"}]},
        {"version": 1, "groups": {}, "types": [{"action": "a.b", "title": "T", "severity": "high"}]},
        {"version": 1, "groups": {}, "types": [{"action": "a", "title": "T"}]},
        {"version": 1, "groups": {}, "types": [{"action": "audit.x", "title": "T"}]},
        {"version": 1, "groups": {}, "types": [{"action": "a.b", "title": "T"}] * 2},
        {"version": 1, "groups": {}, "types": [{"action": "a.b", "title": "T"}] * 10_001},
        {
            "version": 1,
            "groups": {},
            "types": [{"action": "a.b", "title": "T", "metadata_schema": {"$ref": "#"}}],
        },
    ],
)
def test_a_bad_document_is_refused(document: Any) -> None:
    """A stored or sent document is checked as strictly as a class."""
    with pytest.raises(InvalidCatalog):
        CatalogSet.from_document(document)


def test_metadata_is_checked_against_the_schema() -> None:
    """``check_metadata`` names what is missing or wrong, and is quiet for a type without a schema."""
    assert check_metadata(Billing.refund, {"amount": 3}) == []
    assert [error.pointer for error in check_metadata(Billing.refund, None)] == ["/metadata/amount"]
    assert [error.rule for error in check_metadata(Billing.refund, {"amount": "3"})] == ["type"]
    assert check_metadata(Billing.pay, {"any": "thing"}) == []


def test_lookups_are_fast() -> None:
    """Title, type and severity take a few microseconds at most, as they are asked for each event and row."""
    catalogs = CatalogSet.of(Billing, Invoices)

    def look_up() -> None:
        catalogs.title("billing.invoice.refund")
        catalogs.title("some.unknown.action")
        catalogs.severity("some.unknown.action", "success")

    assert min(timeit.repeat(look_up, number=2000, repeat=5)) / 2000 < 20e-6
